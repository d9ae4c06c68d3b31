//! Positions of one owner's rows in a table that all collections share.
//!
//! Selecting by the owner column would scan the complete table for each collection. Instead, one scan at open records,
//! for each owner, the ranges of keys that contain its rows.

use std::collections::HashMap;

/// Rows of others that a range may contain before a new range starts. Skipping a row in an ordered scan costs about a
/// thousandth of starting another scan, and interleaved writers would otherwise result in a range per row.
const MAX_GAP: u64 = 256;

/// The key ranges of one owner, ascending, and the number of its rows in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    pub(crate) rows: u64,
    pub(crate) ranges: Vec<(i64, i64)>,
    last_position: u64,
}

/// Builds [`Runs`] for each owner from one scan in key order.
#[derive(Default)]
pub(crate) struct RunsBuilder {
    owners: HashMap<Box<[u8]>, usize>,
    runs: Vec<Runs>,
    latest: Option<(Box<[u8]>, usize)>,
    position: u64,
}

impl Runs {
    /// The part of the ranges whose keys are greater than `mark`.
    pub(crate) fn after(&self, mark: i64) -> impl Iterator<Item = (i64, i64)> {
        let first = mark.saturating_add(1);
        self.ranges
            .iter()
            .filter(move |(_, last)| *last > mark)
            .map(move |(start, last)| ((*start).max(first), *last))
    }
}

impl RunsBuilder {
    /// Adds the next row in key order, which belongs to `owner`.
    pub(crate) fn push(&mut self, key: i64, owner: &[u8]) {
        self.position += 1;
        let index = match &self.latest {
            Some((latest, index)) if latest.as_ref() == owner => *index,
            _ => self.switch_to(owner),
        };
        // `switch_to` returns valid indexes only.
        let Some(runs) = self.runs.get_mut(index) else { return };
        runs.rows += 1;
        let near = self.position - runs.last_position <= MAX_GAP;
        runs.last_position = self.position;
        match runs.ranges.last_mut() {
            Some((_, last)) if near => *last = key,
            _ => runs.ranges.push((key, key)),
        }
    }

    pub(crate) fn build(mut self) -> HashMap<Box<[u8]>, Runs> {
        self.owners
            .into_iter()
            .map(|(owner, index)| (owner, self.runs.get_mut(index).map(std::mem::take).unwrap_or_default()))
            .collect()
    }

    fn switch_to(&mut self, owner: &[u8]) -> usize {
        let index = match self.owners.get(owner) {
            Some(index) => *index,
            None => {
                self.owners.insert(owner.into(), self.runs.len());
                self.runs.push(Runs::default());
                self.runs.len() - 1
            }
        };
        self.latest = Some((owner.into(), index));
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_rows_share_a_range_and_far_rows_do_not() {
        let mut builder = RunsBuilder::default();
        for key in 0..10 {
            builder.push(key, b"a");
        }
        for key in 10..15 {
            builder.push(key, b"b");
        }
        builder.push(15, b"a");
        for key in 16..1016 {
            builder.push(key, b"b");
        }
        builder.push(5000, b"a");
        let runs = builder.build();
        let a = &runs[b"a".as_slice()];
        assert_eq!((a.rows, a.ranges.as_slice()), (12, [(0, 15), (5000, 5000)].as_slice()));
        assert_eq!(a.after(12).collect::<Vec<_>>(), [(13, 15), (5000, 5000)]);
        assert_eq!(a.after(i64::MAX).count(), 0);
        assert_eq!(runs[b"b".as_slice()].rows, 1005);
    }
}
