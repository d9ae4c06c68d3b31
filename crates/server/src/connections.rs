//! The open connections of an address, which are limited in number.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// How a connection is used; an extension of its requests.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionUse(Arc<State>);

#[derive(Debug)]
struct State {
    opened: Instant,
    /// Requests whose response is not complete.
    requests: AtomicU64,
    /// When the last response ended or its client last sent something, in milliseconds after `opened`.
    idle_since: AtomicU64,
    /// Whether its client has sent something since the last response.
    is_heard: AtomicBool,
    /// Whether a request sent the key.
    has_key: AtomicBool,
    /// Since when its client has read less than [`SLOWEST`], in milliseconds after `opened`; [`READS`] if nothing waits
    /// for it.
    behind_since: AtomicU64,
    crowd: Arc<Crowd>,
    /// Whether it has been asked to retire, and has neither refused nor ended.
    is_retiring: AtomicBool,
    /// Notified when the connection must be closed unless a request has arrived.
    retiring: Notify,
    /// Notified when the connection must be closed.
    closing: Notify,
}

/// What the connections of an address share.
#[derive(Debug, Default)]
struct Crowd {
    /// Notified when a connection becomes idle.
    freed: Notify,
    /// Whether a client waits for a place that no idle connection can give.
    waits: AtomicBool,
}

const READS: u64 = u64::MAX;

/// Marks a request as in progress on a connection until dropped.
#[derive(Debug)]
pub(crate) struct Busy(ConnectionUse);

impl ConnectionUse {
    fn begin(crowd: Arc<Crowd>) -> Self {
        Self(Arc::new(State {
            opened: Instant::now(),
            requests: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            is_heard: AtomicBool::new(false),
            has_key: AtomicBool::new(false),
            behind_since: AtomicU64::new(READS),
            crowd,
            is_retiring: AtomicBool::new(false),
            retiring: Notify::new(),
            closing: Notify::new(),
        }))
    }

    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        Self::begin(Arc::default())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(READS - 1)
    }

    /// A request begins.
    pub(crate) fn busy(&self) -> Busy {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// A request waits for its body, which counts as idle.
    pub(crate) fn waiting(&self) -> Waiting {
        self.rest();
        Waiting(self.clone())
    }

    /// A request ended or waits for its body.
    fn rest(&self) {
        let state = &self.0;
        state.idle_since.store(self.elapsed_ms(), Ordering::Relaxed);
        state.is_heard.store(false, Ordering::Relaxed);
        state.requests.fetch_sub(1, Ordering::Relaxed);
        state.crowd.freed.notify_one();
    }

    /// The client has sent `bytes`. The first ones, and all that arrive at [`SLOWEST`], show that a request is under way.
    pub(crate) fn heard(&self, bytes: usize) {
        let (state, now) = (&self.0, self.elapsed_ms());
        if !state.is_heard.swap(true, Ordering::Relaxed) {
            state.idle_since.store(now, Ordering::Relaxed);
            return;
        }
        let advanced = |since: u64| Some(since.saturating_add(earned_ms(bytes)).min(now));
        // The function always returns a value, so this does not fail.
        state.idle_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advanced).ok();
    }

    /// A request sent the key.
    pub(crate) fn trust(&self) {
        self.0.has_key.store(true, Ordering::Relaxed);
    }

    /// Since when the connection is idle.
    fn idle_since(&self) -> Option<Instant> {
        let State { opened, requests, idle_since, .. } = &*self.0;
        let idle = Duration::from_millis(idle_since.load(Ordering::Relaxed));
        (requests.load(Ordering::Relaxed) == 0).then(|| *opened + idle)
    }

    /// Whether it is idle for so long that no request can be under way.
    fn is_unused(&self, now: Instant) -> bool {
        self.idle_since().is_some_and(|since| now.saturating_duration_since(since) >= UNDER_WAY)
    }

    /// Waits until the connection must end unless a request has arrived.
    pub(crate) async fn retiring(&self) {
        self.0.retiring.notified().await;
    }

    /// Whether the connection ends now that it was asked to retire: not if a request has arrived meanwhile.
    pub(crate) fn retires(&self) -> bool {
        let retires = self.is_unused(Instant::now());
        if !retires {
            self.0.is_retiring.store(false, Ordering::Relaxed);
            self.0.crowd.freed.notify_one();
        }
        retires
    }

    /// Whether the connection must end with its response, for a client that waits for a place.
    pub(crate) fn gives_way(&self) -> bool {
        self.0.crowd.waits.swap(false, Ordering::Relaxed)
    }

    /// For how long the client has read less than [`SLOWEST`] of what waits for it.
    pub(crate) fn stalled_for(&self) -> Duration {
        match self.0.behind_since.load(Ordering::Relaxed) {
            READS => Duration::ZERO,
            since => Duration::from_millis(self.elapsed_ms().saturating_sub(since)),
        }
    }

    /// A write waits for the client.
    pub(crate) fn waits_for_client(&self) {
        let began = (READS, self.elapsed_ms());
        // An error means that it has waited before.
        self.0.behind_since.compare_exchange(began.0, began.1, Ordering::Relaxed, Ordering::Relaxed).ok();
    }

    /// The client has read `bytes`.
    pub(crate) fn taken(&self, bytes: usize) {
        let now = self.elapsed_ms();
        let advanced = |since: u64| (since != READS).then(|| since.saturating_add(earned_ms(bytes)).min(now));
        // An error means that nothing waited.
        self.0.behind_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advanced).ok();
    }

    /// The client has read everything.
    pub(crate) fn all_taken(&self) {
        self.0.behind_since.store(READS, Ordering::Relaxed);
    }

    /// Closes the connection.
    pub(crate) fn close(&self) {
        self.0.closing.notify_one();
    }

    /// Waits until the connection must be closed.
    pub(crate) async fn closed(&self) {
        self.0.closing.notified().await;
    }

    /// Whether this is the same connection.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.rest();
    }
}

