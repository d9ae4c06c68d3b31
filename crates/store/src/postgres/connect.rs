//! Connections: parsing the URL, opening a pool, and saying where it leads without its password.

use std::{sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use log::LevelFilter;
use records::{Service, lock::RwLock};
use sqlx::{
    ConnectOptions as _, Connection as _, PgConnection,
    postgres::{PgPoolOptions, PgRow},
};

use super::{
    bounded::{AnswerSize, of_weight, overrun, within_answer},
    checkout::{Pool, Transaction},
    cut::cut,
    failure::Failing,
    search_watch::SearchWatch,
    session::{self, Session, Vectors},
    shares::{Permit, Share, Shares},
    shelf::{Shelf, TRUSTED_IDLE},
    sql::{self, transaction::StatementLimits},
    unnamed::on,
    url::DatabaseUrl,
};
use crate::{Error, postgres::error::StatementContext as _, storage::StorageError};

/// Connections that a migration writes on, at most.
pub const MAX_COPY_CONNECTIONS: u32 = 8;
/// Beside these a migration holds one for its lock and one to see how far an index is; a search uses one.
const MAX_CONNECTIONS: u32 = MAX_COPY_CONNECTIONS + 4;

/// Long enough for a server on another continent, short enough to notice a wrong address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long checks have the same connection.
const CHECKS_FOR: Duration = Duration::from_secs(30);

/// Of so many connections one may be kept for searches alone.
const SHELVED: u32 = 3;

const SLOW_STATEMENT: Duration = Duration::from_secs(1);

/// Limits of the connections to a database, and of what the services ask on them.
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
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            acquire_timeout: CONNECT_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
            lock_timeout: LOCK_TIMEOUT,
        }
    }
}

/// A PostgreSQL database that answers.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
    shelf: Arc<Shelf>,
    /// The one connection that is for checks alone.
    checks: Pool,
    shares: Arc<Shares>,
    /// The share of the service whose operations this is for; `None` for those of no service.
    share: Option<Share>,
    limits: StatementLimits,
    acquire_timeout: Duration,
    /// How long a statement may take of somebody who only looks; `None` for everybody else.
    looking: Option<Duration>,
    address: String,
    is_local: bool,
    max_connections: u32,
    watch: Option<Arc<SearchWatch>>,
    /// Shared by all handles; changed when the schema is prepared.
    session: Arc<RwLock<Session>>,
}

/// Why there is no connection to `address`; never the password, nor a part of it.
fn refused(source: sqlx::Error, address: &str) -> Error {
    let address = address.to_owned();
    match &source {
        // sqlx has no error of its own for it. libpq sends such bytes as they are.
        sqlx::Error::Configuration(reason) if reason.to_string().contains("saslprep") => {
            let what = if reason.to_string().contains("username") { "user name" } else { "password" };
            Error::Unsendable { what, address }
        }
        _ => Error::Connect { address, source: cut(source) },
    }
}

