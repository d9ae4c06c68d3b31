//! The transaction of a service's operation. Whoever asked for it may leave at any time, and then nothing of it may go on:
//! neither its statement, nor its hold on a connection.

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::runtime::Handle;

use super::{shares::Permit, sql::Sql, unnamed::on};

/// A transaction without a statement under way is rolled back in this time. Of one with a statement the connection is closed,
/// and the server, which looks for it, ends the statement.
const ROLLED_BACK: Duration = Duration::from_millis(200);

/// A transaction that is rolled back when it is dropped.
#[derive(Debug)]
pub(crate) struct ServiceTransaction {
    /// `None` once it is over.
    connection: Option<PoolConnection<Postgres>>,
    /// Which connection it counts as, until it has none.
    permit: Option<Permit>,
}

impl ServiceTransaction {
    /// Begins one by the statements `begin`, on a connection of `pool`.
    pub(super) async fn begin(pool: &PgPool, permit: Option<Permit>, begin: Sql) -> sqlx::Result<Self> {
        let connection = Some(pool.acquire().await?);
        let mut transaction = Self { connection, permit };
        sqlx::raw_sql(begin).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        self.end("commit").await
    }

    pub(crate) async fn rollback(self) -> sqlx::Result<()> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &'static str) -> sqlx::Result<()> {
        sqlx::raw_sql(statement).execute(&mut *self).await?;
        self.connection = None;
        Ok(())
    }
}

impl Deref for ServiceTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("it has its connection until it is over")
    }
}

impl DerefMut for ServiceTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it has its connection until it is over")
    }
}

impl Drop for ServiceTransaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        // Without a runtime nobody can wait for the server.
        let Ok(runtime) = Handle::try_current() else { return drop(connection.detach()) };
        let permit = self.permit.take();
        // Ends by itself, as the pool's own tasks that take connections back.
        drop(runtime.spawn(async move {
            let rolled_back = sqlx::raw_sql("rollback").execute(on(&mut connection));
            match tokio::time::timeout(ROLLED_BACK, rolled_back).await {
                Ok(Ok(_)) => drop(connection),
                _ => drop(connection.detach()),
            }
            drop(permit);
        }));
    }
}
