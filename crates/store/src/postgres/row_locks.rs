//! How a transaction locks rows before it changes them.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Database, Table, sql, unnamed::on};

/// How rows are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowLocks {
    /// By one statement.
    Together,
    /// By a statement for each, as Citus requires for rows of several shards.
    Each,
}

impl RowLocks {
    /// Rows per message.
    const LOCKED_AT_ONCE: usize = 500;

    /// As the tables of `database` require, which may be distributed if it has Citus.
    pub(super) fn of(database: &Database) -> Self {
        if database.has_citus() { Self::Each } else { Self::Together }
    }

    /// The settings of a transaction that copies rows. If a crash of the server loses a batch, the next scan finds the missing
    /// rows. The status of the job is committed durably, and with it all earlier batches. On Citus, rows and their former
    /// versions are on different servers, and a crash of one must not lose what the other has. Deferred constraints are checked
    /// before the commit.
    pub(super) fn options_of_copy(self) -> &'static str {
        match self {
            Self::Together => "set local synchronous_commit = off; set constraints all immediate",
            Self::Each => "set constraints all immediate",
        }
    }

    /// Locks the rows `ids`, in this order if one by one.
    pub(super) async fn lock(
        self,
        connection: &mut PgConnection,
        table: &Table,
        ids: &[Uuid],
    ) -> sqlx::Result<()> {
        match self {
            Self::Together => {
                sqlx::query(sql::lock_rows(table)).bind(ids).execute(on(connection)).await?;
            }
            Self::Each => {
                for ids in ids.chunks(Self::LOCKED_AT_ONCE) {
                    sqlx::raw_sql(sql::lock_each_row(table, ids)).execute(&mut *connection).await?;
                }
            }
        }
        Ok(())
    }
}