impl Database {
    /// Connects to the database at `url`.
    ///
    /// # Errors
    /// When `url` is no PostgreSQL URL, or the server does not answer or refuses us.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, &DatabaseOptions::default()).await
    }

    /// Connects to the database at `url` within `limits`.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn connect_with(url: &str, limits: &DatabaseOptions) -> Result<Self, Error> {
        let (options, timeout) = DatabaseUrl::parse(url)
            .and_then(|url| url.connect_options())
            .map_err(|source| Error::Url { source })?;
        let options = options
            .application_name("panopticon")
            // Poolers refuse start-up parameters that they do not know; we read numbers in binary anyway.
            .extra_float_digits(None)
            // A copy or an index build of minutes is no anomaly; who wants to see statements sets LOG_LEVEL=DEBUG.
            .log_slow_statements(LevelFilter::Debug, SLOW_STATEMENT);
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let host = options.get_socket().and_then(|socket| socket.to_str()).unwrap_or(options.get_host());
        let address = format!("{host}:{}/{database}", options.get_port());
        let is_local = options.get_socket().is_some()
            || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]")
            || options.get_host().starts_with('/');
        // The pool retries until its time-out and then names only that; one connection by hand tells the cause.
        let attempt = PgConnection::connect_with(&options);
        let mut connection = tokio::time::timeout(timeout.unwrap_or(CONNECT_TIMEOUT), attempt)
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(|source| refused(source, &address))?;
        let mut transaction = connection.begin().await.during("begin a transaction")?;
        let session = session::look(&mut transaction).await.during("look at the database")?;
        let allowed = allowed_connections(&mut transaction).await?;
        transaction.commit().await.during("end a transaction")?;
        let max_connections = limits.max_connections.min(allowed);
        let statement_limits = StatementLimits {
            statement_ms: milliseconds(limits.statement_timeout),
            lock_ms: milliseconds(limits.lock_timeout),
            looks_for_client: looks_for_client(&mut connection).await,
        };
        connection.close().await.during("close a connection")?;
        let pool_options = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(limits.acquire_timeout)
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(
                    async move { Ok(metadata.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok()) },
                )
            });
        let pool = Pool::new(pool_options, options.clone());
        let check_options = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(limits.acquire_timeout)
            .idle_timeout(None)
            // So that it sees what new sessions are given.
            .max_lifetime(CHECKS_FOR);
        Ok(Self {
            shelf: Arc::new(Shelf::new(pool.clone(), max_connections / SHELVED)),
            pool,
            checks: Pool::new(check_options, options),
            shares: Arc::new(Shares::new(max_connections)),
            share: None,
            limits: statement_limits,
            acquire_timeout: limits.acquire_timeout,
            looking: None,
            address,
            is_local,
            max_connections,
            watch: None,
            session: Arc::new(RwLock::new(session)),
        })
    }

    /// The same database for somebody who only looks: every transaction refuses to write, and each of its statements ends
    /// after `timeout` with an error that [`is_timeout`](Error::is_timeout).
    pub fn read_only(&self, timeout: Duration) -> Self {
        Self { looking: Some(timeout), ..self.clone() }
    }

    /// Host, port and database, without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Opens connections until there are `count`, side by side, for those who would open them one after the other.
    ///
    /// # Errors
    /// When the server refuses one, or does not answer in time.
    pub async fn open_connections(&self, count: u32) -> Result<(), Error> {
        let opened = (0..count.min(self.max_connections)).map(|_| self.pool.acquire(None));
        try_join_all(opened).await.during("open connections")?;
        Ok(())
    }

    /// How many connections there are, and how many of them wait for work.
    pub fn connections(&self) -> (u32, u32) {
        let (size, idle) = self.pool.size();
        let idle = idle + self.shelf.len();
        (size, u32::try_from(idle).expect("a pool has fewer connections than fit"))
    }

    /// How many more operations could begin now without waiting for a connection.
    pub fn free_connections(&self) -> u32 {
        let (size, idle) = self.connections();
        // Both change meanwhile.
        self.max_connections.saturating_sub(size.saturating_sub(idle))
    }

    /// The same database, whose searches by vector `watch` counts.
    #[must_use]
    pub fn watched_by(self, watch: Arc<SearchWatch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Who counts the searches by vector, if somebody does.
    pub fn search_watch(&self) -> Option<&SearchWatch> {
        self.watch.as_deref()
    }

    /// Whether the server seems to run on this machine, so that this machine's memory and cores are its own.
    pub(crate) fn is_local(&self) -> bool {
        self.is_local
    }

    /// The database as it was seen last.
    pub fn session(&self) -> Session {
        self.session.read().clone()
    }

    pub(super) fn set_session(&self, session: Session) {
        *self.session.write() = session;
    }

    /// Whether statements of ours can work in this database, as it was when we connected.
    ///
    /// # Errors
    /// When its encoding cannot hold every text, or pgvector's types cannot be named.
    pub fn check_session(&self) -> Result<(), Error> {
        self.session().check(self.address())
    }

    /// The schema of pgvector, where a statement has to name it.
    pub(super) fn vector_schema(&self) -> Option<String> {
        match self.session().vectors {
            Vectors::Elsewhere { schema, .. } => Some(schema),
            _ => None,
        }
    }

    /// What each transaction has to set, if anything.
    pub(super) fn session_settings(&self) -> Vec<sql::Sql> {
        self.session().search_path().into_iter().collect()
    }

    /// Looks again, in a transaction of ours: the extension may have come, or gone elsewhere.
    pub(super) async fn look_again(&self, connection: &mut PgConnection) -> Result<(), Error> {
        // What we have set ourselves says nothing.
        sqlx::raw_sql("set local search_path to default")
            .execute(&mut *connection)
            .await
            .during("look at the database")?;
        let session = session::look(connection).await.during("look at the database")?;
        session.check(self.address())?;
        self.set_session(session);
        for setting in self.session_settings() {
            sqlx::raw_sql(setting).execute(&mut *connection).await.during("set the search path")?;
        }
        Ok(())
    }

    /// Begins a transaction that may take as long as it must, whatever the role's settings say; or one that is
    /// [`read_only`](Self::read_only).
    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        self.begin_unlimited().await.during("begin a transaction")
    }

    /// Begins a transaction with one snapshot that lasts until its end, whose texts of values depend on no setting.
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
        let mut transaction = self.begin().await?;
        let done = work(&mut transaction).await?;
        transaction.commit().await.during("end a transaction")?;
        Ok(done)
    }

    /// Begins a transaction that searches are made again in, with one snapshot, whose statements each end after `timeout`.
    pub(super) async fn begin_replay(&self, timeout: Duration) -> Result<Transaction, Error> {
        let begin = sql::transaction::begin_replay(milliseconds(timeout), &self.session_settings());
        self.pool.begin(None, begin).await.during("begin a transaction")
    }

    /// Runs each statement outside a transaction, as concurrent builds need it, on a connection that ends with them.
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
        Self { share: Some(self.shares.of(service)), ..self.clone() }
    }

    /// Begins a transaction of a service, with `settings` that hold for it alone. Each of its statements ends after
    /// the time-out, when it has waited too long for a lock, or when whoever asked has left.
    pub(crate) async fn begin_service(&self, settings: &[sql::Sql]) -> sqlx::Result<Transaction> {
        let begin = sql::transaction::begin(&self.limits, &self.session_settings(), settings);
        let permit = self.permit().await?;
        self.pool.begin(permit, begin).await
    }

    /// Does `work` in a transaction of a service, and commits it. What fails counts as the failure of `operation`, a verb
    /// phrase.
    pub(crate) async fn in_service<T>(
        &self,
        failing: Failing,
        operation: &'static str,
        work: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, StorageError> {
        let work =
            async |connection: &mut PgConnection| work(connection).await.map_err(failing.to(operation));
        // On the heap, since the futures of whole requests have this in them.
        Box::pin(self.in_service_with(failing, &[], work)).await
    }

    /// The same for work whose errors say themselves what failed, with `settings` that hold for the transaction.
    pub(crate) async fn in_service_with<T>(
        &self,
        failing: Failing,
        settings: &[sql::Sql],
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let begun = self.begin_service(settings).await;
        let mut transaction = begun.map_err(failing.to("begin a transaction"))?;
        let done = work(&mut transaction).await?;
        transaction.commit().await.map_err(failing.to("commit a transaction"))?;
        Ok(done)
    }

    /// Begins a transaction that looks whether the database is fit, on a connection for that alone: it does not wait for
    /// those of services.
    pub(crate) async fn begin_check(&self) -> sqlx::Result<Transaction> {
        let begin = sql::transaction::begin(&self.limits, &self.session_settings(), &[]);
        self.checks.begin(None, begin).await
    }

    /// Waits until a large answer may be read, which others do then until the permit is dropped.
    pub(super) async fn begin_large(&self) -> Permit {
        self.shares.begin_large().await
    }

    /// A connection of the service's share; it is waited for as long as for one of the pool.
    async fn permit(&self) -> sqlx::Result<Option<Permit>> {
        let Some(share) = &self.share else { return Ok(None) };
        let permit = tokio::time::timeout(self.acquire_timeout, share.acquire()).await;
        permit.map(Some).map_err(|_| sqlx::Error::PoolTimedOut)
    }

    /// The rows of `statement`, whose values are numbers alone, in such a transaction of its own.
    ///
    /// # Errors
    /// As for [`fetch_answer`](super::bounded::fetch_answer).
    pub(crate) async fn fetch_at_once(
        &self,
        settings: &[sql::Sql],
        statement: &sql::statement::Statement,
        size: AnswerSize,
    ) -> sqlx::Result<Vec<PgRow>> {
        let most_bytes = size.most_bytes();
        let rows = self.send_at_once(settings, statement.within(most_bytes), size).await?;
        match of_weight(rows, most_bytes) {
            Ok(rows) => Ok(rows),
            Err(1) if size == AnswerSize::Large => {
                self.send_at_once(settings, statement.within(usize::MAX), size).await
            }
            Err(_) => Err(overrun(most_bytes)),
        }
    }

    async fn send_at_once(
        &self,
        settings: &[sql::Sql],
        statement: sql::statement::Statement,
        size: AnswerSize,
    ) -> sqlx::Result<Vec<PgRow>> {
        let statements =
            sql::transaction::at_once(&self.limits, (&*self.session_settings(), settings), statement);
        let mut lent = self.shelf.acquire(self.permit().await?).await?;
        let rows = within_answer(sqlx::raw_sql(statements).fetch(lent.connection()), size).await?;
        self.shelf.put(lent);
        Ok(rows)
    }

    /// Makes the database `name` on the same server, empty; one of that name is dropped first.
    ///
    /// # Errors
    /// When we may not create databases.
    pub async fn recreate_database(&self, name: &str) -> Result<(), Error> {
        self.run_alone("create a database", vec![sql::drop_database(name), sql::create_database(name)]).await
    }

    /// Closes all connections; dropping alone would leave it to the server to notice.
    pub async fn close(self) {
        self.checks.close().await;
        self.shelf.close().await;
    }
}

/// Connections that the server allows this role, but for one for checks.
async fn allowed_connections(connection: &mut PgConnection) -> Result<u32, Error> {
    // Those of the database and of the server are shared with others.
    let limit = sqlx::query_scalar!(
        r#"select rolconnlimit as "limit!" from pg_roles where rolname = current_user and rolconnlimit >= 0"#
    )
    .fetch_optional(on(connection))
    .await
    .during("read how many connections this role may have")?;
    let allowed = limit.and_then(|limit| u32::try_from(limit).ok());
    Ok(allowed.map_or(u32::MAX, |limit| limit.saturating_sub(1).max(1)))
}

/// Whether the server can look for clients that have left while it works for them: not on every system.
async fn looks_for_client(connection: &mut PgConnection) -> bool {
    let looks = sqlx::raw_sql(sql::transaction::look_for_client()).execute(connection).await;
    looks
        .inspect_err(|error| log::debug!("the server does not look for clients that have left: {error}"))
        .is_ok()
}

fn milliseconds(limit: Duration) -> i32 {
    // PostgreSQL's longest is 24 days; a longer one is as good as that.
    i32::try_from(limit.as_millis()).unwrap_or(i32::MAX)
}
