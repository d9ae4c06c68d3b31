//! One replica: its connections, its state, and the reads on it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use records::{Service, lock::Mutex};
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgRow};
use tokio::sync::Notify;

use super::{
    Lag, ServerState,
    fault::{Fault, ReadFailure},
    identity::{Identity, Reason, StandbySettings, look},
};
use crate::postgres::{
    checkout::{Pool, Transaction},
    hot_connections::{HotConnection, HotConnections},
    lsn::Lsn,
    servers::Servers,
    shares::{Permit, Shares},
    sql::transaction::{Begin, REPLAYED},
};

/// How long a read waits for a replica to replay what it needs. A longer wait would take longer than the primary does.
const CATCHES_UP_WITHIN: Duration = Duration::from_millis(50);
/// Pauses between two questions for the replayed position.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// How long a failed replica rests; twice as long after each further failure, up to the longest.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A server that answers reads.
pub(crate) struct Replica {
    pub(super) address: String,
    /// Where it is.
    servers: Arc<Servers>,
    /// The connection of the last look. Locked only briefly.
    look: Mutex<Option<PgConnection>>,
    pool: Pool,
    hot_connections: Arc<HotConnections>,
    shares: Shares,
    acquire_timeout: Duration,
    in_progress: AtomicUsize,
    reads: AtomicU64,
    passed_on: AtomicU64,
    /// Up to where it had replayed when it said so last.
    replayed: AtomicU64,
    /// Whether it lagged when it was looked at last.
    is_behind: AtomicBool,
    is_resting: AtomicBool,
    /// Notified when it fails: reads in progress go to the primary.
    has_failed: Notify,
    /// Notified when it should be looked at before its turn.
    look_at_it: Arc<Notify>,
    /// Locked only briefly.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rest: Option<Rest>,
    /// Failures since it was fit last.
    failures: u32,
    lag: Option<Lag>,
    settings: Option<StandbySettings>,
}

#[derive(Debug)]
struct Rest {
    reason: String,
    until: Instant,
}

/// The connections of a replica, and how they are shared.
pub(crate) struct Connections {
    pub(crate) servers: Arc<Servers>,
    pub(crate) pool: Pool,
    pub(crate) hot_connections: Arc<HotConnections>,
    pub(crate) shares: Shares,
    pub(crate) acquire_timeout: Duration,
}

