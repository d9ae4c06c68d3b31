//! What a table holds before a migration, kept in 33 bytes for each row, and what follows from it for a record.

use store::{
    RowDigest,
    postgres::{Database, Table, schema::TableState},
};
use uuid::Uuid;

use crate::{Error, options::EditedRows, report::ConflictReason, resume::Origins};

/// The rows of a table, to be looked up by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetRows {
    /// Sorted by id.
    brought: Vec<BroughtRow>,
    /// Ids of rows that this collection did not bring, sorted.
    born_here: Vec<[u8; 16]>,
    /// Ids of rows that other collections brought, sorted.
    of_others: Vec<[u8; 16]>,
    /// Whether there may be rows of other collections, which were not looked at.
    is_shared: bool,
}

/// A row that this collection brought.
#[derive(Clone, Copy, Debug)]
struct BroughtRow {
    id: [u8; 16],
    digest: RowDigest,
    /// Whether it was edited since.
    is_edited: bool,
    /// Whether a record of the source was found for it.
    is_seen: bool,
}

/// What becomes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// There is no row: one is written.
    Insert,
    /// The row is what it should be.
    Keep,
    /// The row, which has this digest, is what a migration wrote, and the record has changed.
    Update(RowDigest),
    /// The row was edited since it was written; it stays.
    Edited,
    /// The row was born in PostgreSQL; it stays.
    BornHere,
    /// Another collection brought a row of that id.
    OfAnother,
}

impl TargetRows {
    /// Reads them.
    pub(crate) async fn read(
        database: &Database,
        table: &Table,
        state: TableState,
        origins: &Origins,
    ) -> Result<Self, Error> {
        let mut rows = Self::default();
        if state == TableState::Absent {
            return Ok(rows);
        }
        let failed = |error| Error::store("read", &table.name)(error);
        let has_bookkeeping = state == TableState::Ready;
        if has_bookkeeping {
            let add = |row: store::postgres::scan::BroughtRow<'_>| {
                rows.brought.push(BroughtRow {
                    id: row.id.into_bytes(),
                    digest: row.digest,
                    is_edited: !row.is_as_written,
                    is_seen: false,
                });
            };
            database.scan_brought(table, &origins.own_runs, add).await.map_err(failed)?;
        }
        if table.shared.is_some() {
            // No row of another collection can have an id of this one's, and there may be very many.
            rows.brought.sort_unstable_by_key(|row| row.id);
            rows.is_shared = true;
            return Ok(rows);
        }
        let add = |id: Uuid, run: Option<Uuid>| {
            let is_of_another = run.is_some_and(|run| origins.other_runs.contains(&run));
            let ids = if is_of_another { &mut rows.of_others } else { &mut rows.born_here };
            ids.push(id.into_bytes());
        };
        database.scan_others(table, &origins.own_runs, has_bookkeeping, add).await.map_err(failed)?;
        rows.brought.sort_unstable_by_key(|row| row.id);
        rows.born_here.sort_unstable();
        rows.of_others.sort_unstable();
        Ok(rows)
    }

    /// How many rows this collection has brought.
    pub(crate) fn brought(&self) -> u64 {
        self.brought.len() as u64
    }

    /// Whether there are no rows but those.
    pub(crate) fn is_alone(&self) -> bool {
        self.born_here.is_empty() && self.of_others.is_empty() && !self.is_shared
    }

    /// What becomes of the record that is to be row `id` with `digest`, which is asked for only where it matters.
    pub(crate) fn action(
        &mut self,
        id: Uuid,
        digest: impl FnOnce() -> RowDigest,
        edited_rows: EditedRows,
    ) -> Action {
        let id = id.into_bytes();
        match self.brought.binary_search_by_key(&id, |row| row.id) {
            Ok(position) => {
                let row = &mut self.brought[position];
                row.is_seen = true;
                if row.digest == digest() {
                    Action::Keep
                } else if row.is_edited && edited_rows == EditedRows::Keep {
                    Action::Edited
                } else {
                    Action::Update(row.digest)
                }
            }
            Err(_) if self.of_others.binary_search(&id).is_ok() => Action::OfAnother,
            Err(_) if self.born_here.binary_search(&id).is_ok() => Action::BornHere,
            Err(_) => Action::Insert,
        }
    }

    /// Notes that the source has a record for row `id`, whatever becomes of it.
    pub(crate) fn see(&mut self, id: Uuid) {
        if let Ok(position) = self.brought.binary_search_by_key(&id.into_bytes(), |row| row.id) {
            self.brought[position].is_seen = true;
        }
    }

    /// Whether this collection brought row `id`, and it has `digest`; `None` if there is no such row.
    pub(crate) fn compare(&mut self, id: Uuid, digest: RowDigest) -> Option<Comparison> {
        let position = self.brought.binary_search_by_key(&id.into_bytes(), |row| row.id).ok()?;
        let row = &mut self.brought[position];
        let is_second = std::mem::replace(&mut row.is_seen, true);
        Some(if is_second {
            Comparison::Seen
        } else if row.digest == digest {
            Comparison::Equal
        } else if row.is_edited {
            Comparison::Edited
        } else {
            Comparison::Different
        })
    }

    /// Who brought the row `id`, which this collection did not bring.
    pub(crate) fn foreign(&self, id: Uuid) -> ConflictReason {
        if self.of_others.binary_search(&id.into_bytes()).is_ok() {
            ConflictReason::OfAnother
        } else {
            ConflictReason::BornHere
        }
    }

    /// Ids of the rows for which no record was found, with the digest of each and whether it was edited.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = (Uuid, RowDigest, bool)> {
        let unseen = self.brought.iter().filter(|row| !row.is_seen);
        unseen.map(|row| (Uuid::from_bytes(row.id), row.digest, row.is_edited))
    }

    /// The digests of all rows.
    pub(crate) fn digests(&self) -> impl Iterator<Item = RowDigest> {
        self.brought.iter().map(|row| row.digest)
    }

    /// Ids of rows that chance would choose, always the same ones.
    pub(crate) fn sample(&self, count: usize) -> Vec<Uuid> {
        let mut chosen: Vec<&BroughtRow> = Vec::new();
        for row in &self.brought {
            // Digests are as good as random numbers.
            if chosen.len() < count || chosen.last().is_some_and(|last| row.digest < last.digest) {
                let position = chosen.partition_point(|other| other.digest < row.digest);
                chosen.insert(position, row);
                chosen.truncate(count);
            }
        }
        chosen.into_iter().map(|row| Uuid::from_bytes(row.id)).collect()
    }

    /// Begins another look at the source.
    pub(crate) fn forget_seen(&mut self) {
        self.brought.iter_mut().for_each(|row| row.is_seen = false);
    }
}

