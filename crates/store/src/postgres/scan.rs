//! Reads a table before a migration, and again to compare: the rows that certain runs copied, and the ids of all
//! other rows.

use futures_util::TryStreamExt as _;
use sqlx::{PgConnection, Row as _};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    Database, Table,
    bounded::bound,
    copy_format::{CopiedRow, RowSplitter, read_time},
    sql::{self, collections::rows_of_clients},
    unnamed::on,
};
use crate::{Error, RowDigest, postgres::error::StatementContext as _};

/// The current content of a row that a migration copied.
#[derive(Clone, Copy, Debug)]
pub struct MigratedRow<'a> {
    /// Its primary key.
    pub id: Uuid,
    /// The digest of its current content.
    pub digest: RowDigest,
    /// Whether that is the digest that the migration stored when it last wrote the row.
    pub is_as_written: bool,
    row: CopiedRow<'a>,
}

/// A column and its bytes, in the order of the table.
pub type RowParts = Vec<(String, Option<Vec<u8>>)>;

impl MigratedRow<'_> {
    /// Its creation time; `None` if it is outside of the years −9999 to 9999.
    pub fn created_at(&self, table: &Table) -> Option<PrimitiveDateTime> {
        let place = table.content_columns().iter().position(|column| *column == "created_at")?;
        read_time(self.row.fields().nth(place)??)
    }

    /// The content by column name, to find where two rows differ.
    pub fn parts(&self, table: &Table) -> RowParts {
        let names = table.content_columns();
        names
            .into_iter()
            .map(str::to_owned)
            .zip(self.row.fields().map(|field| field.map(<[u8]>::to_vec)))
            .collect()
    }
}

impl Database {
    /// Calls `visit` for each row of `table` that one of `runs` copied, in no particular order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn scan_migrated(
        &self,
        table: &Table,
        runs: &[Uuid],
        mut visit: impl FnMut(MigratedRow<'_>),
    ) -> Result<(), Error> {
        let statement = sql::copy_migrated_out(table, runs);
        self.in_transaction(async |connection| visit_rows(connection, &statement, table, &mut visit).await)
            .await
    }

    /// Calls `visit` for each row of `table` that one of `runs` copied, and `visit_other` with the id of each other row and
    /// the run that copied it.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn scan_all(
        &self,
        table: &Table,
        runs: &[Uuid],
        mut visit: impl FnMut(MigratedRow<'_>),
        visit_other: impl FnMut(Uuid, Option<Uuid>),
    ) -> Result<(), Error> {
        self.in_transaction(async |connection| {
            visit_rows(connection, &sql::copy_migrated_out(table, runs), table, &mut visit).await?;
            visit_ids(connection, &sql::copy_other_ids_out(table, runs), visit_other).await
        })
        .await
    }

    /// The rows among `ids` that exist, from any run.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn existing_rows(&self, table: &Table, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        sqlx::query_scalar(sql::existing_rows(table)).bind(ids).fetch_all(self).await.during("look for rows")
    }

    /// The rows of a collection in a shared table that no migration has written.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn rows_of_clients(&self, table: &Table) -> Result<Vec<Uuid>, Error> {
        const OPERATION: &str = "look for rows of clients";
        self.in_transaction(async |connection| {
            let rows = bound(rows_of_clients(table)).fetch_all(on(connection)).await.during(OPERATION)?;
            rows.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<_>>().during(OPERATION)
        })
        .await
    }

    /// Calls `visit` with the ids of all rows of `table`, which no migration has written to.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn scan_ids(&self, table: &Table, visit: impl FnMut(Uuid, Option<Uuid>)) -> Result<(), Error> {
        let statement = sql::copy_all_ids_out(table);
        self.in_transaction(async |connection| visit_ids(connection, &statement, visit).await).await
    }
}

/// Calls `visit` with the id of each row that `statement` copies out, and with its run if that is a second column.
async fn visit_ids(
    connection: &mut PgConnection,
    statement: &str,
    mut visit: impl FnMut(Uuid, Option<Uuid>),
) -> Result<(), Error> {
    copy_out(connection, statement, |row| {
        let mut fields = row.fields().map(|field| field.and_then(|id| Uuid::from_slice(id).ok()));
        let id = fields.next()??;
        visit(id, fields.next().flatten());
        Some(())
    })
    .await
}

/// Calls `visit` for each row that `statement` copies out.
pub(crate) async fn visit_rows(
    connection: &mut PgConnection,
    statement: &str,
    table: &Table,
    mut visit: impl FnMut(MigratedRow<'_>),
) -> Result<(), Error> {
    let columns = table.content_columns().len();
    copy_out(connection, statement, |row| {
        let (digest, digest_if_made) = row.content_digests(columns)?;
        let mut fields = row.fields();
        let id = fields.next()?.and_then(|id| Uuid::from_slice(id).ok())?;
        let noted = fields.nth(columns)?;
        let mut row = MigratedRow { id, digest, is_as_written: noted == Some(&digest.0[..]), row };
        if !row.is_as_written {
            let digest = digest_if_made();
            if noted == Some(&digest.0[..]) {
                (row.digest, row.is_as_written) = (digest, true);
            }
        }
        visit(row);
        Some(())
    })
    .await
}

/// Runs COPY … TO STDOUT; `visit` returns `None` for a row that does not have the expected columns.
async fn copy_out(
    connection: &mut PgConnection,
    statement: &str,
    mut visit: impl FnMut(CopiedRow<'_>) -> Option<()>,
) -> Result<(), Error> {
    const OPERATION: &str = "read rows back";
    let (mut splitter, mut are_readable) = (RowSplitter::default(), true);
    let mut stream = connection.copy_out_raw(statement).await.during(OPERATION)?;
    while let Some(piece) = stream.try_next().await.during(OPERATION)? {
        splitter.push(&piece, |row| are_readable &= visit(row).is_some());
    }
    if are_readable && splitter.is_complete() { Ok(()) } else { Err(Error::CopyFormat) }
}

/// Counts the rows of `table`.
pub(crate) async fn count_rows(connection: &mut PgConnection, table: &Table) -> Result<u64, Error> {
    let count: i64 = sqlx::query_scalar(sql::count_rows(table))
        .fetch_one(on(connection))
        .await
        .during("count the rows of a table")?;
    Ok(u64::try_from(count).expect("a count is never negative"))
}
