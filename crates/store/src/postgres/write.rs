//! Writes a batch of rows into a table in one transaction, together with the progress of its job.
//!
//! New rows are written into the table directly. If one of them exists by then, the batch is repeated with a
//! staging table, and existing rows are left unchanged. Changed rows always use the staging table.

use std::{
    collections::{HashMap, HashSet},
    ops::{AddAssign, Range},
};

use sqlx::PgConnection;
use uuid::Uuid;

pub use super::jobs::QuarantinedRecord;
use super::{
    Database, Table,
    checkout::Transaction,
    copy_format::{HEADER, POSITION_BYTES, content_fields, digest_record, write_positioned, write_record},
    failure::{WRITE_ATTEMPTS, is_conflict},
    jobs::{self, Counts, Job},
    relations::has_positions,
    row_locks::RowLocks,
    scan::{self, RowParts},
    send_rows::send_rows,
    sql::{
        self,
        collections::positioned_rows,
        encoded_rows::{copied_rows, staged_rows},
    },
    unnamed::on,
};
use crate::{
    Error, RowDigest, StoredRecord,
    postgres::{
        collections::is_deleted,
        error::{StatementContext as _, is_beyond_half},
    },
};

/// Rows differ in length: the reserve for the next batch is one over this.
const ROOM_SHARE: usize = 8;

/// Rows in the form in which they are sent.
#[derive(Clone, Debug)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    ids: Vec<Uuid>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl Default for EncodedRows {
    fn default() -> Self {
        Self { bytes: HEADER.to_vec(), ids: Vec::new(), ends: Vec::new() }
    }
}

impl EncodedRows {
    /// Adds a row that `run` copies.
    pub fn push(&mut self, record: &StoredRecord, run: Uuid) -> RowDigest {
        self.ids.push(record.id);
        let digest = write_record(&mut self.bytes, record, run);
        self.ends.push(self.bytes.len());
        digest
    }

    /// An empty one with the capacity for as many bytes as this one has, to avoid reallocations.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let mut bytes = Vec::with_capacity(self.bytes.len() + self.bytes.len() / ROOM_SHARE);
        bytes.extend(HEADER);
        Self { bytes, ids: Vec::with_capacity(self.ids.len()), ends: Vec::with_capacity(self.ids.len()) }
    }

    /// The same without the rows `left_out`.
    #[must_use]
    fn without(&self, left_out: &HashSet<Uuid>) -> Self {
        let mut rows = Self::default();
        for (place, id) in self.ids.iter().enumerate().filter(|(_, id)| !left_out.contains(id)) {
            rows.ids.push(*id);
            rows.bytes.extend(self.part(place..place + 1));
            rows.ends.push(rows.bytes.len());
        }
        rows
    }

    /// The rows at the positions `places`, without the header.
    fn part(&self, places: Range<usize>) -> &[u8] {
        let end = |count: usize| count.checked_sub(1).map_or(HEADER.len(), |last| self.ends[last]);
        &self.bytes[end(places.start)..end(places.end)]
    }

    /// The same with positions, which begin with `first`, in a last column.
    fn positioned(&self, first: i64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes.len() + self.len() * POSITION_BYTES);
        bytes.extend(HEADER);
        for (place, position) in (0..self.len()).zip(first..) {
            write_positioned(&mut bytes, self.part(place..place + 1), position);
        }
        bytes
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How much memory they take.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len() + size_of_val(self.ids.as_slice()) + size_of_val(self.ends.as_slice())
    }
}

/// The digest of a row, without writing it. `scratch` is overwritten.
pub fn row_digest(scratch: &mut Vec<u8>, record: &StoredRecord) -> RowDigest {
    digest_record(scratch, record)
}

/// The fields of a row by column name, in the format in which they are sent and read back.
pub fn record_parts(table: &Table, record: &StoredRecord) -> RowParts {
    let names = table.content_columns().into_iter().map(str::to_owned);
    names.zip(content_fields(record)).collect()
}

/// What one transaction changes.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// New rows.
    pub new: EncodedRows,
    /// The position of the first of them, which the others follow; `None` lets the table number them, if it does.
    pub position: Option<i64>,
    /// Existing rows with new content.
    pub changed: EncodedRows,
    /// The digests of these rows when they were read, in the same order. A row that was edited since is left
    /// unchanged.
    pub changed_from: Vec<RowDigest>,
    /// Ids of rows to delete, with their digests when they were read.
    pub deleted: Vec<(Uuid, RowDigest)>,
    /// Records for the quarantine.
    pub quarantined: Vec<QuarantinedRecord>,
    /// Whether Chroma clients have seen the collection. If they have deleted it since, its rows are not written.
    pub was_served: bool,
}

