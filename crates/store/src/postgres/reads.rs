//! Reads that may be done on a replica: those whose answer may be a moment old, but not older than what the process and the
//! client have seen. Where there is no replica, or none that is fit and fresh enough, they are done on the primary.

use std::time::Duration;

use futures_util::{TryStreamExt as _, stream::BoxStream};
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    Database, DatabaseOptions, UrlError,
    bounded::{AnswerSize, of_weight, too_large, within_answer},
    connect::servers_of,
    failure::Failing,
    hot_connections::pool_of,
    lsn::Lsn,
    replicas::{Connections, ReadFailure, Reading, Replicas, ServerState},
    shares::Shares,
    sql::{
        Sql,
        statement::Statement,
        transaction::{self, Begin, ReadOn, all_of, and_commit, at_once, begin_read},
    },
};
use crate::{Error, storage::StorageError};

impl Database {
    /// The same database, whose reads are done on the replicas at `urls`, as long as each is at most `max_lag` behind.
    /// Their schema is not prepared; `limits` are those of each of them. Without `urls`, nothing changes.
    ///
    /// # Errors
    /// When a URL is invalid, or names a server that is no replica of this database or rejects the connection. A replica
    /// that does not answer is used once it does.
    pub async fn with_replicas(
        self,
        urls: &[String],
        max_lag: Duration,
        limits: &DatabaseOptions,
    ) -> Result<Self, Error> {
        if urls.is_empty() {
            return Ok(self);
        }
        let connections = |url: &String| {
            let (servers, acquire_timeout) = (servers_of(url, limits)?, limits.acquire_timeout);
            if servers.count() > 1 {
                return Err(Error::Url { source: UrlError::SeveralReplicas });
            }
            let (pool, hot_connections) = pool_of(&servers, limits.max_connections, acquire_timeout);
            let shares = Shares::new(limits.max_connections, limits.memory);
            Ok(Connections { servers, pool, hot_connections, shares, acquire_timeout })
        };
        let all = urls.iter().map(connections).collect::<Result<_, Error>>()?;
        let replicas = Replicas::begin(all, self.checks.clone(), max_lag).await?;
        let mut replicated = self;
        (replicated.replicas, replicated.reads_on) = (Some(replicas), ReadOn::Replica);
        Ok(replicated)
    }

    /// The same database, all of whose reads are done on the primary: they see what other processes have just written.
    #[must_use]
    pub fn reading_on_primary(&self) -> Self {
        let mut primary = self.clone();
        primary.reads_on = ReadOn::Primary;
        primary
    }

    /// The primary and the replicas as they were seen last; empty without replicas.
    pub fn read_servers(&self) -> Vec<ServerState> {
        self.replicas.as_ref().map_or_else(Vec::new, |replicas| replicas.servers(self.address()))
    }

    /// What another process must [read after](super::reading_after) to see everything that this one has written; `None`
    /// without replicas.
    pub fn written(&self) -> Option<Lsn> {
        self.replicas.as_ref().map(|replicas| replicas.known().get())
    }

    /// The replica for the next read, if there is one that is fit.
    fn replica(&self) -> Option<Reading> {
        let replicas = self.replicas.as_ref().filter(|_| self.reads_on == ReadOn::Replica)?;
        replicas.choose(self.service)
    }

    fn count_on_primary(&self) {
        if let Some(replicas) = &self.replicas {
            replicas.count_on_primary();
        }
    }

    fn begin_read(&self, settings: &[Sql], on: ReadOn) -> Begin {
        begin_read(&self.limits, (&self.session_settings(), settings), on)
    }

    /// Does `work` in a transaction that changes nothing, on a replica or on the primary, and again on the primary if a
    /// replica fails. Errors are reported as failures of `operation`, a verb phrase.
    pub(crate) async fn in_read<T>(
        &self,
        failing: Failing,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T> + Clone,
    ) -> Result<T, StorageError> {
        let work =
            async move |connection: &mut PgConnection| work(connection).await.map_err(failing.to(operation));
        // Boxed, since it is part of the futures of requests.
        Box::pin(self.in_read_with(failing.to(operation), &[], work)).await
    }

