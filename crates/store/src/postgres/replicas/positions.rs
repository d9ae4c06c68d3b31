//! Where the primary was, from which the time follows by which a replica lags: PostgreSQL's own functions know the time of
//! the last replayed commit, which says nothing where nothing is written.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Lag;
use crate::postgres::lsn::Lsn;

/// Positions that are kept. An older replica lags by at least the time of the oldest.
const KEPT: usize = 600;

/// Different positions of the primary, oldest first, with the times at which they were seen first.
#[derive(Debug, Default)]
pub(super) struct Positions(VecDeque<(Instant, Lsn)>);

impl Positions {
    /// The primary was at `lsn`.
    pub(super) fn add(&mut self, at: Instant, lsn: Lsn) {
        match self.0.back() {
            Some((_, last)) if *last == lsn => return,
            // Another server is the primary.
            Some((_, last)) if *last > lsn => self.0.clear(),
            _ => {}
        }
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((at, lsn));
    }

    /// How far a replica that has replayed up to `lsn` is behind at the time `now`; `None` if the primary was never seen.
    pub(super) fn lag(&self, now: Instant, lsn: Lsn) -> Option<Lag> {
        let (_, last) = self.0.back()?;
        // The first position that the replica has not reached.
        let ahead = self.0.iter().find(|(_, seen)| *seen > lsn);
        let time = ahead.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at));
        Some(Lag { bytes: last.bytes_after(lsn), time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replica_lags_since_the_primary_was_first_ahead_of_it() {
        let (began, mut positions) = (Instant::now(), Positions::default());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(positions.lag(at(0), Lsn::at(5)), None);
        for (seconds, lsn) in [(0, 100), (1, 200), (2, 200), (3, 300)] {
            positions.add(at(seconds), Lsn::at(lsn));
        }
        let lag = |seconds, lsn| {
            let lag = positions.lag(at(seconds), Lsn::at(lsn)).expect("the primary was seen");
            (lag.bytes, lag.time.as_secs())
        };
        assert_eq!([lag(9, 300), lag(9, 301)], [(0, 0), (0, 0)]);
        assert_eq!([lag(9, 299), lag(9, 200), lag(9, 199)], [(1, 6), (100, 6), (101, 8)]);
        assert_eq!(lag(9, 0), (300, 9));
    }

    #[test]
    fn positions_of_a_former_primary_are_forgotten_and_few_are_kept() {
        let (began, mut positions) = (Instant::now(), Positions::default());
        positions.add(began, Lsn::at(500));
        positions.add(began + Duration::from_secs(5), Lsn::at(400));
        let lag = positions.lag(began + Duration::from_secs(6), Lsn::at(400));
        assert_eq!(lag, Some(Lag::default()));
        for position in 0..2 * KEPT {
            positions.add(began, Lsn::at(1_000 + i64::try_from(position).expect("it is small")));
        }
        assert_eq!(positions.0.len(), KEPT);
    }
}
