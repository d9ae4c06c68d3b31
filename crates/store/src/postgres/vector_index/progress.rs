//! Whether a vector index is new, so that searches do not have its own search parameters yet.

use super::catalog::existing;
use crate::{
    Error,
    postgres::{Database, Table, error::StatementContext as _, lock::index_key, unnamed::on},
};

/// How far one of our processes is with the vector indexes that searches of a table use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexProgress {
    /// The build of each, and whether its search parameters were measured.
    builds: Vec<(i64, bool)>,
    /// Whether a process is building or measuring.
    is_working: bool,
}

impl IndexProgress {
    /// Whether the search parameters of an index are about to be measured, for the first time.
    pub fn awaits_parameters(&self) -> bool {
        self.is_working && self.builds.iter().any(|(_, is_measured)| !is_measured)
    }

    /// Whether searches use the same indexes as at `earlier`.
    pub fn is_same_as(&self, earlier: &Self) -> bool {
        self.builds == earlier.builds
    }
}

impl Database {
    /// How far the vector indexes of `table` are.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn index_progress(&self, table: &Table) -> Result<IndexProgress, Error> {
        self.in_transaction(async |connection| {
            // Before the indexes are read: the lock is released once the parameters are stored.
            let is_working = sqlx::query_scalar!(
                r#"
                select exists (
                    select
                    from pg_locks
                    where locktype = 'advisory' and objsubid = 1 and granted
                        and database = (select oid from pg_database where datname = current_database())
                        and ((classid::bigint << 32) | objid::bigint) = hashtextextended($1, 0)
                ) as "is_working!"
                "#,
                index_key(&table.name)
            )
            .fetch_one(on(connection))
            .await
            .during("look for changes of a table's indexes")?;
            let indexes = existing(connection, table).await?.into_iter();
            let builds = indexes.filter(|index| index.is_searched());
            let builds = builds.map(|index| (index.build, !index.measured.is_empty())).collect();
            Ok(IndexProgress { builds, is_working })
        })
        .await
    }
}
