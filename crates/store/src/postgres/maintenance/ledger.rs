//! Tables in which each process writes down what happened, and that would grow for ever.

use time::PrimitiveDateTime;

use crate::{
    Error,
    postgres::{Database, error::StatementContext as _, unnamed::on},
};

/// A table of ours whose old rows nobody needs.
///
/// Not among them are `vector_search_samples` and `vector_search_history`, which whoever watches the searches forgets in time;
/// `run_attempts` and `run_workers`, which belong to their runs and say what those have cost;
/// `migration_jobs` and `migration_replaced`, from which migrations are resumed and undone; and `migration_rejects`, which
/// hold somebody's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ledger {
    /// `vector_index_plans`, of which the newest of each table stays.
    IndexPlans,
    /// `maintenance_actions`
    Actions,
}

impl Ledger {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::IndexPlans, Self::Actions];

    /// The name of its table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IndexPlans => "vector_index_plans",
            Self::Actions => "maintenance_actions",
        }
    }
}

impl Database {
    /// How many rows of `ledger` are from before `before`, in UTC; none where it is not there yet.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn count_expired(&self, ledger: Ledger, before: PrimitiveDateTime) -> Result<u64, Error> {
        let counted = self.if_table_exists(ledger.as_str(), "count what has expired", async |connection| {
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

    /// Deletes these rows, and says how many there were.
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
