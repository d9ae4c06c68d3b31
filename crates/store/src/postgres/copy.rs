//! Brings rows into a service's table by binary COPY, and reads migrated rows back to compare them.
//!
//! A copy is one transaction: rows go into a temporary staging table and from there into the table, so that a
//! process killed at any moment leaves the table as it was.

use futures_util::TryStreamExt as _;
use sqlx::{PgTransaction, Row as _, postgres::PgRow};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    Database, ServiceTable,
    copy_format::{HEADER, TRAILER, read_embedding, write_record},
    ddl,
};
use crate::{Error, StoredRecord, error::StatementContext as _, metadata_from_json};

/// Bytes gathered before they are sent: large enough that the round trip does not count, small enough for memory.
const SEND_BYTES: usize = 1 << 20;

/// A copy under way: rows are staged with [`Self::stage`] and appear in the table with [`Self::commit`].
/// Dropped before that, it leaves no trace.
pub struct Copy {
    transaction: PgTransaction<'static>,
    table: &'static ServiceTable,
    buffer: Vec<u8>,
    staged: u64,
}

/// What a copy changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Copied {
    /// Rows that were not there and are now.
    pub written: u64,
    /// Rows that were there with the same content.
    pub unchanged: u64,
    /// Rows that were there with another content; they were left as they are. ChromaDB's ids.
    pub conflicts: Vec<String>,
}

/// A migrated row as it is in the table now.
#[derive(Debug)]
pub enum MigratedRow {
    /// It reads as what a migration writes.
    Whole(StoredRecord),
    /// It was edited into something that a migration never writes: nested metadata, or no embedding.
    Foreign {
        /// Its primary key.
        id: Uuid,
        /// ChromaDB's id.
        source_id: String,
    },
}

impl Database {
    /// Begins a copy into `table` and keeps other copies out of it until the end.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process copies into it.
    pub async fn begin_copy(&self, table: &'static ServiceTable) -> Result<Copy, Error> {
        let mut transaction = self.pool.begin().await.during("begin a transaction")?;
        let locked = sqlx::query_scalar!(
            r#"select pg_try_advisory_xact_lock(hashtextextended('panopticon migrate ' || $1, 0)) as "locked!""#,
            table.name
        )
        .fetch_one(&mut *transaction)
        .await
        .during("lock the table for a migration")?;
        if !locked {
            return Err(Error::Locked { table: table.name });
        }
        sqlx::query(ddl::create_staging(table))
            .execute(&mut *transaction)
            .await
            .during("create the staging table")?;
        Ok(Copy { transaction, table, buffer: HEADER.to_vec(), staged: 0 })
    }

    /// Gives every row of `table` that a migration brought to `visit`, in no particular order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn read_migrated(
        &self,
        table: &'static ServiceTable,
        mut visit: impl FnMut(MigratedRow),
    ) -> Result<(), Error> {
        const OPERATION: &str = "read migrated rows back";
        let sql = ddl::select_migrated(table);
        let mut rows = sqlx::query(sql).fetch(&self.pool);
        while let Some(row) = rows.try_next().await.during(OPERATION)? {
            visit(read_row(&row, table.attribute_columns.len()).during(OPERATION)?);
        }
        Ok(())
    }

    /// Number of rows in `table`, migrated or not.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn count_rows(&self, table: &ServiceTable) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar(ddl::count_rows(table))
            .fetch_one(&self.pool)
            .await
            .during("count the rows of a table")?;
        Ok(u64::try_from(count).expect("a count is never negative"))
    }
}

impl Copy {
    /// Adds a row. Once [`Self::is_full`], call [`Self::send`].
    pub fn stage(&mut self, record: &StoredRecord) {
        write_record(&mut self.buffer, record);
        self.staged += 1;
    }

    /// Whether enough rows wait that they should be sent with [`Self::send`].
    pub fn is_full(&self) -> bool {
        self.buffer.len() >= SEND_BYTES
    }

    /// Sends the rows that wait to the staging table.
    ///
    /// # Errors
    /// When the server refuses them.
    pub async fn send(&mut self) -> Result<(), Error> {
        const OPERATION: &str = "copy rows into the staging table";
        self.buffer.extend(TRAILER);
        let sql = ddl::copy_into_staging();
        let mut copy = self.transaction.copy_in_raw(&sql).await.during(OPERATION)?;
        copy.send(self.buffer.as_slice()).await.during(OPERATION)?;
        copy.finish().await.during(OPERATION)?;
        self.buffer.clear();
        self.buffer.extend(HEADER);
        Ok(())
    }

    /// Moves the staged rows into the table and commits.
    ///
    /// # Errors
    /// When a statement fails; nothing has changed then.
    pub async fn commit(mut self) -> Result<Copied, Error> {
        self.send().await?;
        let conflicts: Vec<String> = sqlx::query(ddl::select_conflicts(self.table))
            .fetch_all(&mut *self.transaction)
            .await
            .and_then(|rows| rows.iter().map(|row| row.try_get("source_id")).collect())
            .during("compare staged rows with those that are there")?;
        let written = sqlx::query(ddl::merge_staging(self.table))
            .execute(&mut *self.transaction)
            .await
            .during("insert the staged rows")?
            .rows_affected();
        self.transaction.commit().await.during("commit the copied rows")?;
        let unchanged = self.staged - written - conflicts.len() as u64;
        Ok(Copied { written, unchanged, conflicts })
    }
}

/// Reads a row of [`ddl::select_migrated`] with `attributes` attribute columns.
fn read_row(row: &PgRow, attributes: usize) -> sqlx::Result<MigratedRow> {
    let id: Uuid = row.try_get(0)?;
    let source_id: String = row.try_get(1)?;
    let attributes: Vec<String> =
        (4..4 + attributes).map(|column| row.try_get(column)).collect::<sqlx::Result<_>>()?;
    let rest = 4 + attributes.len();
    let metadata = row.try_get::<Option<&str>, _>(rest)?.map(metadata_from_json).transpose();
    let embedding = row.try_get::<Option<&[u8]>, _>(rest + 3)?.and_then(read_embedding);
    let (Ok(metadata), Some(embedding)) = (metadata, embedding) else {
        return Ok(MigratedRow::Foreign { id, source_id });
    };
    let created_at: PrimitiveDateTime = row.try_get(rest + 2)?;
    Ok(MigratedRow::Whole(StoredRecord {
        id,
        source_id: Some(source_id),
        text: row.try_get(2)?,
        category: row.try_get(3)?,
        attributes,
        metadata,
        uri: row.try_get(rest + 1)?,
        created_at,
        embedding,
    }))
}
