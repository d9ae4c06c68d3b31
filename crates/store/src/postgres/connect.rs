//! Connections: parsing the URL, opening a pool, and showing its address without the password.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use log::LevelFilter;
use records::{Service, lock::RwLock};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgPoolOptions};

use super::{
    bounded::AnswerSize,
    checkout::{Pool, Transaction},
    failure::Failing,
    growth::Growth,
    hot_connections::{HotConnections, pool_of},
    lsn::Known,
    replicas::Replicas,
    search_watch::SearchWatch,
    servers::{ServerRole, Servers},
    session::{self, Session, Vectors},
    shares::{Holding, Permit, Share, Shares},
    sql::{
        self,
        transaction::{ReadOn, StatementLimits},
    },
    unnamed::on,
    url::DatabaseUrl,
};
use crate::{Error, memory::MemoryLimit, postgres::error::StatementContext as _, storage::StorageError};

/// Maximum number of connections on which a migration writes.
pub const MAX_COPY_CONNECTIONS: u32 = 8;
/// A migration also uses one for its lock and one to read the progress of an index build; a search uses one.
const MAX_CONNECTIONS: u32 = MAX_COPY_CONNECTIONS + 4;

/// Long enough for a server on another continent, short enough to report a wrong address soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long checks reuse a connection.
const CHECKS_FOR: Duration = Duration::from_secs(30);

const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// Limits of the connections to a database and of the services' statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// Connections at most, 12 by default, and never more than the server allows this role; one more is for checks alone. Fewer let requests wait for each other; more than the server's processors
    /// can serve only wait there, and may be more than the server takes.
    pub max_connections: u32,
    /// How long an operation waits for a connection, 10 s by default: enough for a server on another continent. Then
    /// it fails as unavailable.
    pub acquire_timeout: Duration,
    /// How long a statement of a service may take, 30 s by default. Shorter ones cut searches off that nothing
    /// speeds up, such as those by a regular expression; longer ones let a few of them take all connections. Zero
    /// sets no limit.
    pub statement_timeout: Duration,
    /// How long a statement of a service may wait for a lock, 5 s by default. Longer ones let those who wait for one
    /// table take all connections of their service; shorter ones fail where another transaction is merely slow. Zero sets no
    /// limit.
    pub lock_timeout: Duration,
    /// The resident memory above which no large response is read. Unlimited by default. Such responses wait, and fail after
    /// ten seconds.
    pub memory: MemoryLimit,
    /// The name by which the server lists these connections, `panopticon` by default.
    pub application_name: String,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            acquire_timeout: CONNECT_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
            memory: MemoryLimit::default(),
            application_name: "panopticon".to_owned(),
        }
    }
}

/// A PostgreSQL database that responds.
#[derive(Clone, Debug)]
pub struct Database {
    pub(super) pool: Pool,
    pub(super) hot_connections: Arc<HotConnections>,
    /// The connection that is reserved for checks.
    pub(super) checks: Pool,
    /// The servers that answer reads, if there are any.
    pub(super) replicas: Option<Arc<Replicas>>,
    /// Whether they answer those of this handle.
    pub(super) reads_on: ReadOn,
    shares: Arc<Shares>,
    /// The share of the service whose operations this is for; `None` for those of no service.
    share: Option<Share>,
    /// That service.
    pub(super) service: Option<Service>,
    pub(super) limits: StatementLimits,
    acquire_timeout: Duration,
    /// The statement time-out of a read-only handle; `None` for others.
    looking: Option<Duration>,
    address: String,
    servers: Arc<Servers>,
    max_connections: u32,
    watch: Option<Arc<SearchWatch>>,
    /// Shared by all handles.
    growth: Arc<Growth>,
    /// Shared by all handles; updated when the schema is prepared.
    session: Arc<RwLock<Session>>,
}

/// The servers of `url`, none of which is used yet.
pub(super) fn servers_of(url: &str, limits: &DatabaseOptions) -> Result<Arc<Servers>, Error> {
    let mut connecting =
        DatabaseUrl::parse(url).and_then(|url| url.connecting()).map_err(|source| Error::Url { source })?;
    for options in &mut connecting.servers {
        *options = options
            .clone()
            .application_name(&limits.application_name)
            // Poolers refuse start-up parameters that they do not know; we read numbers in binary anyway.
            .extra_float_digits(None)
            // A copy or an index build may take minutes; LOG_LEVEL=DEBUG logs all statements.
            .log_slow_statements(LevelFilter::Debug, SLOW_STATEMENT);
    }
    Ok(Servers::of(connecting, CONNECT_TIMEOUT))
}

