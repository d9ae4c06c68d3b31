//! The servers of a database's URL: which of them is used, and since when.
//!
//! All connections of a process go to one server, so that it reads what it has written. When that server is lost, or
//! rejects writes that it used to accept, a task asks all servers until one suits, and the pools connect to that. A former
//! primary that still runs is recognised by its timeline, which each promotion increments, and not used again.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use records::lock::Mutex;
use sqlx::{Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio::{runtime::Handle, sync::watch};

use super::{
    concise_error::concise,
    connection_fault::{ConnectionFault, NoServer},
    url::{Connecting, Target},
};

/// How long the other servers may take once one suits. A server that is better, or that proves the found one to be a former
/// primary, answers within it, unless its network is slower than that of another continent.
const GRACE: Duration = Duration::from_millis(500);

/// Delays between searches while no server suits.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// While a server is known, searches are at least this far apart: each connects to every server.
const PAUSE: Duration = Duration::from_secs(1);

/// The writes that a server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerRole {
    /// It accepts writes.
    Primary,
    /// It is no standby, but its transactions are read-only by default (`default_transaction_read_only`).
    ReadOnly,
    /// It replays what another server writes.
    Standby,
}

/// A cluster and its number of promotions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct History {
    system: i64,
    timeline: i64,
}

/// What a server says about itself.
#[derive(Clone, Copy, Debug)]
struct Examined {
    role: ServerRole,
    /// Of servers that are no standbys and allow to ask for it.
    history: Option<History>,
}

/// The server that is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Its place among the servers.
    place: usize,
    role: ServerRole,
    history: Option<History>,
    /// Older connections are not used.
    since: Instant,
    /// How often a server was found before.
    pub(super) generation: u64,
}

/// Where connections go.
#[derive(Clone, Debug)]
pub(super) enum Place {
    At(Found),
    /// No server suits, for these reasons.
    Lost(Arc<str>),
}

/// The servers of a URL.
#[derive(Debug)]
pub(super) struct Servers {
    all: Vec<PgConnectOptions>,
    target: Target,
    timeout: Duration,
    place: watch::Sender<Place>,
    /// How often a server was found.
    generations: AtomicU64,
    /// Locked briefly, as is `newest`.
    search: Mutex<Search>,
    /// The newest primary that was used.
    newest: Mutex<Option<History>>,
}

#[derive(Debug, Default)]
struct Search {
    is_running: bool,
    ended: Option<Instant>,
}

/// Ends the search when it is dropped, so that a panic does not prevent the next one.
struct Searching(Weak<Servers>);

/// A server that suits.
struct Suitable {
    place: usize,
    rank: u8,
    examined: Examined,
    connection: PgConnection,
}

impl ServerRole {
    /// Whether it accepts writes.
    pub fn accepts_writes(self) -> bool {
        self == Self::Primary
    }

    fn fact(self) -> &'static str {
        match self {
            Self::Primary => "it accepts writes",
            Self::ReadOnly => "its transactions are read-only by default (default_transaction_read_only)",
            Self::Standby => "it is a standby",
        }
    }
}

impl Servers {
    /// The servers of a URL, none of which is used yet.
    pub(super) fn of(connecting: Connecting, default_timeout: Duration) -> Arc<Self> {
        let Connecting { servers: all, target, timeout } = connecting;
        Arc::new(Self {
            all,
            target,
            timeout: timeout.unwrap_or(default_timeout),
            place: watch::Sender::new(Place::Lost("no server was looked for".into())),
            generations: AtomicU64::new(0),
            search: Mutex::default(),
            newest: Mutex::default(),
        })
    }

