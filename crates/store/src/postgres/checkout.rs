//! Guards for pooled connections. A caller may be cancelled at any time; then its statement and transaction must end,
//! its connection must be released, and no other caller may receive its answer.
//!
//! sqlx counts outstanding answers, but not those of COPY, and 0.9.0 does not track a transaction whose `begin` was
//! cancelled (transact-rs/sqlx#4393); the pool would give such a connection to the next caller. So a connection is
//! only returned when its work is complete and all answers are read, or when the server has answered a query whose
//! answer is unique. Otherwise it is closed.

use std::{
    ops::{Deref, DerefMut},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream::BoxStream;
use records::lock::Mutex;
use sqlx::{
    PgConnection, PgPool, Postgres, Row as _,
    pool::PoolConnection,
    postgres::{PgPoolOptions, PgRow},
};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{
    connection_fault::NoServer,
    lsn::{Known, Lsn},
    servers::{Found, Place, Servers},
    shares::Permit,
    sql::{
        Sql,
        transaction::{Begin, COMMIT_AND_LOCATE, echo, roll_back_and_echo},
    },
};

/// Time limit for rolling back a transaction without a running statement. If a statement is running, the connection
/// is closed, and the server, which checks the connection, ends the statement.
const ROLLED_BACK: Duration = Duration::from_millis(200);

/// While a connection is awaited for longer, its server may be lost, and is looked for.
const DOUBT: Duration = Duration::from_millis(250);

/// A pool that only gives out guarded connections.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pool: PgPool,
    /// Where it connects.
    servers: Arc<Servers>,
    /// The generation of the server to which it connects; locked while that is changed.
    generation: Arc<Mutex<u64>>,
}

/// A connection of a [`Pool`].
#[derive(Debug)]
pub(super) struct Checkout {
    /// `None` after it was returned.
    connection: Option<PoolConnection<Postgres>>,
    /// The permit for the connection.
    permit: Option<Permit>,
    cleanup: Cleanup,
    servers: Arc<Servers>,
}

/// What has to be cleaned up if the caller is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cleanup {
    Nothing,
    /// A statement that is a transaction of its own.
    Statement,
    Transaction,
    /// A transaction whose end was requested, and may be over.
    End,
}

/// A transaction, which is rolled back when it is dropped.
#[derive(Debug)]
pub(crate) struct Transaction {
    checkout: Checkout,
    /// What notes the position after its commit.
    known: Option<Arc<Known>>,
}

impl Pool {
    /// Connects when a connection is requested.
    pub(super) fn new(options: PgPoolOptions, servers: &Arc<Servers>) -> Self {
        let admitting = Arc::clone(servers);
        let options = if servers.is_followed() {
            options.after_connect(move |connection, _| {
                let servers = Arc::clone(&admitting);
                Box::pin(async move { servers.admit(connection).await })
            })
        } else {
            options
        };
        // Set by the first caller.
        let pool = options.connect_lazy_with(servers.first().clone());
        Self { pool, servers: Arc::clone(servers), generation: Arc::default() }
    }

    pub(super) async fn acquire(&self, permit: Option<Permit>) -> sqlx::Result<Checkout> {
        // Boxed, since it is part of many futures.
        let connection = Some(Box::pin(self.connection()).await?);
        let servers = Arc::clone(&self.servers);
        Ok(Checkout { connection, permit, cleanup: Cleanup::Nothing, servers })
    }

    /// A connection to the server that is used.
    async fn connection(&self) -> sqlx::Result<PoolConnection<Postgres>> {
        let mut places = self.servers.watch();
        let mut acquired = pin!(self.pool.acquire());
        loop {
            match &*places.borrow_and_update() {
                Place::At(found) => self.connect_to(found),
                Place::Lost(reason) => return Err(NoServer::new(reason.to_string()).into()),
            }
            tokio::select! {
                acquired = &mut acquired => return acquired.map_err(NoServer::at_connect),
                // An attempt to reach the former server may hang. The sender is there as long as `servers`.
                _ = places.changed() => acquired.set(self.pool.acquire()),
                () = tokio::time::sleep(DOUBT) => self.servers.doubt(),
            }
        }
    }

    /// Makes new connections go to `found`.
    fn connect_to(&self, found: &Found) {
        let mut generation = self.generation.lock();
        if *generation < found.generation {
            *generation = found.generation;
            self.pool.set_connect_options(self.servers.options(found).clone());
        }
    }

    /// Whether a connection made at `since` goes to the server that is used.
    pub(super) fn is_current(&self, since: Instant) -> bool {
        self.servers.is_current(since)
    }

    /// Begins a transaction by the statements `begin`.
    pub(super) async fn begin(
        &self,
        permit: Option<Permit>,
        begin: impl Into<Begin>,
    ) -> sqlx::Result<Transaction> {
        Ok(self.begin_with_answer(permit, begin).await?.0)
    }

