//! Reads what a table holds before a migration, and again to compare: every row that certain runs brought, whole,
//! and the ids of all others.

use futures_util::TryStreamExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Database, Table,
    copy_format::{CopiedRow, RowSplitter},
    sql,
    unnamed::on,
};
use crate::{Error, RowDigest, postgres::error::StatementContext as _};

/// A row that a migration brought, as it is now.
#[derive(Clone, Copy, Debug)]
pub struct BroughtRow<'a> {
    /// Its primary key.
    pub id: Uuid,
    /// The digest of its content now.
    pub digest: RowDigest,
    /// Whether that is the digest which the migration noted when it last wrote the row.
    pub is_as_written: bool,
    row: CopiedRow<'a>,
}

/// A part of a row and the bytes of its column, in the order of the table.
pub type RowParts = Vec<(String, Option<Vec<u8>>)>;

impl BroughtRow<'_> {
    /// The parts of the content by the names of their columns, to tell where two rows differ.
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
    /// Gives every row of `table` that one of `runs` brought to `visit`, in no particular order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn scan_brought(
        &self,
        table: &Table,
        runs: &[Uuid],
        mut visit: impl FnMut(BroughtRow<'_>),
    ) -> Result<(), Error> {
        let statement = sql::copy_brought_out(table, runs);
        self.in_transaction(async |connection| visit_rows(connection, &statement, table, &mut visit).await)
            .await
    }

    /// Which of the rows `ids` are there, whoever brought them.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn existing_rows(&self, table: &Table, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        sqlx::query_scalar(sql::existing_rows(table)).bind(ids).fetch_all(self).await.during("look for rows")
    }

    /// Gives the ids of all rows of `table` that none of `runs` brought to `visit`, with the run that did bring them.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn scan_others(
        &self,
        table: &Table,
        runs: &[Uuid],
        has_bookkeeping: bool,
        mut visit: impl FnMut(Uuid, Option<Uuid>),
    ) -> Result<(), Error> {
        let statement =
            if has_bookkeeping { sql::copy_other_ids_out(table, runs) } else { sql::copy_all_ids_out(table) };
        let visit = |row: CopiedRow<'_>| {
            let mut fields = row.fields().map(|field| field.and_then(|id| Uuid::from_slice(id).ok()));
            let id = fields.next()??;
            visit(id, fields.next().flatten());
            Some(())
        };
        self.in_transaction(async |connection| copy_out(connection, &statement, visit).await).await
    }
}

/// Gives the whole rows that `statement` copies out to `visit`.
pub(crate) async fn visit_rows(
    connection: &mut PgConnection,
    statement: &str,
    table: &Table,
    mut visit: impl FnMut(BroughtRow<'_>),
) -> Result<(), Error> {
    let columns = table.content_columns().len();
    copy_out(connection, statement, |row| {
        let (digest, digest_if_made) = row.content_digests(columns)?;
        let mut fields = row.fields();
        let id = fields.next()?.and_then(|id| Uuid::from_slice(id).ok())?;
        let noted = fields.nth(columns)?;
        let mut row = BroughtRow { id, digest, is_as_written: noted == Some(&digest.0[..]), row };
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

/// Runs a COPY to us; `visit` returns `None` for a row that is not what the statement asks for.
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
