//! Keeps two migrations out of one table.

use std::{convert::Infallible, time::Duration};

use sqlx::PgTransaction;
use tokio::time::{Instant, sleep};

use super::{Database, unnamed::on};
use crate::{Error, error::StatementContext as _};

/// How often the lock's connection is asked whether it lives.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// A server that is merely busy answers in this time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// A migration that was killed, or is just over, may hold its table for a moment more: the server has to notice.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);

/// Holds a table for one migration until it is dropped, or its process dies: PostgreSQL sees that at once.
///
/// It is a transaction with an advisory lock and nothing else. It holds no snapshot and no lock on a relation, so
/// neither VACUUM nor a concurrent index build waits for it; a session's lock would not survive a pooler. If only
/// its connection is lost, another migration may begin: then the job's holder changes, and this one's next commit is
/// refused.
#[derive(Debug)]
pub struct TableLock(PgTransaction<'static>);

impl TableLock {
    /// Does `work` for as long as the lock is held, so far as one can tell. Without this, work on a connection that
    /// was cut without a word would wait for ever.
    ///
    /// # Errors
    /// The work's own; or when the lock's connection is lost, or does not answer.
    pub async fn hold<T, E: From<Error>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            done = work => done,
            lost = self.watch() => match lost? {},
        }
    }

    async fn watch(&mut self) -> Result<Infallible, Error> {
        const OPERATION: &str = "see whether the migration still holds its table";
        loop {
            sleep(CHECK_INTERVAL).await;
            let check = sqlx::query!("select 1 as one").fetch_one(on(&mut self.0));
            let answer = tokio::time::timeout(CHECK_TIMEOUT, check).await;
            answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).during(OPERATION)?;
        }
    }
}

impl Database {
    /// Holds the table `name`, which need not exist.
    ///
    /// # Errors
    /// [`Error::Locked`] when another migration has it.
    pub async fn lock_table(&self, name: &str) -> Result<TableLock, Error> {
        let mut transaction = self.begin().await?;
        // So that a client which was cut off is given up within a minute, not in two hours: until then its lock keeps
        // the next attempt out.
        sqlx::query!(
            r#"
            select set_config('tcp_keepalives_idle', '30', true) as idle,
                set_config('tcp_keepalives_interval', '10', true) as interval,
                set_config('tcp_keepalives_count', '3', true) as count
            "#
        )
        .fetch_one(on(&mut transaction))
        .await
        .during("set keepalives")?;
        let end = Instant::now() + PATIENCE;
        loop {
            let locked = sqlx::query_scalar!(
                r#"select pg_try_advisory_xact_lock(hashtextextended('panopticon migrate ' || $1, 0)) as "locked!""#,
                name
            )
            .fetch_one(on(&mut transaction))
            .await
            .during("lock the table for a migration")?;
            if locked {
                return Ok(TableLock(transaction));
            }
            if Instant::now() >= end {
                return Err(Error::Locked { table: name.to_owned() });
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
    }
}