/// Why there is no connection to `address`; never the password, nor a part of it.
fn refused(source: sqlx::Error, address: &str) -> Error {
    let address = address.to_owned();
    match &source {
        // sqlx has no specific error for it. libpq sends such bytes unchanged.
        sqlx::Error::Configuration(reason) if reason.to_string().contains("saslprep") => {
            let what = if reason.to_string().contains("username") { "user name" } else { "password" };
            Error::Unsendable { what, address }
        }
        _ => Error::connect(address, source),
    }
}

impl Database {
    /// Connects to the database at `url`.
    ///
    /// # Errors
    /// When `url` is not a PostgreSQL URL, or the server does not respond or rejects the connection.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, &DatabaseOptions::default()).await
    }

    /// Connects to the database at `url` within `limits`.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn connect_with(url: &str, limits: &DatabaseOptions) -> Result<Self, Error> {
        let servers = servers_of(url, limits)?;
        let address = servers.address();
        // The pool retries until its time-out and then only reports the time-out; a direct connection reports the
        // cause.
        let mut connection = servers.connect().await.map_err(|source| refused(source, &address))?;
        let mut transaction = connection.begin().await.during("begin a transaction")?;
        let session = session::look(&mut transaction).await.during("read the properties of the database")?;
        let allowed = allowed_connections(&mut transaction).await?;
        transaction.commit().await.during("end a transaction")?;
        let max_connections = limits.max_connections.min(allowed);
        let statement_limits = StatementLimits {
            statement_ms: milliseconds(limits.statement_timeout),
            lock_ms: milliseconds(limits.lock_timeout),
            looks_for_client: looks_for_client(&mut connection).await,
            has_citus: session.has_citus,
        };
        connection.close().await.during("close a connection")?;
        let (pool, hot_connections) = pool_of(&servers, max_connections, limits.acquire_timeout);
        let check_options = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limits.acquire_timeout)
            .idle_timeout(None)
            // Closed, so that later changes of the role's settings are seen by new sessions.
            .max_lifetime(CHECKS_FOR);
        Ok(Self {
            pool,
            hot_connections,
            checks: Pool::new(check_options, &servers),
            replicas: None,
            reads_on: ReadOn::Primary,
            shares: Arc::new(Shares::new(max_connections, limits.memory)),
            share: None,
            service: None,
            limits: statement_limits,
            acquire_timeout: limits.acquire_timeout,
            looking: None,
            address,
            servers,
            max_connections,
            watch: None,
            growth: Arc::default(),
            session: Arc::new(RwLock::new(session)),
        })
    }

    /// The same database, read-only: every transaction rejects writes, and each of its statements ends after
    /// `timeout` with an error that [`is_timeout`](Error::is_timeout).
    pub fn read_only(&self, timeout: Duration) -> Self {
        Self { looking: Some(timeout), ..self.clone() }
    }

    /// Host, port and database, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens connections concurrently until there are `count`.
    ///
    /// # Errors
    /// When the server rejects one or does not respond in time.
    pub async fn open_connections(&self, count: u32) -> Result<(), Error> {
        let opened = (0..count.min(self.max_connections)).map(|_| self.pool.acquire(None));
        try_join_all(opened).await.during("open connections")?;
        Ok(())
    }

    /// The number of connections, and how many of them are idle.
    pub fn connections(&self) -> (u32, u32) {
        let (size, idle) = self.pool.size();
        let idle = idle + self.hot_connections.len();
        (size, u32::try_from(idle).expect("a pool has fewer connections than fit"))
    }

    /// How many more operations could start now without waiting for a connection.
    pub fn free_connections(&self) -> u32 {
        let (size, idle) = self.connections();
        // Both may change concurrently.
        self.max_connections.saturating_sub(size.saturating_sub(idle))
    }

    /// How much the tables of collections have grown by writes of this process.
    pub fn growth(&self) -> &Growth {
        &self.growth
    }

    /// The same database, with `watch` counting its vector searches.
    #[must_use]
    pub fn watched_by(self, watch: Arc<SearchWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// The counter of vector searches, if there is one.
    pub fn search_watch(&self) -> Option<&SearchWatch> {
        self.watch.as_deref()
    }

    /// Whether the server seems to run on this machine and to share its memory and cores.
    pub(crate) fn is_local(&self) -> bool {
        self.servers.are_local()
    }

    /// The role of the server that is used, as last seen; `None` while no server of the URL suits.
    pub fn server_role(&self) -> Option<ServerRole> {
        self.servers.role()
    }

    /// Whether the server that is used rejected writes when it was last seen.
    pub fn rejects_writes(&self) -> bool {
        self.server_role().is_some_and(|role| !role.accepts_writes())
    }

    /// Whether the server that is used accepts writes. Asks all servers of the URL if it did not when it was last seen.
    pub async fn accepts_writes(&self) -> bool {
        let accepts_writes = || self.servers.role().is_some_and(ServerRole::accepts_writes);
        if !accepts_writes() {
            self.servers.look_again().await;
        }
        accepts_writes()
    }

    /// Whether the database has Citus, so that tables may be distributed.
    pub(super) fn has_citus(&self) -> bool {
        self.limits.has_citus
    }

    /// The properties of the database as last read.
    pub fn session(&self) -> Session {
        self.session.read().clone()
    }

    pub(super) fn set_session(&self, session: Session) {
        *self.session.write() = session;
    }

    /// Whether our statements can work in this database, as of the connection.
    ///
    /// # Errors
    /// When its encoding cannot hold every text, or pgvector's types cannot be named.
    pub fn check_session(&self) -> Result<(), Error> {
        self.session().check(self.address())
    }

    /// The schema of pgvector, if statements have to name it.
    pub(super) fn vector_schema(&self) -> Option<String> {
        match self.session().vectors {
            Vectors::Elsewhere { schema, .. } => Some(schema),
            _ => None,
        }
    }

    /// The settings of each transaction, if any.
    pub(super) fn session_settings(&self) -> Vec<sql::Sql> {
        self.session().search_path().into_iter().collect()
    }

    /// Reads the properties again, in a transaction: the extension may have been created or moved.
    pub(super) async fn look_again(&self, connection: &mut PgConnection) -> Result<(), Error> {
        // Our own setting must not affect the result.
        sqlx::raw_sql("set local search_path to default")
            .execute(&mut *connection)
            .await
            .during("read the properties of the database")?;
        let session = session::look(connection).await.during("read the properties of the database")?;
        session.check(self.address())?;
        self.set_session(session);
        for setting in self.session_settings() {
            sqlx::raw_sql(setting).execute(&mut *connection).await.during("set the search path")?;
        }
        Ok(())
    }

    /// Begins a transaction without time-outs, regardless of the role's settings; or one that is
    /// [`read_only`](Self::read_only).
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        self.begin_unlimited().await.during("begin a transaction")
    }

    /// Begins a transaction with one snapshot, in which the text format of values does not depend on settings.
    pub(super) async fn begin_snapshot(&self) -> Result<Transaction, Error> {
        let begin = sql::transaction::begin_snapshot(&self.limits, &self.session_settings());
        self.pool.begin(None, begin).await.during("begin a transaction")
    }

    pub(super) async fn begin_unlimited(&self) -> sqlx::Result<Transaction> {
        let begin = sql::transaction::begin_unlimited(&self.limits, &self.session_settings(), self.looking);
        self.pool.begin(None, begin).await
    }

    /// Does `work` in a transaction ([`begin`](Self::begin)) and commits it. A single statement takes the database itself
    /// as its executor.
    pub(crate) async fn in_transaction<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut transaction = self.begin().await?.noted_by(self.known());
        let done = work(&mut transaction).await?;
        transaction.commit().await.during("end a transaction")?;
        Ok(done)
    }

    /// Begins a transaction for replays of searches, with one snapshot and the statement time-out `timeout`.
    pub(super) async fn begin_replay(&self, timeout: Duration) -> Result<Transaction, Error> {
        let begin =
            sql::transaction::begin_replay(&self.limits, milliseconds(timeout), &self.session_settings());
        self.pool.begin(None, begin).await.during("begin a transaction")
    }

    /// Runs each statement outside a transaction, as concurrent builds require, on a connection that is closed
    /// afterwards.
    pub(super) async fn run_alone(
        &self,
        operation: &'static str,
        statements: Vec<sql::Sql>,
    ) -> Result<(), Error> {
        // One message each: a pooler between may run them on different connections.
        let mut connection = self.pool.take().await.during("get a connection")?;
        for statement in std::iter::once(sql::lift_time_limits()).chain(statements) {
            sqlx::raw_sql(statement).execute(&mut connection).await.during(operation)?;
        }
        connection.close().await.during("close a connection")
    }

    /// The same database, for operations of `service`: they use its share of the connections.
    #[must_use]
    pub fn of_service(&self, service: Service) -> Self {
        Self { share: Some(self.shares.of(service)), service: Some(service), ..self.clone() }
    }

    /// Begins a transaction of a service on the primary, with `settings` that are local to it. Each of its statements ends after
    /// the time-out, when it has waited too long for a lock, or when the client has disconnected. Later reads of this process
    /// see what it has written, and what it has seen.
    pub(crate) async fn begin_write(&self, settings: &[sql::Sql]) -> sqlx::Result<Transaction> {
        let begin = sql::transaction::begin(&self.limits, &self.session_settings(), settings);
        let permit = self.permit().await?;
        Ok(self.pool.begin(permit, begin).await?.noted_by(self.known()))
    }

    /// What notes the positions after commits, if replicas need them.
    pub(super) fn known(&self) -> Option<Arc<Known>> {
        self.replicas.as_ref().map(|replicas| replicas.known())
    }

    /// Does `work` in a transaction of a service on the primary and commits it. Errors are reported as failures of `operation`, a
    /// verb phrase.
    pub(crate) async fn in_service<T>(
        &self,
        failing: Failing,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StorageError> {
        let work =
            async |connection: &mut PgConnection| work(connection).await.map_err(failing.to(operation));
        // Boxed, since it is part of the futures of requests.
        Box::pin(self.in_service_with(failing, &[], work)).await
    }

    /// The same for work whose errors already name the operation, with `settings` that are local to the transaction.
    pub(crate) async fn in_service_with<T>(
        &self,
        failing: Failing,
        settings: &[sql::Sql],
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let begun = self.begin_write(settings).await;
        let mut transaction = begun.map_err(failing.to("begin a transaction"))?;
        let done = work(&mut transaction).await?;
        transaction.commit().await.map_err(failing.to("commit a transaction"))?;
        Ok(done)
    }

    /// Begins a transaction for checks of the database, on a reserved connection: it does not wait for those of
    /// services.
    ///
    /// # Errors
    /// When the server does not answer; the error has its address.
    pub(crate) async fn begin_check(&self) -> Result<Transaction, Error> {
        let begin = sql::transaction::begin(&self.limits, &self.session_settings(), &[]);
        self.checks.begin(None, begin).await.during("begin a transaction").map_err(|error| match error {
            Error::ConnectionLost { source, .. } => Error::Connect { address: self.address.clone(), source },
            error => error,
        })
    }

    /// Waits for the permit to read a large answer.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when the process uses too much memory.
    pub(super) async fn begin_large(&self) -> Result<Permit, StorageError> {
        self.shares.begin_large().await
    }

    /// The same for an answer that holds locks, or only keeps its connection while it waits; `None` if it must give up first.
    ///
    /// # Errors
    /// As for [`begin_large`](Self::begin_large).
    pub(super) async fn begin_large_while(&self, holding: Holding) -> Result<Option<Permit>, StorageError> {
        match holding {
            Holding::Locks => self.shares.begin_large_if_free().await,
            Holding::Connection => self.shares.begin_large_with_connection().await,
        }
    }

    /// Reads a small answer, or if it is too large, a large one, when a permit for that is free.
    ///
    /// # Errors
    /// That of `read`, and [`StorageError::Busy`] when the process uses too much memory.
    pub(super) async fn in_turn<T, F: Future<Output = Result<T, StorageError>>>(
        &self,
        read: impl Fn(AnswerSize) -> F,
    ) -> Result<T, StorageError> {
        match read(AnswerSize::Small).await {
            Err(StorageError::TooLarge) => {
                let _turn = self.begin_large().await?;
                read(AnswerSize::Large).await
            }
            answer => answer,
        }
    }

    /// A connection of the service's share; the time-out is that of the pool.
    pub(super) async fn permit(&self) -> sqlx::Result<Option<Permit>> {
        let Some(share) = &self.share else { return Ok(None) };
        let permit = tokio::time::timeout(self.acquire_timeout, share.acquire()).await;
        permit.map(Some).map_err(|_| sqlx::Error::PoolTimedOut)
    }

    /// Creates the empty database `name` on the same server; an existing one is dropped first.
    ///
    /// # Errors
    /// When the role may not create databases.
    pub async fn recreate_database(&self, name: &str) -> Result<(), Error> {
        self.run_alone(
            "create a database",
            vec![sql::databases::drop_database(name), sql::databases::create_database(name)],
        )
        .await
    }

    /// Closes all connections cleanly; after a drop, the server would have to notice.
    pub async fn close(self) {
        if let Some(replicas) = &self.replicas {
            replicas.close().await;
        }
        self.checks.close().await;
        self.hot_connections.close().await;
    }
}

/// Connections that the server allows this role, minus one for checks.
async fn allowed_connections(connection: &mut PgConnection) -> Result<u32, Error> {
    // The limits of the database and of the server are shared with other roles.
    let limit = sqlx::query_scalar!(
        r#"select rolconnlimit as "limit!" from pg_roles where rolname = current_user and rolconnlimit >= 0"#
    )
    .fetch_optional(on(connection))
    .await
    .during("read how many connections this role may have")?;
    let allowed = limit.and_then(|limit| u32::try_from(limit).ok());
    Ok(allowed.map_or(u32::MAX, |limit| limit.saturating_sub(1).max(1)))
}

/// Whether the server can detect disconnected clients during a statement, which not every system supports.
async fn looks_for_client(connection: &mut PgConnection) -> bool {
    let looks = sqlx::raw_sql(sql::transaction::look_for_client()).execute(connection).await;
    looks.inspect_err(|error| log::debug!("the server does not detect disconnected clients: {error}")).is_ok()
}

fn milliseconds(limit: Duration) -> i32 {
    // PostgreSQL's maximum is 24 days.
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
}
