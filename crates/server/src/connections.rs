//! The open connections of an address, which are limited in number.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{Instant, Sleep},
};

/// How a connection is used; an extension of its requests.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionUse(Arc<State>);

#[derive(Debug)]
struct State {
    opened: Instant,
    /// Requests whose response is not complete.
    requests: AtomicU64,
    /// When the last response ended, in milliseconds after `opened`.
    idle_since: AtomicU64,
    /// Whether a request sent the key.
    has_key: AtomicBool,
    /// Since when its client has read less than [`SLOWEST`], in milliseconds after `opened`; [`READS`] if nothing waits
    /// for it.
    behind_since: AtomicU64,
    /// Notified when the connection becomes idle.
    freed: Arc<Notify>,
    /// Notified when the connection must be closed.
    closing: Notify,
}

const READS: u64 = u64::MAX;

/// Marks a request as in progress on a connection until dropped.
#[derive(Debug)]
pub(crate) struct Busy(ConnectionUse);

impl ConnectionUse {
    fn begin(freed: Arc<Notify>) -> Self {
        Self(Arc::new(State {
            opened: Instant::now(),
            requests: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            has_key: AtomicBool::new(false),
            behind_since: AtomicU64::new(READS),
            freed,
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
        state.requests.fetch_sub(1, Ordering::Relaxed);
        state.freed.notify_one();
    }

    /// A request sent the key.
    pub(crate) fn trust(&self) {
        self.0.has_key.store(true, Ordering::Relaxed);
    }

    /// Since when the connection is idle; connections without the key sort first.
    fn idle_since(&self) -> Option<(bool, Instant)> {
        let State { opened, requests, idle_since, has_key, .. } = &*self.0;
        let idle = Duration::from_millis(idle_since.load(Ordering::Relaxed));
        (requests.load(Ordering::Relaxed) == 0).then(|| (has_key.load(Ordering::Relaxed), *opened + idle))
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
    fn taken(&self, bytes: usize) {
        let earned_ms = (bytes as f64 * 1_000.0 / SLOWEST) as u64;
        let now = self.elapsed_ms();
        let advanced = |since: u64| (since != READS).then(|| since.saturating_add(earned_ms).min(now));
        // An error means that nothing waited.
        self.0.behind_since.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advanced).ok();
    }

    /// The client has read everything.
    fn all_taken(&self) {
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
    freed: Arc<Notify>,
}

impl Connections {
    /// At most `most` connections.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), open: Vec::new(), tasks: JoinSet::new(), freed: Arc::default() }
    }

    /// Whether another connection can be accepted, possibly by closing an idle one. Where all are busy, new ones wait
    /// in the system's queue.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < self.most || self.longest_idle().is_some()
    }

    /// At the limit, closes the connection that has been idle longest; those that never sent the key go first.
    /// Clients reconnect when they need to.
    fn make_room(&mut self) {
        if self.open.len() >= self.most
            && let Some(index) = self.longest_idle()
        {
            self.open.swap_remove(index).0.abort();
        }
    }

    fn longest_idle(&self) -> Option<usize> {
        let idle = self.open.iter().enumerate();
        let idle = idle.filter_map(|(index, (_, used))| Some((used.idle_since()?, index)));
        idle.min().map(|(_, index)| index)
    }

    /// Serves a connection.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        serve: impl FnOnce(ConnectionUse) -> F,
    ) {
        self.make_room();
        let used = ConnectionUse::begin(self.freed.clone());
        let task = self.tasks.spawn(serve(used.clone()));
        self.open.push((task, used));
    }

    /// Waits until a connection has ended or become idle.
    pub(crate) async fn freed(&mut self) {
        tokio::select! {
            Some(_) = self.tasks.join_next() => self.open.retain(|(task, _)| !task.is_finished()),
            () = self.freed.notified() => {}
        }
    }

    /// Waits until all connections have ended. Closes those that have nothing to lose: their request has not arrived, or
    /// their client does not read the response.
    pub(crate) async fn all_ended(mut self) {
        loop {
            let now = Instant::now();
            for (task, used) in &self.open {
                let idle = used.idle_since().map(|(_, since)| now.saturating_duration_since(since));
                if used.stalled_for().max(idle.unwrap_or_default()) >= FAREWELL {
                    task.abort();
                }
            }
            tokio::select! {
                ended = self.tasks.join_next() => if ended.is_none() { return },
                () = tokio::time::sleep(FAREWELL / 4) => {}
            }
        }
    }
}

/// How long a request may take to arrive, or a client may read nothing, once the process shuts down: that long a packet
/// may be under way. Nothing has been done for such a request, and its client repeats it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes per second that a client must read for its response to continue: a tenth of the slowest lines' bandwidth. A
/// slower client could keep its response, and above all an export permit, for any length of time.
const SLOWEST: f64 = 8_192.0;

/// A stream whose writes fail when the peer reads too slowly or not at all: otherwise unsent data would stay in
/// memory indefinitely.
#[derive(Debug)]
pub(crate) struct MinimumRateStream<S = TcpStream> {
    stream: S,
    patience: Duration,
    used: ConnectionUse,
    /// Set while a write waits for the peer.
    wait: Option<Wait>,
}

#[derive(Debug)]
struct Wait {
    /// When the peer's rate is checked.
    end: Pin<Box<Sleep>>,
    /// Bytes that the peer has read since the wait began.
    taken: usize,
}

impl<S> MinimumRateStream<S> {
    pub(crate) fn new(stream: S, patience: Duration, used: ConnectionUse) -> Self {
        Self { stream, patience, used, wait: None }
    }