impl Batch {
    /// The same without the rows `left_out`.
    #[must_use]
    pub fn without(&self, left_out: &HashSet<Uuid>) -> Self {
        let kept = self.changed.ids.iter().zip(&self.changed_from).filter(|(id, _)| !left_out.contains(id));
        Self {
            new: self.new.without(left_out),
            position: self.position,
            changed: self.changed.without(left_out),
            changed_from: kept.map(|(_, digest)| *digest).collect(),
            deleted: self.deleted.clone(),
            quarantined: self.quarantined.clone(),
            was_served: self.was_served,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty()
            && self.changed.is_empty()
            && self.deleted.is_empty()
            && self.quarantined.is_empty()
    }

    /// Number of rows, and of records for the quarantine.
    pub fn len(&self) -> usize {
        self.new.len() + self.changed.len() + self.deleted.len() + self.quarantined.len()
    }

    /// How much memory it takes.
    pub fn size_bytes(&self) -> usize {
        let quarantined: usize =
            self.quarantined.iter().map(|record| record.source_id.len() + record.record.len()).sum();
        self.new.size_bytes()
            + self.changed.size_bytes()
            + size_of_val(self.changed_from.as_slice())
            + size_of_val(self.deleted.as_slice())
            + size_of_val(self.quarantined.as_slice())
            + quarantined
    }
}

/// The result of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The numbers of changed rows.
    pub counts: Counts,
    /// Rows that were to be inserted but already existed; they were left unchanged.
    pub conflicting: Vec<Uuid>,
    /// Rows that were edited since they were read; they were left unchanged.
    pub edited: Vec<Uuid>,
    /// Rejected rows, if they are left out.
    pub refused: Vec<Uuid>,
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.counts += other.counts;
        self.conflicting.extend(other.conflicting);
        self.edited.extend(other.edited);
        self.refused.extend(other.refused);
    }
}

/// A batch that is written and not committed yet.
pub struct PendingBatch {
    transaction: Transaction,
    written: Written,
}

impl Database {
    /// Writes `batch` for `job`. It is committed when [`PendingBatch::commit`] has returned.
    ///
    /// # Errors
    /// When a statement fails, or another process has taken over the job; nothing is changed then.
    pub async fn write(&self, table: &Table, job: &Job, batch: &Batch) -> Result<PendingBatch, Error> {
        let mut new_rows = NewRows::Straight;
        let mut attempts = 1..WRITE_ATTEMPTS;
        let written = loop {
            match self.try_write(table, job, batch, new_rows).await {
                Err(error) if matches!(new_rows, NewRows::Straight) && is_unique_violation(&error) => {
                    new_rows = NewRows::Staged;
                }
                Err(Error::Statement { ref source, .. })
                    if is_conflict(source) && attempts.next().is_some() => {}
                written => break written,
            }
        };
        match written {
            Err(error) if is_about_a_row(&error) => Err(self.name_row(table, batch, error).await),
            written => written,
        }
    }

    /// Finds the first of the rejected rows.
    async fn name_row(&self, table: &Table, batch: &Batch, error: Error) -> Error {
        let Ok(refused) = self.refused_rows(table, batch).await else { return error };
        match (refused.first(), error) {
            (Some((id, _)), Error::Statement { source, .. }) => {
                let (id, table) = (*id, table.name.clone());
                if is_beyond_half(&source) {
                    Error::BeyondHalf { id, table, source }
                } else {
                    Error::Row { id, table, source }
                }
            }
            (_, error) => error,
        }
    }

