//! Advisory locks: one migration per table, and one process that builds the indexes of a table.

use std::{convert::Infallible, time::Duration};

use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::{Database, checkout::Transaction, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

/// How often the connection of the lock is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(15);
/// A server that is only busy answers within this time.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

/// A migration that was killed or has just ended may hold its lock for a moment longer, until the server notices.
const PATIENCE: Duration = Duration::from_secs(1);
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);

/// A lock for work that only one of our processes may do at a time. It is released when it is dropped or the process
/// dies, which PostgreSQL notices at once.
///
/// It is a transaction with an advisory lock and nothing else. It holds no snapshot and no lock on a relation, so
/// neither VACUUM nor a concurrent index build waits for it; a session-level lock does not work through a pooler. If
/// only its connection is lost, another migration may start: then the job's holder changes, and the next commit of
/// this one is rejected.
#[derive(Debug)]
pub struct AdvisoryLock(Transaction);

impl AdvisoryLock {
    /// Releases the lock now; after a drop, the pool would do it at some later time.
    ///
    /// # Errors
    /// When the connection, and with it the lock, is lost.
    pub async fn release(self) -> Result<(), Error> {
        self.0.commit().await.during("end a transaction")
    }

    /// Does `work`, and stops it when the connection of the lock is lost. Without this, work on a connection that was
    /// cut without notice would wait forever.
    ///
    /// # Errors
    /// Those of the work; or when the connection of the lock is lost or does not respond.
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
        const OPERATION: &str = "check the lock of the migration";
        loop {
            sleep(CHECK_INTERVAL).await;
            let check = sqlx::query!("select 1 as one").fetch_one(on(&mut self.0));
            let answer = tokio::time::timeout(CHECK_TIMEOUT, check).await;
            answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).during(OPERATION)?;
        }
    }
}

impl Database {
    /// Locks the replay of searches in this database; `None` while another process does it.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_replays(&self) -> Result<Option<AdvisoryLock>, Error> {
        self.try_lock("panopticon replays", Some(Duration::ZERO)).await
    }

    /// Locks the maintenance of this database; `None` when another process has the lock.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_maintenance(&self) -> Result<Option<AdvisoryLock>, Error> {
        self.try_lock("panopticon maintenance", Some(PATIENCE)).await
    }

    /// Locks the table `name`, which need not exist, for a migration.
    ///
    /// # Errors
    /// [`Error::Locked`] when another migration has the lock.
    pub async fn lock_table(&self, name: &str) -> Result<AdvisoryLock, Error> {
        let locked = self.try_lock(&migration_key(name), Some(PATIENCE)).await?;
        locked.ok_or_else(|| Error::Locked { table: name.to_owned() })
    }

    /// Locks all of `tables`, with one connection.
    ///
    /// # Errors
    /// [`Error::Locked`] when another migration has locked one of them.
    pub async fn lock_tables(&self, tables: &[String]) -> Result<AdvisoryLock, Error> {
        let Some((first, others)) = tables.split_first() else {
            return Err(Error::NoTable { table: String::new() });
        };
        let end = Instant::now() + PATIENCE;
        let keys: Vec<String> = others.iter().map(|table| migration_key(table)).collect();
        loop {
            let AdvisoryLock(mut transaction) = self.lock_table(first).await?;
            let refused = sqlx::query_scalar!(
                r#"
                select key as "key!"
                from unnest($1::text[]) as key
                where not pg_try_advisory_xact_lock(hashtextextended(key, 0))
                "#,
                &keys
            )
            .fetch_all(on(&mut transaction))
            .await
            .during("lock tables")?;
            let Some(table) = others.iter().find(|table| refused.contains(&migration_key(table))) else {
                return Ok(AdvisoryLock(transaction));
            };
            // All are released, since the other migration may wait for one of them.
            transaction.commit().await.during("end a transaction")?;
            if Instant::now() >= end {
                return Err(Error::Locked { table: table.clone() });
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
    }

    /// Locks the indexes of the table `name`, so that no other process of ours builds or drops one: two builds on one
    /// table end in a deadlock.
    ///
    /// # Errors
    /// [`Error::IndexesLocked`] when another process has locked them.
    pub async fn lock_indexes(&self, name: &str) -> Result<AdvisoryLock, Error> {
        let locked = self.try_lock(&index_key(name), Some(PATIENCE)).await?;
        locked.ok_or_else(|| Error::IndexesLocked { table: name.to_owned() })
    }

    /// The same, but waits until the current holder releases them.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn lock_indexes_in_turn(&self, name: &str) -> Result<AdvisoryLock, Error> {
        let locked = self.try_lock(&index_key(name), None).await?;
        Ok(locked.expect("a wait without a limit does not give up"))
    }

    /// Locks `key`; `None` when it is still locked after `patience`.
    ///
    /// It polls instead of waiting, each time in a new transaction: a concurrent build, whose process has the lock,
    /// waits until all transactions that it saw with a snapshot have ended.
    async fn try_lock(&self, key: &str, patience: Option<Duration>) -> Result<Option<AdvisoryLock>, Error> {
        let end = patience.map(|patience| Instant::now() + patience);
        loop {
            let mut transaction = self.begin().await?;
            // The server closes the session of a client that was cut off within a minute instead of two hours; until
            // then its lock blocks the next attempt.
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

/// Tries to lock `key` in `transaction`.
async fn lock_in(transaction: &mut PgConnection, key: &str) -> Result<bool, Error> {
    sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock(hashtextextended($1, 0)) as "locked!""#, key)
        .fetch_one(on(transaction))
        .await
        .during("lock a table")
}

/// The key that a migration into `table` locks.
pub(super) fn migration_key(table: &str) -> String {
    format!("panopticon migrate {table}")
}

/// The key that changes of the indexes of `table` lock.
pub(super) fn index_key(table: &str) -> String {
    format!("panopticon indexes {table}")
}