/// A row beside the record that it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// The same in every part.
    Equal,
    /// Not the same, and not what a migration wrote last either.
    Edited,
    /// Not the same.
    Different,
    /// Another record of the same id was compared with it already.
    Seen,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> TargetRows {
        let row = |id: u128, digest: u8, is_edited| BroughtRow {
            id: Uuid::from_u128(id).into_bytes(),
            digest: RowDigest([digest; 16]),
            is_edited,
            is_seen: false,
        };
        TargetRows {
            brought: vec![row(1, 11, false), row(2, 12, true), row(3, 13, false)],
            born_here: vec![Uuid::from_u128(4).into_bytes()],
            of_others: vec![Uuid::from_u128(5).into_bytes()],
            is_shared: false,
        }
    }

    #[test]
    fn every_combination_of_record_and_row_has_its_action() {
        let check = |id: u128, digest: u8, expected: Action, if_overwritten: Action| {
            for (edited_rows, expected) in
                [(EditedRows::Keep, expected), (EditedRows::Overwrite, if_overwritten)]
            {
                let digest = || RowDigest([digest; 16]);
                assert_eq!(rows().action(Uuid::from_u128(id), digest, edited_rows), expected, "{id}");
            }
        };
        check(1, 11, Action::Keep, Action::Keep);
        let update = |digest: u8| Action::Update(RowDigest([digest; 16]));
        check(1, 99, update(11), update(11));
        check(2, 99, Action::Edited, update(12));
        // Edited into the very thing that the source has now.
        check(2, 12, Action::Keep, Action::Keep);
        check(4, 99, Action::BornHere, Action::BornHere);
        check(5, 99, Action::OfAnother, Action::OfAnother);
        check(6, 99, Action::Insert, Action::Insert);
    }

    #[test]
    fn rows_that_no_record_asked_for_are_the_unseen_ones() {
        let mut rows = rows();
        rows.action(Uuid::from_u128(1), || RowDigest([0; 16]), EditedRows::Keep);
        rows.see(Uuid::from_u128(2));
        rows.see(Uuid::from_u128(9));
        assert_eq!(rows.unseen().collect::<Vec<_>>(), [(Uuid::from_u128(3), RowDigest([13; 16]), false)]);
        rows.forget_seen();
        assert_eq!(rows.unseen().count(), 3);
    }

    #[test]
    fn sample_is_that_of_the_smallest_digests() {
        assert_eq!(rows().sample(2), [1, 2].map(Uuid::from_u128));
        assert_eq!(rows().sample(9).len(), 3);
    }
}