    /// Reserves positions for `count` new rows of `table`, and returns the first; `None` if its rows have none. What is added
    /// from now on comes after them.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn reserve_positions(&self, table: &Table, count: u64) -> Result<Option<i64>, Error> {
        const OPERATION: &str = "reserve the positions of rows";
        self.in_transaction(async |connection| {
            if !has_positions(connection, &table.name).await.during(OPERATION)? {
                return Ok(None);
            }
            // Others may take numbers in between, so that rows of other tables have the same ones.
            sqlx::query_scalar!(
                "select min(position) from (select nextval('chroma_positions') as position from generate_series(1::bigint, $1)) reserved",
                i64::try_from(count).unwrap_or(i64::MAX)
            )
            .fetch_one(on(connection))
            .await
            .during(OPERATION)
        })
        .await
    }

    /// The rows of `batch` that the table rejects, with the server's error for each. Changes nothing.
    ///
    /// # Errors
    /// When a statement fails for another reason than the content of a row.
    pub async fn refused_rows(&self, table: &Table, batch: &Batch) -> Result<Vec<(Uuid, String)>, Error> {
        let mut transaction = self.begin().await?;
        sqlx::raw_sql("set constraints all immediate")
            .execute(&mut *transaction)
            .await
            .during("set options of the copy")?;
        let mut refused = Vec::new();
        for (rows, is_new) in [(&batch.new, true), (&batch.changed, false)] {
            let mut parts = Vec::from([Range { start: 0, end: rows.len() }]);
            while let Some(part) = parts.pop().filter(|part| !part.is_empty()) {
                // Accepted rows are kept in the transaction, since a later row may conflict with them.
                let tried = try_part(&mut transaction, table, (rows, part.clone()), is_new).await;
                match tried {
                    Ok(()) => {}
                    Err(error) if is_about_a_row(&error) && part.len() == 1 => {
                        let said = std::error::Error::source(&error).map(ToString::to_string);
                        refused.push((rows.ids[part.start], said.unwrap_or_default()));
                    }
                    Err(error) if is_about_a_row(&error) => {
                        let middle = part.start.midpoint(part.end);
                        parts.extend([middle..part.end, part.start..middle]);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        transaction.rollback().await.during("end a transaction")?;
        Ok(refused)
    }

    async fn try_write(
        &self,
        table: &Table,
        job: &Job,
        batch: &Batch,
        new_rows: NewRows,
    ) -> Result<PendingBatch, Error> {
        let locks = RowLocks::of(self);
        let mut transaction = self.begin().await?;
        sqlx::raw_sql(locks.options_of_copy())
            .execute(&mut *transaction)
            .await
            .during("set options of the copy")?;
        let has_rows = !batch.new.is_empty() || !batch.changed.is_empty();
        if has_rows && is_deleted(&mut transaction, job.origin.collection_id, batch.was_served).await? {
            return Err(Error::DeletedMeanwhile { table: table.name.clone() });
        }
        let mut written = Written::default();
        if !batch.new.is_empty() {
            match new_rows {
                NewRows::Straight => {
                    let copied = match batch.position {
                        None => send_rows(&mut transaction, &copied_rows(table), &batch.new.bytes).await,
                        Some(first) => {
                            let rows = batch.new.positioned(first);
                            send_rows(&mut transaction, &positioned_rows(table), &rows).await
                        }
                    };
                    // A trigger may leave rows out without an error; the comparison finds which.
                    written.counts.written = copied.during(COPY_ROWS)?;
                }
                NewRows::Staged => {
                    written.conflicting = insert_staged(&mut transaction, table, &batch.new).await?;
                    written.counts.written = (batch.new.len() - written.conflicting.len()) as u64;
                }
            }
        }
        if !batch.changed.is_empty() {
            written.counts.updated =
                update(&mut transaction, (table, locks), job, batch, &mut written.edited).await?;
        }
        if !batch.deleted.is_empty() {
            let seen = batch.deleted.iter().copied();
            let unedited = lock_unedited(&mut transaction, (table, locks), seen, &mut written.edited).await?;
            keep_replaced(&mut transaction, table, job, "deleted", &unedited).await?;
            written.counts.deleted = sqlx::query(sql::delete_rows(table))
                .bind(&unedited)
                .execute(on(&mut transaction))
                .await
                .during("delete rows")?
                .rows_affected();
            require_all(table, "deleted", written.counts.deleted, &unedited)?;
        }
        jobs::quarantine(&mut transaction, job, &batch.quarantined).await?;
        // Last, since it locks the job's row against the other connections.
        jobs::add_progress(&mut transaction, job, written.counts).await?;
        Ok(PendingBatch { transaction, written })
    }
}

impl PendingBatch {
    /// Commits.
    ///
    /// # Errors
    /// When the commit fails. If the connection is lost, the batch may be committed or not, which the next scan finds
    /// out.
    pub async fn commit(self) -> Result<Written, Error> {
        self.transaction.commit().await.during("commit copied rows")?;
        Ok(self.written)
    }
}

#[derive(Clone, Copy)]
enum NewRows {
    Straight,
    Staged,
}

fn is_unique_violation(error: &Error) -> bool {
    matches!(error, Error::Statement { source: sqlx::Error::Database(error), .. } if error.is_unique_violation())
}

/// Whether the error is about the content of a row: data exceptions, violated constraints, exceeded limits, and
/// exceptions of triggers (SQLSTATE classes 22, 23, 54 and P0).
fn is_about_a_row(error: &Error) -> bool {
    let Error::Statement { source: sqlx::Error::Database(error), .. } = error else { return false };
    error.code().is_some_and(|code| ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class)))
}

const COPY_ROWS: &str = "copy rows";

/// Writes some rows after a savepoint, to which it rolls back if they are rejected.
async fn try_part(
    connection: &mut PgConnection,
    table: &Table,
    (rows, part): (&EncodedRows, Range<usize>),
    is_new: bool,
) -> Result<(), Error> {
    const OPERATION: &str = "find the rows that the table rejects";
    let some = EncodedRows {
        bytes: [HEADER, rows.part(part.clone())].concat(),
        ids: rows.ids[part].to_vec(),
        ends: Vec::new(),
    };
    sqlx::raw_sql("savepoint tried").execute(&mut *connection).await.during(OPERATION)?;
    let tried = if is_new {
        insert_staged(connection, table, &some).await.map(drop)
    } else {
        update_staged(connection, table, &some, &some.ids).await.map(drop)
    };
    if tried.is_err() {
        sqlx::raw_sql("rollback to savepoint tried").execute(&mut *connection).await.during(OPERATION)?;
    }
    tried
}

async fn stage(connection: &mut PgConnection, table: &Table, rows: &EncodedRows) -> Result<(), Error> {
    sqlx::query(sql::create_staging(table))
        .execute(on(connection))
        .await
        .during("create the staging table")?;
    send_rows(connection, &staged_rows(table), &rows.bytes).await.during(COPY_ROWS)?;
    Ok(())
}

/// Inserts the rows that do not exist, and returns the ids of the others.
async fn insert_staged(
    connection: &mut PgConnection,
    table: &Table,
    rows: &EncodedRows,
) -> Result<Vec<Uuid>, Error> {
    stage(connection, table, rows).await?;
    let inserted: Vec<Uuid> = sqlx::query_scalar(sql::insert_staged(table))
        .fetch_all(on(connection))
        .await
        .during("insert the staged rows")?;
    drop_staging(connection).await?;
    let inserted: HashSet<Uuid> = inserted.into_iter().collect();
    Ok(rows.ids.iter().filter(|id| !inserted.contains(id)).copied().collect())
}

async fn update(
    connection: &mut PgConnection,
    (table, locks): (&Table, RowLocks),
    job: &Job,
    batch: &Batch,
    edited: &mut Vec<Uuid>,
) -> Result<u64, Error> {
    let seen = batch.changed.ids.iter().copied().zip(batch.changed_from.iter().copied());
    let unedited = lock_unedited(connection, (table, locks), seen, edited).await?;
    keep_replaced(connection, table, job, "updated", &unedited).await?;
    let updated = update_staged(connection, table, &batch.changed, &unedited).await?;
    require_all(table, "updated", updated, &unedited)?;
    Ok(updated)
}

/// Checks that a statement has changed all `rows`, which this transaction has locked.
fn require_all(table: &Table, change: &'static str, changed: u64, rows: &[Uuid]) -> Result<(), Error> {
    let rows = rows.len() as u64;
    if changed == rows {
        return Ok(());
    }
    Err(Error::Kept { table: table.name.clone(), change, kept: rows.saturating_sub(changed), rows })
}

/// Updates the rows `ids` with the content in `rows`.
async fn update_staged(
    connection: &mut PgConnection,
    table: &Table,
    rows: &EncodedRows,
    ids: &[Uuid],
) -> Result<u64, Error> {
    stage(connection, table, rows).await?;
    // A client may have marked the text that is replaced.
    let is_served = has_positions(connection, &table.name).await.during("update changed rows")?;
    let updated = sqlx::query(sql::update_from_staging(table, is_served))
        .bind(ids)
        .execute(on(connection))
        .await
        .during("update changed rows")?
        .rows_affected();
    drop_staging(connection).await?;
    Ok(updated)
}

/// Locks the rows `seen` until the end of the transaction, and returns those that are unchanged. Changed ones are
/// added to `edited`; deleted rows are in neither.
async fn lock_unedited(
    connection: &mut PgConnection,
    (table, locks): (&Table, RowLocks),
    seen: impl Iterator<Item = (Uuid, RowDigest)>,
    edited: &mut Vec<Uuid>,
) -> Result<Vec<Uuid>, Error> {
    let seen: HashMap<Uuid, RowDigest> = seen.collect();
    let mut ids: Vec<Uuid> = seen.keys().copied().collect();
    // In one order, so that two transactions cannot wait for each other.
    ids.sort_unstable();
    locks.lock(connection, table, &ids).await.during("lock rows before they change")?;
    let mut unedited = Vec::new();
    scan::visit_rows(connection, &sql::copy_rows_out(table, &ids), table, |row| {
        let is_as_seen = seen.get(&row.id) == Some(&row.digest);
        if is_as_seen { unedited.push(row.id) } else { edited.push(row.id) }
    })
    .await?;
    Ok(unedited)
}

async fn drop_staging(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::query(sql::drop_staging()).execute(on(connection)).await.during("drop the staging table")?;
    Ok(())
}

async fn keep_replaced(
    connection: &mut PgConnection,
    table: &Table,
    job: &Job,
    change: &str,
    ids: &[Uuid],
) -> Result<(), Error> {
    sqlx::query(sql::keep_replaced(table))
        .bind(job.run_id)
        .bind(&table.name)
        .bind(change)
        .bind(ids)
        .execute(on(connection))
        .await
        .during("store rows before they change")?;
    Ok(())
}