    /// The same, with the rows that the statements return.
    pub(super) async fn begin_with_answer(
        &self,
        permit: Option<Permit>,
        begin: impl Into<Begin>,
    ) -> sqlx::Result<(Transaction, Vec<PgRow>)> {
        let Begin { message, settings } = begin.into();
        let mut checkout = self.acquire(permit).await?;
        checkout.cleanup = Cleanup::Transaction;
        let mut transaction = Transaction { checkout, known: None };
        let rows = sqlx::raw_sql(message).fetch_all(&mut *transaction).await?;
        if let Some(settings) = settings {
            sqlx::raw_sql(settings).execute(&mut *transaction).await?;
        }
        Ok((transaction, rows))
    }

    /// A connection that is detached from the pool and closed when it is dropped.
    pub(super) async fn take(&self) -> sqlx::Result<PgConnection> {
        Ok(Box::pin(self.connection()).await?.detach())
    }

    /// The number of connections, and how many of them are idle.
    pub(super) fn size(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    /// Closes the pool; returns when all connections are closed.
    pub(super) fn close(&self) -> impl Future<Output = ()> {
        self.pool.close()
    }
}

impl Checkout {
    /// The connection, for a statement that is a transaction of its own and in progress until the connection is
    /// [`settled`](Self::settle).
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        self.cleanup = Cleanup::Statement;
        self.connection.as_mut().expect("it is there until it is dropped")
    }

    /// The work is complete, and all answers are read.
    pub(super) fn settle(&mut self) {
        (self.cleanup, self.permit) = (Cleanup::Nothing, None);
    }

    /// Attaches `permit` to the connection.
    pub(super) fn count_as(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }
}

impl Transaction {
    /// Has the commit note the position after it in `known`.
    #[must_use]
    pub(super) fn noted_by(self, known: Option<Arc<Known>>) -> Self {
        Self { known, ..self }
    }

    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        match self.known.take() {
            None => self.end("commit").await,
            // Boxed, since it is part of large futures.
            Some(known) => Box::pin(self.commit_and_note(known)).await,
        }
    }

    async fn commit_and_note(mut self, known: Arc<Known>) -> sqlx::Result<()> {
        self.checkout.cleanup = Cleanup::End;
        let rows = sqlx::raw_sql(COMMIT_AND_LOCATE).fetch_all(&mut *self).await?;
        self.checkout.settle();
        let position = rows.first().map(|row| row.try_get::<Option<i64>, _>(0)).transpose()?.flatten();
        if let Some(position) = position {
            known.note(Lsn::at(position));
        }
        Ok(())
    }

    /// What `read` makes of the rows of `message`, which ends with the commit. It reads all of them, or fails: then the
    /// transaction is open in most cases, and rolled back.
    pub(super) async fn end_by<T, E>(
        mut self,
        message: Sql,
        read: impl AsyncFnOnce(BoxStream<'_, sqlx::Result<PgRow>>) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = read(sqlx::raw_sql(message).fetch(&mut *self)).await?;
        self.checkout.settle();
        Ok(done)
    }

    pub(crate) async fn rollback(self) -> sqlx::Result<()> {
        self.end("rollback").await
    }

    async fn end(mut self, statement: &'static str) -> sqlx::Result<()> {
        self.checkout.cleanup = Cleanup::End;
        sqlx::raw_sql(statement).execute(&mut *self).await?;
        self.checkout.settle();
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.checkout.connection.as_ref().expect("it is there until it is dropped")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.checkout.connection.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let (permit, cleanup) = (self.permit.take(), self.cleanup);
        // Without a runtime it is not possible to wait for the server.
        let Ok(runtime) = Handle::try_current() else { return drop(connection.detach()) };
        if cleanup == Cleanup::Nothing {
            return drop(connection);
        }
        let servers = Arc::clone(&self.servers);
        // The task ends by itself, like the pool's own tasks that return connections.
        drop(runtime.spawn(async move {
            match tokio::time::timeout(ROLLED_BACK, is_read_only(&mut connection, cleanup)).await {
                Ok(Some(is_read_only)) => {
                    servers.notice(is_read_only);
                    drop(connection);
                }
                _ => {
                    servers.doubt();
                    drop(connection.detach());
                }
            }
            drop(permit);
        }));
    }
}

/// Ends the transaction, if there is one, and checks that the connection returns the expected answer. Returns whether its server
/// rejects writes; `None` if the connection cannot be used again.
async fn is_read_only(connection: &mut PgConnection, cleanup: Cleanup) -> Option<bool> {
    let word = Uuid::new_v4();
    if cleanup != Cleanup::Transaction {
        let (is_read_only, is_open) = answer(connection, echo(word), word).await?;
        // Without a transaction, a rollback would be a warning in the logs.
        if cleanup != Cleanup::End || !is_open {
            return Some(is_read_only);
        }
    }
    answer(connection, roll_back_and_echo(word), word).await.map(|(is_read_only, _)| is_read_only)
}

/// The answer to `question`, which has to contain `word`: whether the server rejects writes, and whether a transaction is open.
async fn answer(connection: &mut PgConnection, question: Sql, word: Uuid) -> Option<(bool, bool)> {
    let said = sqlx::raw_sql(question).fetch_all(connection).await.ok()?;
    let [row] = &said[..] else { return None };
    let is_in_step = row.try_get::<String, _>(0).ok()? == word.to_string();
    is_in_step.then(|| Some((row.try_get(1).ok()?, row.try_get(2).ok()?))).flatten()
}
