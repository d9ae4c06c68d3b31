//! The connections of an address, of which there are only so many.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::Sleep,
};

/// How a connection is used; an extension of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Use(Arc<State>);

#[derive(Debug)]
struct State {
    opened: Instant,
    /// Requests that have no whole answer yet.
    requests: AtomicU64,
    /// Milliseconds after `opened` when the last answer ended.
    idle_since: AtomicU64,
    /// Whether a request had the key.
    has_key: AtomicBool,
    /// Told when nothing is under way any more.
    freed: Arc<Notify>,
}

/// A request that is under way on a connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Use);

impl Use {
    fn begin(freed: Arc<Notify>) -> Self {
        Self(Arc::new(State {
            opened: Instant::now(),
            requests: AtomicU64::new(0),
            idle_since: AtomicU64::new(0),
            has_key: AtomicBool::new(false),
            freed,
        }))
    }

    /// A request begins.
    pub(crate) fn busy(&self) -> Busy {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// A request has the key.
    pub(crate) fn trust(&self) {
        self.0.has_key.store(true, Ordering::Relaxed);
    }

    /// Since when nothing is under way, those without the key first.
    fn idle_since(&self) -> Option<(bool, Instant)> {
        let State { opened, requests, idle_since, has_key, freed: _ } = &*self.0;
        let idle = Duration::from_millis(idle_since.load(Ordering::Relaxed));
        (requests.load(Ordering::Relaxed) == 0).then(|| (has_key.load(Ordering::Relaxed), *opened + idle))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let state = &self.0.0;
        let idle_since = u64::try_from(state.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        state.idle_since.store(idle_since, Ordering::Relaxed);
        state.requests.fetch_sub(1, Ordering::Relaxed);
        state.freed.notify_one();
    }
}

/// `body`, until whose end `held` is kept.
pub(crate) fn holding<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Body::new(Holding { body, _held: held })
}

struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> hyper::body::Body for Holding<T> {
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
    open: Vec<(AbortHandle, Use)>,
    tasks: JoinSet<()>,
    freed: Arc<Notify>,
}

impl Connections {
    /// Of which there are up to `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), open: Vec::new(), tasks: JoinSet::new(), freed: Arc::default() }
    }

    /// Whether one more fits, or takes the place of one that is idle. Where all are busy, new ones wait in the system's
    /// queue.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < self.most || self.longest_idle().is_some()
    }

    /// Where one more does not fit, closes the one that was idle for longest, those that never showed the key before
    /// others: clients open another when they need it.
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

    /// Serves one.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(&mut self, serve: impl FnOnce(Use) -> F) {
        self.make_room();
        let used = Use::begin(self.freed.clone());
        let task = self.tasks.spawn(serve(used.clone()));
        self.open.push((task, used));
    }

    /// Waits until one has ended, or has become idle.
    pub(crate) async fn freed(&mut self) {
        tokio::select! {
            Some(_) = self.tasks.join_next() => self.open.retain(|(task, _)| !task.is_finished()),
            () = self.freed.notified() => {}
        }
    }

    /// Waits until all have ended.
    pub(crate) async fn all_ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// A stream whose writes fail when the other side takes nothing for too long: it would hold what it was sent, and
/// everything that waits to be sent, for ever.
#[derive(Debug)]
pub(crate) struct Impatient<S = TcpStream> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    wait: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, wait: None }
    }

    /// What a write comes to, if it has waited this long.
    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.wait = None;
            return written;
        }
        let patience = self.patience;
        let wait = self.wait.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        match wait.as_mut().poll(context) {
            Poll::Ready(()) => {
                let reason = format!("the client took nothing for {} s", patience.as_secs_f64());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
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
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(context, ended)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn write_fails_when_the_other_side_takes_nothing() {
        let (ours, theirs) = tokio::io::duplex(16);
        let mut stream = Impatient::new(ours, Duration::from_millis(20));
        let error = stream.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(theirs);
    }

    #[tokio::test]
    async fn idle_connections_give_way_those_without_the_key_first() {
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
        let is_open = |connections: &Connections, used: &Use| {
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
