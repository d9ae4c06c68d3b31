//! The rows of a table before a migration, in 48 bytes each, and the action that follows for each record.

use store::{
    RowDigest,
    postgres::{Database, Table, schema::TableState},
};
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::{Error, options::EditedRows, report::ConflictReason, resume::Origins};

/// The rows of a table, indexed by id.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetRows {
    /// Sorted by id.
    migrated: Vec<MigratedRow>,
    /// Ids of rows created in PostgreSQL, sorted.
    born_here: Vec<[u8; 16]>,
    /// Ids of rows of other collections, sorted.
    of_others: Vec<[u8; 16]>,
    /// Whether there may be rows of other collections, which were not read.
    is_shared: bool,
    /// Records that were deleted in PostgreSQL.
    deleted: DeletedRecords,
}

/// Records without a row because they were deleted in PostgreSQL.
#[derive(Clone, Debug, Default)]
pub(crate) enum DeletedRecords {
    #[default]
    None,
    /// Those of these rows, sorted.
    Some(Vec<[u8; 16]>),
    /// All of them, with their collection.
    All,
}

/// A row of this collection.
#[derive(Clone, Copy, Debug)]
struct MigratedRow {
    id: [u8; 16],
    digest: RowDigest,
    created_at: Option<PrimitiveDateTime>,
    /// Whether it was edited since it was written.
    is_edited: bool,
    /// Whether the source has a record for it.
    is_seen: bool,
}

/// The action for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// There is no row: insert one.
    Insert,
    /// The row equals the record.
    Keep,
    /// The row is as a migration wrote it, with this digest, and the record has changed.
    Update(RowDigest),
    /// The row was edited since it was written, and is kept.
    Edited,
    /// The row was created in PostgreSQL, and is kept.
    BornHere,
    /// The row with this id belongs to another collection.
    OfAnother,
    /// The row was deleted, and is not restored.
    DeletedHere,
}

