//! Does what keeps a table in order.

use super::ColumnStatistics;
use crate::{
    Error,
    postgres::{
        Database,
        error::StatementContext as _,
        sql::{
            self,
            maintenance::{set_statistics, vacuum, vacuum_gently},
            vector_index::end_with_client,
        },
        unnamed::on,
    },
};

impl Database {
    /// Removes the dead rows of the table `name` and refreshes its statistics, at autovacuum's own pace and while the
    /// table is in use.
    ///
    /// # Errors
    /// When a statement fails; [`Error::NotVacuumed`] where the server has passed the table over.
    pub async fn vacuum(&self, name: &str) -> Result<(), Error> {
        let before = self.last_vacuum(name).await?;
        let mut statements = vec![end_with_client()];
        statements.extend(vacuum_gently());
        statements.push(vacuum(name));
        self.run_alone("vacuum a table", statements).await?;
        // To whom the table does not belong the server says so in a warning, and goes on.
        if self.last_vacuum(name).await? == before {
            return Err(Error::NotVacuumed { table: name.to_owned() });
        }
        Ok(())
    }

    /// Refreshes the statistics of the table `name`, of which as much is kept from now on as `columns` say.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn gather_statistics(&self, name: &str, columns: &[ColumnStatistics]) -> Result<(), Error> {
        self.in_transaction(async |connection| {
            for ColumnStatistics { column, target } in columns {
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
        sqlx::query_scalar!("select pg_stat_get_last_vacuum_time(to_regclass(quote_ident($1))) as last", name)
            .fetch_one(self)
            .await
            .during("see when a table was vacuumed")
    }
}