/// Marks a request as waiting for its body until dropped.
#[derive(Debug)]
pub(crate) struct Waiting(ConnectionUse);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// `body`, which keeps `held` until it ends.
pub(crate) fn guarded<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Body::new(GuardedBody { body, _held: held })
}

struct GuardedBody<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> hyper::body::Body for GuardedBody<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The connections that are open.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    open: Vec<(AbortHandle, ConnectionUse)>,
    tasks: JoinSet<()>,
    crowd: Arc<Crowd>,
}

impl Connections {
    /// At most `most` connections.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), open: Vec::new(), tasks: JoinSet::new(), crowd: Arc::default() }
    }

    /// Serves a connection, after [`Self::room`].
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        serve: impl FnOnce(ConnectionUse) -> F,
    ) {
        let used = ConnectionUse::begin(self.crowd.clone());
        let task = self.tasks.spawn(serve(used.clone()));
        self.open.push((task, used));
    }

    /// Waits until there is room for another connection. At the limit, closes the connection that has been idle longest;
    /// those that never sent the key go first. If requests may be under way on all of them, the next response ends its
    /// connection: its client knows, and connects again when it needs to.
    pub(crate) async fn room(&mut self) {
        while self.open.len() >= self.most {
            let stale = self.retire_one();
            self.crowd.waits.store(stale.is_some(), Ordering::Relaxed);
            let crowd = self.crowd.clone();
            tokio::select! {
                () = self.ended() => {}
                () = crowd.freed.notified() => {}
                () = tokio::time::sleep_until(stale.unwrap_or_else(Instant::now)), if stale.is_some() => {}
            }
        }
        self.crowd.waits.store(false, Ordering::Relaxed);
    }

    /// Asks an unused connection to retire. Without one, returns the time at which one may be unused.
    fn retire_one(&self) -> Option<Instant> {
        if self.open.iter().any(|(_, used)| used.0.is_retiring.load(Ordering::Relaxed)) {
            return None;
        }
        let now = Instant::now();
        let unused = self.open.iter().map(|(_, used)| used).filter(|used| used.is_unused(now));
        let longest = unused.min_by_key(|used| (used.0.has_key.load(Ordering::Relaxed), used.idle_since()));
        if let Some(used) = longest {
            used.0.is_retiring.store(true, Ordering::Relaxed);
            used.0.retiring.notify_one();
            return None;
        }
        let idle = self.open.iter().filter_map(|(_, used)| used.idle_since());
        Some(idle.min().unwrap_or(now) + UNDER_WAY)
    }

    /// Waits until a connection has ended, without an end if none is open.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(_) => self.open.retain(|(task, _)| !task.is_finished()),
            None => std::future::pending().await,
        }
    }

    /// Waits until all connections have ended. Closes those that have nothing to lose: their request has not arrived, or
    /// their client does not read the response.
    pub(crate) async fn all_ended(mut self) {
        loop {
            let now = Instant::now();
            for (task, used) in &self.open {
                if used.is_unused(now) || used.stalled_for() >= UNDER_WAY {
                    task.abort();
                }
            }
            tokio::select! {
                ended = self.tasks.join_next() => if ended.is_none() { return },
                () = tokio::time::sleep(UNDER_WAY / 4) => {}
            }
        }
    }
}

/// How long a request may take to arrive, or a client may read nothing, when its connection must be closed for another one
/// or because the process shuts down: that long a packet may be under way, and a client that has just connected, or has just
/// read a response, may send its request. Shorter, and clients find connections closed on which they have sent a request.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Bytes per second that a client must read for its response to continue: a tenth of the slowest lines' bandwidth. A
/// slower client could keep its response, and above all an export permit, for any length of time.
pub(crate) const SLOWEST: f64 = 8_192.0;