impl TargetRows {
    /// Reads the rows of `table`.
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
        let Self { migrated, born_here, of_others, .. } = &mut rows;
        let add = |row: store::postgres::scan::MigratedRow<'_>| {
            migrated.push(MigratedRow {
                id: row.id.into_bytes(),
                digest: row.digest,
                created_at: row.created_at(table),
                is_edited: !row.is_as_written,
                is_seen: false,
            });
        };
        let add_other = |id: Uuid, run: Option<Uuid>| {
            let is_of_another = run.is_some_and(|run| origins.other_runs.contains(&run));
            let ids = if is_of_another { &mut *of_others } else { &mut *born_here };
            ids.push(id.into_bytes());
        };
        let has_bookkeeping = state == TableState::Ready;
        match (table.shared.is_some(), has_bookkeeping) {
            (true, _) => {
                if has_bookkeeping {
                    database.scan_migrated(table, &origins.own_runs, add).await.map_err(failed)?;
                }
                // Ids of other collections cannot collide in a shared table, and there may be very many.
                let added = database.rows_of_clients(table).await.map_err(failed)?;
                rows.born_here = added.into_iter().map(Uuid::into_bytes).collect();
                rows.is_shared = true;
            }
            (false, true) => {
                database.scan_all(table, &origins.own_runs, add, add_other).await.map_err(failed)?;
            }
            (false, false) => database.scan_ids(table, add_other).await.map_err(failed)?,
        }
        rows.migrated.sort_unstable_by_key(|row| row.id);
        rows.born_here.sort_unstable();
        rows.of_others.sort_unstable();
        Ok(rows)
    }

    /// Says which records were deleted in PostgreSQL since they were migrated by `runs`.
    pub(crate) async fn read_deleted(
        &mut self,
        database: &Database,
        table: &Table,
        runs: &[Uuid],
    ) -> Result<(), Error> {
        let deleted = database.deleted_records(table, runs).await;
        let deleted = deleted.map_err(Error::store("read", &table.name))?;
        let mut deleted: Vec<[u8; 16]> = deleted.into_iter().map(Uuid::into_bytes).collect();
        deleted.sort_unstable();
        self.deleted = DeletedRecords::Some(deleted);
        Ok(())
    }

    /// Says that all records were deleted in PostgreSQL.
    pub(crate) fn all_are_deleted(&mut self) {
        self.deleted = DeletedRecords::All;
    }

    fn is_deleted(&self, id: &[u8; 16]) -> bool {
        match &self.deleted {
            DeletedRecords::None => false,
            DeletedRecords::Some(ids) => ids.binary_search(id).is_ok(),
            DeletedRecords::All => true,
        }
    }

    /// The creation time of row `id` of this collection.
    pub(crate) fn created_at(&self, id: Uuid) -> Option<PrimitiveDateTime> {
        let place = self.migrated.binary_search_by_key(&id.into_bytes(), |row| row.id).ok()?;
        self.migrated[place].created_at
    }

    /// Number of rows of this collection.
    pub(crate) fn migrated(&self) -> u64 {
        self.migrated.len() as u64
    }

    /// Whether the table has only these rows.
    pub(crate) fn is_alone(&self) -> bool {
        self.born_here.is_empty() && self.of_others.is_empty() && !self.is_shared
    }

    /// The action for the record of row `id` with `digest`, which is computed only if needed.
    pub(crate) fn action(
        &mut self,
        id: Uuid,
        digest: impl FnOnce() -> RowDigest,
        edited_rows: EditedRows,
    ) -> Action {
        let id = id.into_bytes();
        match self.migrated.binary_search_by_key(&id, |row| row.id) {
            Ok(position) => {
                let row = &mut self.migrated[position];
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
            Err(_) if self.is_deleted(&id) => Action::DeletedHere,
            Err(_) => Action::Insert,
        }
    }

    /// Records that the source has a record for row `id`.
    pub(crate) fn see(&mut self, id: Uuid) {
        if let Ok(position) = self.migrated.binary_search_by_key(&id.into_bytes(), |row| row.id) {
            self.migrated[position].is_seen = true;
        }
    }

    /// Compares `digest` with row `id` of this collection; `None` if there is no such row.
    pub(crate) fn compare(&mut self, id: Uuid, digest: RowDigest) -> Option<Comparison> {
        let position = self.migrated.binary_search_by_key(&id.into_bytes(), |row| row.id).ok()?;
        let row = &mut self.migrated[position];
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

    /// Why row `id` does not belong to this collection.
    pub(crate) fn foreign(&self, id: Uuid) -> ConflictReason {
        if self.of_others.binary_search(&id.into_bytes()).is_ok() {
            ConflictReason::OfAnother
        } else {
            ConflictReason::BornHere
        }
    }

    /// Ids of rows without a record, with the digest of each and whether it was edited.
    pub(crate) fn unseen(&self) -> impl Iterator<Item = (Uuid, RowDigest, bool)> {
        let unseen = self.migrated.iter().filter(|row| !row.is_seen);
        unseen.map(|row| (Uuid::from_bytes(row.id), row.digest, row.is_edited))
    }

    /// The digests of all rows.
    pub(crate) fn digests(&self) -> impl Iterator<Item = RowDigest> {
        self.migrated.iter().map(|row| row.digest)
    }

    /// A deterministic pseudo-random sample of row ids.
    pub(crate) fn sample(&self, count: usize) -> Vec<Uuid> {
        let mut chosen: Vec<&MigratedRow> = Vec::new();
        for row in &self.migrated {
            // Digests serve as random numbers.
            if chosen.len() < count || chosen.last().is_some_and(|last| row.digest < last.digest) {
                let position = chosen.partition_point(|other| other.digest < row.digest);
                chosen.insert(position, row);
                chosen.truncate(count);
            }
        }
        chosen.into_iter().map(|row| Uuid::from_bytes(row.id)).collect()
    }

    /// Resets the state for another read of the source.
    pub(crate) fn forget_seen(&mut self) {
        self.migrated.iter_mut().for_each(|row| row.is_seen = false);
    }
}

/// A comparison of a row with its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// All parts are equal.
    Equal,
    /// The row differs from the record and from what the last migration wrote.
    Edited,
    /// The row differs from the record.
    Different,
    /// A record of the same id was already compared with the row.
    Seen,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> TargetRows {
        let row = |id: u128, digest: u8, is_edited| MigratedRow {
            id: Uuid::from_u128(id).into_bytes(),
            digest: RowDigest([digest; 16]),
            created_at: None,
            is_edited,
            is_seen: false,
        };
        TargetRows {
            migrated: vec![row(1, 11, false), row(2, 12, true), row(3, 13, false)],
            born_here: vec![Uuid::from_u128(4).into_bytes()],
            of_others: vec![Uuid::from_u128(5).into_bytes()],
            is_shared: false,
            deleted: DeletedRecords::Some(vec![Uuid::from_u128(7).into_bytes()]),
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
        // Edited to equal the current record.
        check(2, 12, Action::Keep, Action::Keep);
        check(4, 99, Action::BornHere, Action::BornHere);
        check(7, 1, Action::DeletedHere, Action::DeletedHere);
        check(5, 99, Action::OfAnother, Action::OfAnother);
        check(6, 99, Action::Insert, Action::Insert);
    }

    #[test]
    fn rows_without_a_record_are_unseen() {
        let mut rows = rows();
        rows.action(Uuid::from_u128(1), || RowDigest([0; 16]), EditedRows::Keep);
        rows.see(Uuid::from_u128(2));
        rows.see(Uuid::from_u128(9));
        assert_eq!(rows.unseen().collect::<Vec<_>>(), [(Uuid::from_u128(3), RowDigest([13; 16]), false)]);
        rows.forget_seen();
        assert_eq!(rows.unseen().count(), 3);
    }

    #[test]
    fn sample_has_the_smallest_digests() {
        assert_eq!(rows().sample(2), [1, 2].map(Uuid::from_u128));
        assert_eq!(rows().sample(9).len(), 3);
    }
}