    /// Connects to the server that suits best, and uses it from now on.
    ///
    /// # Errors
    /// The driver's, if there is one server and any suits; otherwise the reasons why none does.
    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        let Suitable { place, examined, connection, .. } = self.look().await?;
        self.use_server(place, examined);
        Ok(connection)
    }

    /// Hosts, ports and database, without credentials.
    pub(super) fn address(&self) -> String {
        let addresses: Vec<String> = self.all.iter().map(address).collect();
        let first = &self.all[0];
        let database = first.get_database().unwrap_or_else(|| first.get_username());
        format!("{}/{database}", addresses.join(","))
    }

    /// Whether all servers seem to run on this machine.
    pub(super) fn are_local(&self) -> bool {
        self.all.iter().all(|options| {
            options.get_socket().is_some()
                || matches!(options.get_host(), "localhost" | "127.0.0.1" | "::1" | "[::1]")
                || options.get_host().starts_with('/')
        })
    }

    /// How many the URL names.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Whether connections may have to go to another server. Otherwise there is one, and the pool waits for it.
    pub(super) fn is_followed(&self) -> bool {
        self.all.len() > 1 || self.target != Target::Any
    }

    /// The role of the server that is used; `None` while none suits.
    pub(super) fn role(&self) -> Option<ServerRole> {
        match &*self.place.borrow() {
            Place::At(found) => Some(found.role),
            Place::Lost(_) => None,
        }
    }

    /// Where connections go, and when that changes.
    pub(super) fn watch(&self) -> watch::Receiver<Place> {
        self.place.subscribe()
    }

    /// The driver's options for the first one.
    pub(super) fn first(&self) -> &PgConnectOptions {
        &self.all[0]
    }

    /// The driver's options for `found`.
    pub(super) fn options(&self, found: &Found) -> &PgConnectOptions {
        &self.all[found.place]
    }

    /// Whether a connection made at `since` goes to the server that is used.
    pub(super) fn is_current(&self, since: Instant) -> bool {
        match &*self.place.borrow() {
            Place::At(found) => since >= found.since,
            Place::Lost(_) => false,
        }
    }

    /// Checks that the server of a new connection suits; looks for another one if it does not.
    pub(super) async fn admit(self: &Arc<Self>, connection: &mut PgConnection) -> sqlx::Result<()> {
        let examined = examine(connection).await?;
        let refusal = match rank(self.target, examined.role) {
            None => Some(examined.role.fact().to_owned()),
            Some(_) => examined.history.and_then(|history| self.outdated(history, None)),
        };
        let Some(refusal) = refusal else { return Ok(()) };
        self.search();
        Err(NoServer::new(self.none_suits(&refusal)).into())
    }

    /// A server of these rejects writes, or accepts them: looks for the one to use if that is news, or another might accept
    /// them.
    pub(super) fn notice(self: &Arc<Self>, is_read_only: bool) {
        let is_known = self.role().is_some_and(|role| role.accepts_writes() != is_read_only);
        if !is_known || (is_read_only && self.target == Target::Any && self.all.len() > 1) {
            self.search();
        }
    }

    /// A connection was lost, or is not made in time: the server may be lost.
    pub(super) fn doubt(self: &Arc<Self>) {
        if self.is_followed() {
            self.search();
        }
    }

    /// Looks for the server to use in the background, until one suits, unless that is happening.
    pub(super) fn search(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        {
            let mut search = self.search.lock();
            let is_recent = search.ended.is_some_and(|ended| ended.elapsed() < PAUSE);
            if search.is_running || is_recent {
                return;
            }
            search.is_running = true;
        }
        let searching = Searching(Arc::downgrade(self));
        // The task ends by itself.
        drop(runtime.spawn(async move {
            let mut wait = FIRST_WAIT;
            while let Some(servers) = searching.0.upgrade() {
                if servers.look_again().await || !servers.is_followed() {
                    return;
                }
                drop(servers);
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }));
    }

    /// Asks the servers once, and uses the one that suits best. Returns whether one does.
    pub(super) async fn look_again(&self) -> bool {
        match self.connect().await {
            Ok(connection) => {
                // It has nothing to lose.
                drop(connection.close().await);
                true
            }
            Err(error) => {
                if self.is_followed() {
                    self.lose(error);
                }
                false
            }
        }
    }

    fn use_server(&self, place: usize, examined: Examined) {
        let Examined { role, history } = examined;
        if let Some(history) = history {
            let mut newest = self.newest.lock();
            if newest.is_none_or(|newest| newest.timeline < history.timeline) {
                *newest = Some(history);
            }
        }
        self.place.send_if_modified(|current| {
            let is_same = match current {
                Place::At(found) => {
                    found.place == place
                        && found.role == role
                        // The timeline of a standby is not asked for.
                        && (found.history == history || found.history.is_none() || history.is_none())
                }
                Place::Lost(_) => false,
            };
            if !is_same {
                let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
                if generation > 1 || self.all.len() > 1 {
                    log::info!("using PostgreSQL at {}: {}", address(&self.all[place]), role.fact());
                }
                *current = Place::At(Found { place, role, history, since: Instant::now(), generation });
            }
            !is_same
        });
    }

    fn lose(&self, error: sqlx::Error) {
        let reason = ConnectionFault::at_connect(error).to_string();
        self.place.send_if_modified(|current| {
            let is_new = matches!(current, Place::At(_));
            if is_new {
                log::warn!("{reason}");
            }
            *current = Place::Lost(reason.as_str().into());
            is_new
        });
    }

    /// Asks all servers, and returns the one that suits best.
    async fn look(&self) -> sqlx::Result<Suitable> {
        let mut asked: FuturesUnordered<_> =
            (0..self.all.len()).map(|place| async move { (place, self.ask(place).await) }).collect();
        let (mut suitable, mut reasons) = (Vec::<Suitable>::new(), vec![None; self.all.len()]);
        let mut end = None;
        loop {
            let answered = match end {
                Some(end) => tokio::time::timeout_at(end, asked.next()).await.unwrap_or(None),
                None => asked.next().await,
            };
            let Some((place, answer)) = answered else { break };
            match answer {
                Ok((examined, connection)) => match rank(self.target, examined.role) {
                    Some(rank) => suitable.push(Suitable { place, rank, examined, connection }),
                    None => reasons[place] = Some(examined.role.fact().to_owned()),
                },
                Err(error) if !self.is_followed() => return Err(error),
                Err(error) => reasons[place] = Some(ConnectionFault::at_connect(error).to_string()),
            }
            if end.is_none() && suitable.iter().any(|one| one.rank == 0) {
                end = Some(tokio::time::Instant::now() + GRACE);
            }
        }
        let newest = suitable.iter().filter_map(|one| one.examined.history).max_by_key(|one| one.timeline);
        suitable.sort_by_key(|one| (one.rank, one.place));
        for one in suitable {
            match one.examined.history.and_then(|history| self.outdated(history, newest)) {
                None => return Ok(one),
                Some(reason) => reasons[one.place] = Some(reason),
            }
        }
        let reasons = reasons.into_iter().enumerate().map(|(place, reason)| {
            let reason = reason.unwrap_or_else(|| "it does not answer in time".to_owned());
            format!("{}: {reason}", address(&self.all[place]))
        });
        Err(NoServer::new(self.none_suits(&reasons.collect::<Vec<_>>().join("; "))).into())
    }

    /// Connects to the server at `place` and examines it.
    async fn ask(&self, place: usize) -> sqlx::Result<(Examined, PgConnection)> {
        let attempt = async {
            let mut connection = PgConnection::connect_with(&self.all[place]).await?;
            let mut examined = examine(&mut connection).await?;
            if !self.is_followed() {
                // The only one is used whatever it was before.
                examined.history = None;
            }
            Ok((examined, connection))
        };
        tokio::time::timeout(self.timeout, attempt)
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(concise)
    }

    /// Why a server with this history is not used, if so: it was the primary before another server was promoted, of which the
    /// newest one known is `other` or one that was used before; or it is another cluster than that.
    fn outdated(&self, history: History, other: Option<History>) -> Option<String> {
        let History { system, timeline } = history;
        if let Some(used) = *self.newest.lock()
            && used.system != system
        {
            return Some(format!(
                "it belongs to another cluster (system identifier {system}) than the server that was used ({})",
                used.system
            ));
        }
        let known = [*self.newest.lock(), other].into_iter().flatten().filter(|known| known.system == system);
        let newest = known.map(|known| known.timeline).max().filter(|newest| *newest > timeline)?;
        Some(format!(
            "it accepts writes on timeline {timeline}, but another server was promoted to timeline {newest}: stop it, and make it a standby"
        ))
    }

    fn none_suits(&self, reasons: &str) -> String {
        let wanted = match self.target {
            Target::Any => "no server can be used".to_owned(),
            Target::ReadWrite => "no server accepts writes".to_owned(),
            target => format!("no server suits target_session_attrs={}", target.as_str()),
        };
        format!("{wanted} ({reasons})")
    }
}

