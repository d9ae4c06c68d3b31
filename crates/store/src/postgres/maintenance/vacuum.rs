//! Maintenance actions on a table.

use super::ColumnStatistics;
use crate::{
    Error,
    postgres::{
        Database,
        error::StatementContext as _,
        relations::is_distributed,
        sql::{
            self,
            maintenance::{set_statistics, vacuum, vacuum_gently},
            vector_index::end_with_client,
        },
        unnamed::on,
    },
};

impl Database {
    /// Runs VACUUM and ANALYZE on the table `name`, with the cost limits of autovacuum and while the table is in use.
    ///
    /// # Errors
    /// When a statement fails; [`Error::NotVacuumed`] if the server skipped the table.
    pub async fn vacuum(&self, name: &str) -> Result<(), Error> {
        let before = self.last_vacuum(name).await?;
        let mut statements = vec![end_with_client()];
        statements.extend(vacuum_gently());
        statements.push(vacuum(name));
        self.run_alone("vacuum a table", statements).await?;
        // If the role is not the table's owner, the server only sends a warning and skips the table.
        if self.last_vacuum(name).await? == before {
            return Err(Error::NotVacuumed { table: name.to_owned() });
        }
        Ok(())
    }

    /// Sets the statistics targets `columns` of the table `name` and runs ANALYZE.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn gather_statistics(&self, name: &str, columns: &[ColumnStatistics]) -> Result<(), Error> {
        self.in_transaction(async |connection| {
            let is_distributed = is_distributed(connection, name).await.during("look for shards")?;
            let settable = if is_distributed { &[] } else { columns };
            if settable.len() < columns.len() {
                log::info!("the statistics targets of `{name}` stay as they are: Citus cannot set those of distributed tables");
            }
            for ColumnStatistics { column, target } in settable {
                sqlx::query(set_statistics(name, column, *target))
                    .execute(on(connection))
                    .await
                    .during("set the statistics target of a column")?;
            }
            sqlx::query(sql::analyze(name)).execute(on(connection)).await.during("analyze the table")?;
            Ok(())
        })
        .await
    }

    async fn last_vacuum(&self, name: &str) -> Result<Option<time::OffsetDateTime>, Error> {
        const OPERATION: &str = "read when a table was vacuumed";
        if let Some(shards) = self.shard_statistics(name, OPERATION).await? {
            return Ok(shards.vacuumed_at);
        }
        sqlx::query_scalar!("select pg_stat_get_last_vacuum_time(to_regclass(quote_ident($1))) as last", name)
            .fetch_one(self)
            .await
            .during(OPERATION)
    }
}