    /// The result of a write.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match (written, &mut self.wait) {
            (Poll::Ready(Ok(bytes)), wait) => {
                self.used.taken(bytes);
                if let Some(wait) = wait {
                    wait.taken += bytes;
                }
                Poll::Ready(Ok(bytes))
            }
            (Poll::Pending, _) => {
                self.used.waits_for_client();
                self.wait(context).map(Err)
            }
            (failed, _) => failed,
        }
    }

    /// Waits, and fails if the peer has read too little since the wait began.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.patience;
        loop {
            let begin = || Wait { end: Box::pin(tokio::time::sleep(patience)), taken: 0 };
            let wait = self.wait.get_or_insert_with(begin);
            if wait.end.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if (wait.taken as f64) < SLOWEST * patience.as_secs_f64() {
                let (taken, seconds) = (wait.taken, patience.as_secs_f64());
                let reason = format!("the client took {taken} bytes in {seconds} s");
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            self.wait = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MinimumRateStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MinimumRateStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A flush follows a complete write.
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(context));
        self.wait = None;
        self.used.all_taken();
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn client_is_behind_from_the_last_time_that_it_read_at_the_minimum_rate() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let used = ConnectionUse::of_test();
        let mut stream = MinimumRateStream::new(ours, Duration::from_secs(3_600), used.clone());
        let (pause, second) = (Duration::from_secs(5), Duration::from_secs(1));
        tokio::time::sleep(pause).await;
        assert_eq!(used.stalled_for(), Duration::ZERO, "nothing waits for the client");
        let large = [0; 64 << 10];
        let mut writing = Box::pin(async {
            stream.write_all(&large).await.expect("it is read");
            stream.flush().await.expect("it is read");
        });
        let mut read = vec![0; large.len()];
        tokio::select! {
            () = &mut writing => panic!("nothing is read"),
            () = tokio::time::sleep(pause) => {}
        }
        assert_eq!(used.stalled_for(), pause);
        tokio::select! {
            () = &mut writing => panic!("not all is read"),
            // A tenth of the minimum rate.
            () = async {
                for part in read[..8_000].chunks_mut(800) {
                    theirs.read_exact(part).await.expect("it was written");
                    tokio::time::sleep(second).await;
                }
            } => {}
        }
        let stalled = used.stalled_for();
        assert!(stalled > pause + 8 * second && stalled < pause + 10 * second, "{stalled:?}");
        tokio::join!(writing, async {
            theirs.read_exact(&mut read[8_000..]).await.expect("it was written");
        });
        assert_eq!(used.stalled_for(), Duration::ZERO);
    }

    #[tokio::test]
    async fn write_fails_when_the_peer_reads_nothing() {
        let (ours, theirs) = tokio::io::duplex(16);
        let mut stream = MinimumRateStream::new(ours, Duration::from_millis(20), ConnectionUse::of_test());
        let error = stream.write_all(&[0; 64]).await.expect_err("the peer does not read");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    /// Writes a megabyte to a reader of `bytes` per second.
    async fn write_to_reader_of(bytes: usize) -> io::Result<()> {
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        let mut stream = MinimumRateStream::new(ours, Duration::from_secs(30), ConnectionUse::of_test());
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            while theirs.read_exact(&mut taken).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let written = stream.write_all(&[0; 1 << 20]).await;
        reader.abort();
        written
    }

    #[tokio::test(start_paused = true)]
    async fn client_below_the_minimum_rate_is_dropped_and_one_above_it_is_not() {
        let error = write_to_reader_of(7_000).await.expect_err("the reader is below the minimum rate");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        write_to_reader_of(9_000).await.expect("the reader is above the minimum rate");
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_between_responses_does_not_count() {
        let (ours, mut theirs) = tokio::io::duplex(1_024);
        let mut stream = MinimumRateStream::new(ours, Duration::from_secs(30), ConnectionUse::of_test());
        for _ in 0..3 {
            let mut taken = [0; 2_048];
            let (written, read) = tokio::join!(stream.write_all(&[0; 2_048]), theirs.read_exact(&mut taken));
            written.expect("it is read");
            read.expect("it was written");
            stream.flush().await.expect("all is written");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }

    #[tokio::test]
    async fn connection_waiting_for_a_body_is_closed_like_an_idle_one() {
        let mut connections = Connections::new(1);
        let mut opened = None;
        connections.spawn(|used| {
            opened = Some(used);
            std::future::pending()
        });
        let used = opened.expect("it was opened");
        let busy = used.busy();
        assert!(!connections.has_room());
        let waiting = used.waiting();
        assert!(connections.has_room(), "its body may never arrive");
        drop(waiting);
        assert!(!connections.has_room(), "its body arrived");
        drop(busy);
        assert!(connections.has_room());
    }

    #[tokio::test]
    async fn idle_connections_without_the_key_are_closed_first() {
        let mut connections = Connections::new(3);
        let mut uses = Vec::new();
        let mut open = |connections: &mut Connections| {
            let mut opened = None;
            connections.spawn(|used| {
                opened = Some(used);
                std::future::pending()
            });
            uses.push(opened.expect("it was opened"));
            uses.clone()
        };
        let is_open = |connections: &Connections, used: &ConnectionUse| {
            connections.open.iter().any(|(_, other)| Arc::ptr_eq(&other.0, &used.0))
        };
        open(&mut connections);
        open(&mut connections);
        let uses = open(&mut connections);
        uses[0].trust();
        let busy = [uses[1].busy(), uses[2].busy()];
        assert!(connections.has_room(), "the first is idle, if trusted");
        let uses = open(&mut connections);
        assert!(!is_open(&connections, &uses[0]) && connections.open.len() == 3);
        let last = uses[3].busy();
        assert!(!connections.has_room(), "all are busy");
        uses[1].trust();
        drop(busy);
        connections.freed().await;
        assert!(connections.has_room());
        let uses = open(&mut connections);
        assert!(is_open(&connections, &uses[1]) && !is_open(&connections, &uses[2]));
        drop(last);
    }
}