    /// The same for work whose errors are those of the caller, with `settings` that are local to the transaction. `failing`
    /// converts errors of the connection.
    pub(crate) async fn in_read_with<T, E: ReadFailure>(
        &self,
        failing: impl Fn(sqlx::Error) -> E,
        settings: &[Sql],
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E> + Clone,
    ) -> Result<T, E> {
        if let Some(reading) = self.replica() {
            let (begin, work) = (self.begin_read(settings, ReadOn::Replica), work.clone());
            let read = async {
                let Some(mut transaction) = reading.begin(begin).await.map_err(&failing)? else {
                    return Ok(None);
                };
                let done = work(&mut transaction).await?;
                transaction.commit().await.map_err(&failing)?;
                Ok(Some(done))
            };
            if let Some(done) = Box::pin(reading.answer(read)).await? {
                return Ok(done);
            }
        }
        self.count_on_primary();
        let permit = self.permit().await.map_err(&failing)?;
        let begun = self.pool.begin(permit, self.begin_read(settings, ReadOn::Primary)).await;
        let mut transaction = begun.map_err(&failing)?;
        let done = work(&mut transaction).await?;
        transaction.commit().await.map_err(&failing)?;
        Ok(done)
    }

    /// The rows of `statement`, whose values are all numbers, in such a transaction.
    ///
    /// # Errors
    /// As for [`fetch_answer`](super::bounded::fetch_answer).
    pub(crate) async fn fetch_at_once(
        &self,
        settings: &[Sql],
        statement: &Statement,
        size: AnswerSize,
    ) -> sqlx::Result<Vec<PgRow>> {
        let most_bytes = size.most_bytes();
        let rows = self.send_at_once(settings, statement.within(most_bytes), size).await?;
        match of_weight(rows, most_bytes) {
            Ok(rows) => Ok(rows),
            Err(1) if size == AnswerSize::Large => {
                self.send_at_once(settings, statement.within(usize::MAX), size).await
            }
            Err(_) => Err(too_large(most_bytes)),
        }
    }

    async fn send_at_once(
        &self,
        settings: &[Sql],
        statement: Statement,
        size: AnswerSize,
    ) -> sqlx::Result<Vec<PgRow>> {
        let read = async move |rows: BoxStream<'_, sqlx::Result<PgRow>>| within_answer(rows, size).await;
        self.read_at_once(settings, &[statement], |error| error, read).await
    }

    /// What `read` makes of the rows of `statements`, which are one message. `failing` converts errors of the connection.
    /// With Citus, `settings` are messages of their own.
    pub(crate) async fn read_at_once<T, E: ReadFailure>(
        &self,
        settings: &[Sql],
        statements: &[Statement],
        failing: impl Fn(sqlx::Error) -> E,
        read: impl AsyncFnOnce(BoxStream<'_, sqlx::Result<PgRow>>) -> Result<T, E> + Clone,
    ) -> Result<T, E> {
        if self.has_citus() && !settings.is_empty() {
            return Box::pin(self.read_after_settings(settings, statements, failing, read)).await;
        }
        let settings = (&*self.session_settings(), settings);
        if let Some(reading) = self.replica() {
            let replayed = transaction::replayed();
            let message = at_once(&self.limits, settings, std::iter::once(&replayed).chain(statements));
            let read = read.clone();
            let read_there = async {
                let Some(mut connection) = reading.connection().await.map_err(&failing)? else {
                    return Ok(None);
                };
                let mut rows = sqlx::raw_sql(message).fetch(connection.connection());
                let first = rows.try_next().await.map_err(&failing)?;
                let is_fresh = first.map_or(Ok(false), |row| reading.is_fresh(&row)).map_err(&failing)?;
                if !is_fresh {
                    return Ok(None);
                }
                let done = read(rows).await?;
                reading.put(connection);
                Ok(Some(done))
            };
            if let Some(done) = Box::pin(reading.answer(read_there)).await? {
                return Ok(done);
            }
        }
        self.count_on_primary();
        let message = at_once(&self.limits, settings, statements);
        let permit = self.permit().await.map_err(&failing)?;
        let mut connection = self.hot_connections.acquire(permit).await.map_err(failing)?;
        let done = read(sqlx::raw_sql(message).fetch(connection.connection())).await?;
        self.hot_connections.put(connection);
        Ok(done)
    }

    /// The same in three messages: the one that begins, `settings`, and `statements` with the commit.
    async fn read_after_settings<T, E: ReadFailure>(
        &self,
        settings: &[Sql],
        statements: &[Statement],
        failing: impl Fn(sqlx::Error) -> E,
        read: impl AsyncFnOnce(BoxStream<'_, sqlx::Result<PgRow>>) -> Result<T, E> + Clone,
    ) -> Result<T, E> {
        if self.replicas.is_some() {
            let read_there = async move |connection: &mut PgConnection| {
                read(sqlx::raw_sql(all_of(statements)).fetch(connection)).await
            };
            return self.in_read_with(failing, settings, read_there).await;
        }
        let permit = self.permit().await.map_err(&failing)?;
        let begin = self.begin_read(settings, ReadOn::Primary);
        let transaction = self.pool.begin(permit, begin).await.map_err(&failing)?;
        transaction.end_by(and_commit(all_of(statements)), read).await
    }
}