impl Drop for Searching {
    fn drop(&mut self) {
        if let Some(servers) = self.0.upgrade() {
            *servers.search.lock() = Search { is_running: false, ended: Some(Instant::now()) };
        }
    }
}

/// How well a server with `role` suits: 0 is best, `None` is not at all.
fn rank(target: Target, role: ServerRole) -> Option<u8> {
    let is_standby = role == ServerRole::Standby;
    let suits = |is_best: bool, otherwise: Option<u8>| if is_best { Some(0) } else { otherwise };
    match target {
        // Any server suits, but one that accepts writes serves every request.
        Target::Any => suits(role.accepts_writes(), Some(1)),
        Target::ReadWrite => suits(role.accepts_writes(), None),
        Target::ReadOnly => suits(!role.accepts_writes(), None),
        Target::Primary => suits(!is_standby, None),
        Target::Standby => suits(is_standby, None),
        Target::PreferStandby => suits(is_standby, Some(1)),
    }
}

async fn examine(connection: &mut PgConnection) -> sqlx::Result<Examined> {
    let row =
        sqlx::raw_sql("select pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'")
            .fetch_one(&mut *connection)
            .await?;
    let role = match (row.try_get(0)?, row.try_get(1)?) {
        (true, _) => return Ok(Examined { role: ServerRole::Standby, history: None }),
        (false, true) => ServerRole::ReadOnly,
        (false, false) => ServerRole::Primary,
    };
    // Services that are only compatible with PostgreSQL lack these functions.
    let history = sqlx::raw_sql(
        "select
            (select system_identifier from pg_control_system()),
            ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint",
    )
    .fetch_one(connection)
    .await
    .and_then(|row| Ok(History { system: row.try_get(0)?, timeline: row.try_get(1)? }))
    .inspect_err(|error| log::debug!("the server does not tell its timeline: {error}"));
    Ok(Examined { role, history: history.ok() })
}

/// Host and port, without credentials.
fn address(options: &PgConnectOptions) -> String {
    let host = options.get_socket().and_then(|socket| socket.to_str()).unwrap_or(options.get_host());
    format!("{host}:{}", options.get_port())
}