/// The time that `bytes` take at [`SLOWEST`].
fn earned_ms(bytes: usize) -> u64 {
    (bytes as f64 * 1_000.0 / SLOWEST) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Serves a connection that ends when it is asked to retire and has nothing to do.
    fn open(connections: &mut Connections) -> ConnectionUse {
        let mut opened = None;
        connections.spawn(|used| {
            opened = Some(used.clone());
            async move {
                loop {
                    used.retiring().await;
                    if used.retires() {
                        break;
                    }
                }
            }
        });
        opened.expect("it was opened")
    }

    fn is_open(connections: &Connections, used: &ConnectionUse) -> bool {
        connections.open.iter().any(|(_, other)| other.is(used))
    }

    /// How long a further connection waits, up to a minute.
    async fn wait_for_room(connections: &mut Connections) -> Option<Duration> {
        let began = Instant::now();
        let room = tokio::time::timeout(Duration::from_secs(60), connections.room()).await;
        room.is_ok().then(|| began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn connection_waiting_for_a_body_is_closed_like_an_idle_one() {
        let mut connections = Connections::new(1);
        let used = open(&mut connections);
        let busy = used.busy();
        tokio::time::advance(UNDER_WAY).await;
        assert_eq!(wait_for_room(&mut connections).await, None);
        let waiting = used.waiting();
        drop(waiting);
        assert_eq!(wait_for_room(&mut connections).await, None, "its body arrived");
        let _waiting = used.waiting();
        assert_eq!(wait_for_room(&mut connections).await, Some(UNDER_WAY), "its body may never arrive");
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_on_which_a_request_may_be_under_way_is_not_closed() {
        let mut connections = Connections::new(3);
        let [idle, new, heard] = [(); 3].map(|()| open(&mut connections));
        idle.trust();
        drop(idle.busy());
        tokio::time::advance(UNDER_WAY - Duration::from_millis(1)).await;
        let [_new, _heard] = [new.busy(), heard.busy()];
        drop((_new, _heard));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(wait_for_room(&mut connections).await, Some(Duration::ZERO));
        assert!(!is_open(&connections, &idle) && is_open(&connections, &new), "its key does not save it");
        let new = (new, open(&mut connections));
        tokio::time::advance(UNDER_WAY / 2).await;
        heard.heard(1);
        let took = wait_for_room(&mut connections).await.expect("one is unused for long enough");
        assert!(took < UNDER_WAY && !is_open(&connections, &new.0) && is_open(&connections, &new.1));
        // A client that sends at the minimum rate is under way; one that sends now and then a byte is not.
        let slow = open(&mut connections);
        for _ in 0..4 {
            tokio::time::advance(UNDER_WAY / 2).await;
            heard.heard(SLOWEST as usize / 2);
            slow.heard(1);
        }
        for used in [&new.1, &slow] {
            assert_eq!(wait_for_room(&mut connections).await, Some(Duration::ZERO));
            assert!(!is_open(&connections, used) && is_open(&connections, &heard));
            open(&mut connections);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn request_that_arrives_while_its_connection_is_asked_to_retire_is_answered() {
        let mut connections = Connections::new(1);
        let used = open(&mut connections);
        tokio::time::advance(UNDER_WAY).await;
        assert_eq!(connections.retire_one(), None);
        let busy = used.busy();
        assert_eq!(wait_for_room(&mut connections).await, None);
        assert!(is_open(&connections, &used));
        assert!(used.gives_way(), "its response is the last one");
        drop(busy);
        assert!(wait_for_room(&mut connections).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn busy_connections_end_with_their_response_while_a_client_waits() {
        let mut connections = Connections::new(2);
        let [first, second] = [(); 2].map(|()| open(&mut connections));
        let busy = [first.busy(), second.busy()];
        assert!(!first.gives_way(), "no client waits");
        assert_eq!(wait_for_room(&mut connections).await, None);
        assert!(first.gives_way() && !second.gives_way(), "one place is enough");
        drop(busy);
        assert!(wait_for_room(&mut connections).await.is_some());
        assert!(!second.gives_way(), "no client waits any more");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_without_the_key_are_closed_first() {
        let mut connections = Connections::new(3);
        let uses = [(); 3].map(|()| open(&mut connections));
        uses[0].trust();
        let busy = [uses[1].busy(), uses[2].busy()];
        tokio::time::advance(UNDER_WAY).await;
        assert_eq!(
            wait_for_room(&mut connections).await,
            Some(Duration::ZERO),
            "the first is idle, if trusted"
        );
        assert!(!is_open(&connections, &uses[0]));
        let last = open(&mut connections).busy();
        uses[1].trust();
        drop(busy);
        tokio::time::advance(UNDER_WAY).await;
        assert_eq!(wait_for_room(&mut connections).await, Some(Duration::ZERO));
        assert!(is_open(&connections, &uses[1]) && !is_open(&connections, &uses[2]));
        drop(last);
    }
}