impl Replica {
    /// The replica, which rests until it is found fit.
    pub(crate) fn new(connections: Connections, look_at_it: Arc<Notify>) -> Self {
        let Connections { servers, pool, hot_connections, shares, acquire_timeout } = connections;
        Self {
            address: servers.address(),
            servers,
            look: Mutex::default(),
            pool,
            hot_connections,
            shares,
            acquire_timeout,
            in_progress: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            passed_on: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            is_resting: AtomicBool::new(true),
            has_failed: Notify::new(),
            look_at_it,
            state: Mutex::default(),
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.is_resting.load(Ordering::Acquire)
    }

    /// Whether it rests longer than until `now`.
    pub(super) fn rests_beyond(&self, now: Instant) -> bool {
        self.state.lock().rest.as_ref().is_some_and(|rest| rest.until > now)
    }

    pub(super) fn reads_in_progress(&self) -> usize {
        self.in_progress.load(Ordering::Relaxed)
    }

    /// Whether it had replayed up to `lsn` when it was asked last.
    pub(super) fn has_replayed(&self, lsn: Lsn) -> bool {
        Lsn::at(self.replayed.load(Ordering::Relaxed).cast_signed()) >= lsn
    }

    /// Whether it had not replayed up to `lsn` when it was asked last, and was too far behind to do so in time.
    pub(super) fn surely_lacks(&self, lsn: Lsn) -> bool {
        self.is_behind.load(Ordering::Relaxed) && !self.has_replayed(lsn)
    }

    /// Rests because it is unavailable or unfit. Reads in progress are done on the primary instead.
    pub(super) fn fail(&self, reason: &str) {
        let mut state = self.state.lock();
        let rest = FIRST_REST.saturating_mul(1 << state.failures.min(10)).min(LONGEST_REST);
        state.failures = state.failures.saturating_add(1);
        state.lag = None;
        self.begin_rest(&mut state, reason, rest);
        drop(state);
        self.has_failed.notify_waiters();
    }

    /// Rests because it lags. It is looked at again in each round.
    pub(super) fn lag_too_far(&self, lag: Lag, reason: &str) {
        let mut state = self.state.lock();
        state.lag = Some(lag);
        self.begin_rest(&mut state, reason, Duration::ZERO);
    }

    fn begin_rest(&self, state: &mut State, reason: &str, rest: Duration) {
        if state.rest.is_none() {
            log::warn!("the replica {} answers no reads for now: {reason}", self.address);
        }
        state.rest = Some(Rest { reason: reason.to_owned(), until: Instant::now() + rest });
        self.is_resting.store(true, Ordering::Release);
    }

    /// It is fit, and this far behind.
    pub(super) fn is_fit(&self, lag: Option<Lag>) {
        let mut state = self.state.lock();
        if state.rest.take().is_some() {
            log::info!("the replica {} answers reads", self.address);
        }
        (state.failures, state.lag) = (0, lag);
        self.is_behind.store(lag.is_some_and(|lag| lag.time >= CATCHES_UP_WITHIN), Ordering::Relaxed);
        self.is_resting.store(false, Ordering::Release);
    }

    pub(super) fn seen(&self) -> ServerState {
        let state = self.state.lock();
        ServerState {
            address: self.address.clone(),
            is_replica: true,
            problem: state.rest.as_ref().map(|rest| rest.reason.clone()),
            lag: state.lag,
            settings: state.settings.clone(),
            reads: self.reads.load(Ordering::Relaxed),
            passed_on: self.passed_on.load(Ordering::Relaxed),
        }
    }

    pub(super) async fn close(&self) {
        let look = self.look.lock().take();
        if let Some(connection) = look {
            // It may be broken.
            connection.close().await.ok();
        }
        self.hot_connections.close().await;
    }

    /// What the server is now, on the connection of the last look if it still works.
    ///
    /// # Errors
    /// Why it does not answer.
    pub(super) async fn identify(&self) -> Result<Identity, Reason> {
        let last = self.look.lock().take();
        if let Some(mut connection) = last
            && let Ok(identity) = look(&mut connection).await
        {
            *self.look.lock() = Some(connection);
            return Ok(identity);
        }
        let connected = self.servers.connect().await;
        let mut connection = connected.map_err(Reason::of_connect)?;
        let identity = look(&mut connection).await.map_err(|error| Reason::Unavailable(error.to_string()))?;
        *self.look.lock() = Some(connection);
        Ok(identity)
    }

    pub(super) fn note_settings(&self, settings: StandbySettings) {
        self.state.lock().settings = Some(settings);
    }

    /// It has replayed the log up to `position`.
    pub(super) fn note_replayed(&self, position: Lsn) {
        self.replayed.store(position.bytes_after(Lsn::default()), Ordering::Relaxed);
    }

    async fn permit(&self, service: Option<Service>) -> sqlx::Result<Option<Permit>> {
        let Some(service) = service else { return Ok(None) };
        let share = self.shares.of(service);
        let permit = tokio::time::timeout(self.acquire_timeout, share.acquire()).await;
        permit.map(Some).map_err(|_| sqlx::Error::PoolTimedOut)
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options have the password.
        f.debug_struct("Replica").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A read on a replica.
#[derive(Debug)]
pub(crate) struct Reading {
    replica: Arc<Replica>,
    /// What it must see.
    needed: Lsn,
    service: Option<Service>,
}

impl Reading {
    pub(super) fn new(replica: Arc<Replica>, needed: Lsn, service: Option<Service>) -> Self {
        replica.in_progress.fetch_add(1, Ordering::Relaxed);
        Self { replica, needed, service }
    }

    /// Begins a transaction by the statements `begin`, of which [`REPLAYED`] is the last that returns a row; `None` if the
    /// replica does not catch up in time.
    pub(crate) async fn begin(&self, begin: Begin) -> sqlx::Result<Option<Transaction>> {
        let permit = self.replica.permit(self.service).await?;
        let (mut transaction, rows) = self.replica.pool.begin_with_answer(permit, begin).await?;
        let replayed = rows.last().map(position).transpose()?.flatten();
        if self.catches_up(&mut transaction, replayed).await? {
            return Ok(Some(transaction));
        }
        transaction.rollback().await?;
        Ok(None)
    }

    /// A connection for statements that are sent at once, the first of which is [`REPLAYED`]; `None` if the replica does not
    /// catch up in time.
    pub(crate) async fn connection(&self) -> sqlx::Result<Option<HotConnection>> {
        let permit = self.replica.permit(self.service).await?;
        let mut connection = self.replica.hot_connections.acquire(permit).await?;
        // Statements that follow the question are executed whatever the answer is, so it is asked alone first.
        if self.replica.has_replayed(self.needed) {
            return Ok(Some(connection));
        }
        let replayed = ask(connection.connection()).await?;
        if self.catches_up(connection.connection(), replayed).await? {
            return Ok(Some(connection));
        }
        self.put(connection);
        Ok(None)
    }

    /// Returns a connection that has no statement in progress.
    pub(crate) fn put(&self, connection: HotConnection) {
        self.replica.hot_connections.put(connection);
    }

    /// Whether the replica has replayed what the read needs, as it says in `row`.
    pub(crate) fn is_fresh(&self, row: &PgRow) -> sqlx::Result<bool> {
        Ok(self.has(position(row)?))
    }

    fn has(&self, replayed: Option<Lsn>) -> bool {
        // Not a standby, else.
        let Some(replayed) = replayed else { return false };
        self.replica.note_replayed(replayed);
        replayed >= self.needed
    }

    async fn catches_up(
        &self,
        connection: &mut PgConnection,
        mut replayed: Option<Lsn>,
    ) -> sqlx::Result<bool> {
        let (end, mut pause) = (Instant::now() + CATCHES_UP_WITHIN, FIRST_PAUSE);
        loop {
            if self.has(replayed) {
                return Ok(true);
            }
            if replayed.is_none() || Instant::now() + pause > end {
                return Ok(false);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            replayed = ask(connection).await?;
        }
    }

    /// The result of `read`, or `None` if the primary has to answer: `read` returns `None`, the replica fails meanwhile, or
    /// the error is the replica's.
    ///
    /// # Errors
    /// That of `read`, if it is the request's.
    pub(crate) async fn answer<T, E: ReadFailure>(
        &self,
        read: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Option<T>, E> {
        let failed = self.replica.has_failed.notified();
        let read = async {
            // If it failed before `failed` was made.
            if self.replica.is_resting() { Ok(None) } else { read.await }
        };
        let answer = tokio::select! {
            biased;
            answer = read => answer,
            () = failed => Ok(None),
        };
        let counter = match &answer {
            Ok(Some(_)) => &self.replica.reads,
            Ok(None) => &self.replica.passed_on,
            Err(error) => match error.fault() {
                Fault::Request => return answer,
                Fault::Read => &self.replica.passed_on,
                Fault::Connection => {
                    self.replica.look_at_it.notify_one();
                    &self.replica.passed_on
                }
                Fault::Replica => {
                    self.replica.fail("a read failed there");
                    &self.replica.passed_on
                }
            },
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(answer.unwrap_or_default())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.replica.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn ask(connection: &mut PgConnection) -> sqlx::Result<Option<Lsn>> {
    let rows = sqlx::raw_sql(REPLAYED).fetch_all(connection).await?;
    Ok(rows.first().map(position).transpose()?.flatten())
}

fn position(row: &PgRow) -> sqlx::Result<Option<Lsn>> {
    Ok(row.try_get::<Option<i64>, _>("replayed")?.map(Lsn::at))
}
