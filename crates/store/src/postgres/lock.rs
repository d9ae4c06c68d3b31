//! Keeps two migrations out of one table, and two builders away from its indexes.

use std::{convert::Infallible, time::Duration};

use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::{Database, checkout::Transaction, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

/// How often the lock's connection is asked whether it lives.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// A server that is merely busy answers in this time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// A migration that was killed, or is just over, may hold its table for a moment more: the server has to notice.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);

/// What one process of ours does at a time, held until this is dropped, or the process dies: PostgreSQL sees that at once.
///
/// It is a transaction with an advisory lock and nothing else. It holds no snapshot and no lock on a relation, so
/// neither VACUUM nor a concurrent index build waits for it; a session's lock would not survive a pooler. If only
/// its connection is lost, another migration may begin: then the job's holder changes, and this one's next commit is
/// refused.
#[derive(Debug)]
pub struct AdvisoryLock(Transaction);

impl AdvisoryLock {
    /// Ends it; dropping would leave it to the pool to do it some time.
    ///
    /// # Errors
    /// When the connection is lost, and the lock with it.
    pub async fn release(self) -> Result<(), Error> {
        self.0.commit().await.during("end a transaction")
    }

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
    /// Holds the making again of searches in this database; `None` while another process does it.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_replays(&self) -> Result<Option<AdvisoryLock>, Error> {
        self.try_lock("panopticon replays", Some(Duration::ZERO)).await
    }

    /// Holds the maintenance of this database; `None` when another process has it.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_maintenance(&self) -> Result<Option<AdvisoryLock>, Error> {
        self.try_lock("panopticon maintenance", Some(PATIENCE)).await
    }

    /// Holds the table `name`, which need not exist.
    ///
    /// # Errors
    /// [`Error::Locked`] when another migration has it.
    pub async fn lock_table(&self, name: &str) -> Result<AdvisoryLock, Error> {
        let locked = self.try_lock(&migration_key(name), Some(PATIENCE)).await?;
        locked.ok_or_else(|| Error::Locked { table: name.to_owned() })
    }

    /// Holds all of `tables` by one connection.
    ///
    /// # Errors
    /// [`Error::Locked`] when another migration has one of them.
    pub async fn lock_tables(&self, tables: &[String]) -> Result<AdvisoryLock, Error> {
        let Some((first, others)) = tables.split_first() else {
            return Err(Error::NoTable { table: String::new() });
        };
        let end = Instant::now() + PATIENCE;
        'attempts: loop {
            let AdvisoryLock(mut transaction) = self.lock_table(first).await?;
            for table in others {
                if !lock_in(&mut transaction, &migration_key(table)).await? {
                    // All are let go, since the other may wait for one of these.
                    transaction.commit().await.during("end a transaction")?;
                    if Instant::now() >= end {
                        return Err(Error::Locked { table: table.clone() });
                    }
                    sleep(ATTEMPT_INTERVAL).await;
                    continue 'attempts;
                }
            }
            return Ok(AdvisoryLock(transaction));
        }
    }

    /// Holds the indexes of the table `name`, so that no other process of ours builds or drops one: two builds on one
    /// table end in a deadlock.
    ///
    /// # Errors
    /// [`Error::IndexesLocked`] when another process has them.
    pub async fn lock_indexes(&self, name: &str) -> Result<AdvisoryLock, Error> {
        let locked = self.try_lock(&index_key(name), Some(PATIENCE)).await?;
        locked.ok_or_else(|| Error::IndexesLocked { table: name.to_owned() })
    }

    /// The same, after whoever has them now.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_indexes_in_turn(&self, name: &str) -> Result<AdvisoryLock, Error> {
        let locked = self.try_lock(&index_key(name), None).await?;
        Ok(locked.expect("without an end there is no giving up"))
    }

    /// Holds `key`; `None` when another has it and `patience` is over.
    ///
    /// It asks again and again instead of waiting, and each time in a transaction of its own: a concurrent build waits
    /// until every transaction is over that it once saw with a snapshot, and whoever builds has the lock.
    async fn try_lock(&self, key: &str, patience: Option<Duration>) -> Result<Option<AdvisoryLock>, Error> {
        let end = patience.map(|patience| Instant::now() + patience);
        loop {
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
            if lock_in(&mut transaction, key).await? {
                return Ok(Some(AdvisoryLock(transaction)));
            }
            transaction.commit().await.during("end a transaction")?;
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(None);
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
    }
}

/// Whether `transaction` has `key` now.
async fn lock_in(transaction: &mut PgConnection, key: &str) -> Result<bool, Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "locked!""#, key)
        .fetch_one(on(transaction))
        .await
        .during("lock a table")
}

/// What whoever migrates into `table` holds.
pub(super) fn migration_key(table: &str) -> String {
    format!("panopticon migrate {table}")
}

fn index_key(table: &str) -> String {
    format!("panopticon indexes {table}")
}
