//! Log tables, which would grow without limit.

use time::PrimitiveDateTime;

use crate::{
    Error,
    postgres::{Database, error::StatementContext as _, unnamed::on},
};

/// A table whose old rows expire.
///
/// Not included are `vector_search_samples` and `vector_search_history`, whose old rows the search monitor deletes;
/// `run_attempts` and `run_workers`, which belong to their runs and record their costs; `migration_jobs` and
/// `migration_replaced`, from which migrations are resumed and undone; and `migration_rejects`, which holds users'
/// records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// `vector_index_plans`; the newest row of each table is kept.
    IndexPlans,
    /// `maintenance_actions`
    Actions,
}

impl Ledger {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::IndexPlans, Self::Actions];

    /// The name of the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IndexPlans => "vector_index_plans",
            Self::Actions => "maintenance_actions",
        }
    }
}

impl Database {
    /// The number of rows of `ledger` from before `before` (UTC); 0 if the table does not exist yet.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn count_expired(&self, ledger: Ledger, before: PrimitiveDateTime) -> Result<u64, Error> {
        let counted = self.if_table_exists(ledger.as_str(), "count expired rows", async |connection| {
            let connection = on(connection);
            match ledger {
                Ledger::IndexPlans => {
                    sqlx::query_scalar!(
                        r#"
                    select count(*) as "count!"
                    from vector_index_plans kept
                    where started_at < $1
                        and exists (
                            select from vector_index_plans newer
                            where newer.table_name = kept.table_name and newer.started_at > kept.started_at
                        )
                    "#,
                        before
                    )
                    .fetch_one(connection)
                    .await
                }
                Ledger::Actions => {
                    sqlx::query_scalar!(
                        r#"select count(*) as "count!" from maintenance_actions where started_at < $1"#,
                        before
                    )
                    .fetch_one(connection)
                    .await
                }
            }
        });
        Ok(counted.await?.unsigned_abs())
    }

    /// Deletes these rows and returns their number.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn expire(&self, ledger: Ledger, before: PrimitiveDateTime) -> Result<u64, Error> {
        let deleted = match ledger {
            Ledger::IndexPlans => {
                sqlx::query!(
                    r#"
                    delete from vector_index_plans kept
                    where started_at < $1
                        and exists (
                            select from vector_index_plans newer
                            where newer.table_name = kept.table_name and newer.started_at > kept.started_at
                        )
                    "#,
                    before
                )
                .execute(self)
                .await
            }
            Ledger::Actions => {
                sqlx::query!("delete from maintenance_actions where started_at < $1", before)
                    .execute(self)
                    .await
            }
        };
        Ok(deleted.during("delete what has expired")?.rows_affected())
    }
}
