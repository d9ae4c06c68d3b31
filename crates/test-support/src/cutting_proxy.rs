//! A network that fails on demand, between a test and PostgreSQL.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc as async_mpsc, watch},
    task::JoinSet,
};
use url::Url;

use crate::{process::with_port, recording::ClientMessages};

const BUFFER_BYTES: usize = 64 * 1024;

/// A TCP proxy for a server of this machine. It and its connections end when this value is dropped.
pub struct CuttingProxy {
    url: Url,
    line: Arc<Line>,
    /// Requests a cut, with a sender for the number of connections that were cut; `None` once the proxy ends.
    orders: Option<async_mpsc::UnboundedSender<mpsc::Sender<u64>>>,
    thread: Option<JoinHandle<()>>,
}

/// The traffic of a [`CuttingProxy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyCounters {
    /// Connections that clients opened.
    pub connections: u64,
    /// Connections that were reset, by either kind of cut.
    pub resets: u64,
    /// Bytes forwarded towards the server.
    pub bytes_to_server: u64,
    /// Bytes forwarded towards clients.
    pub bytes_to_client: u64,
}

/// State shared by all connections.
struct Line {
    upstream: u16,
    is_stalled: watch::Sender<bool>,
    /// Whether new connections are closed at once.
    is_refusing: AtomicBool,
    /// When to cut next. Set by the test's thread, updated by the proxy's.
    next_cut: Mutex<Option<NextCut>>,
    connections: AtomicU64,
    resets: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    /// The statements that clients have sent, if they are recorded.
    statements: Option<Mutex<Vec<String>>>,
}

/// The next cut by a number of bytes.
enum NextCut {
    /// After this many more bytes to the server.
    After(u64),
    /// After this many bytes of the next request that begins with a message.
    Within(&'static [u8], u64),
}

impl CuttingProxy {
    /// A proxy for the server of `url`, on a free port.
    pub fn start(url: &str) -> Self {
        Self::start_with(url, None)
    }

    /// The same, which records what clients send to the PostgreSQL server of `url`, without TLS.
    pub fn recording(url: &str) -> Self {
        Self::start_with(url, Some(Mutex::default()))
    }

    fn start_with(url: &str, statements: Option<Mutex<Vec<String>>>) -> Self {
        let server = Url::parse(url).expect("the server's URL is one");
        let line = Arc::new(Line {
            upstream: server.port().expect("a server of this machine has a port"),
            is_stalled: watch::Sender::new(false),
            is_refusing: AtomicBool::new(false),
            next_cut: Mutex::new(None),
            connections: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            to_server: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
            statements,
        });
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener can be asynchronous");
        let port = listener.local_addr().expect("the listener has an address").port();
        let (orders, ordered) = async_mpsc::unbounded_channel();
        let shared = line.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(accept(listener, shared, ordered));
        });
        Self { url: with_port(&server, port), line, orders: Some(orders), thread: Some(thread) }
    }

    /// The URL of the server through the proxy.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The statements that clients have sent since the last call, in the order of their messages: of a simple query all of its
    /// statements as one text, otherwise that of the prepared statement.
    pub fn take_statements(&self) -> Vec<String> {
        let statements = self.line.statements.as_ref().expect("the proxy records");
        std::mem::take(&mut statements.lock().expect("no holder panics"))
    }

    /// Resets all connections on both sides, and returns their number. New connections are forwarded.
    pub fn cut(&self) -> u64 {
        let (reply, answer) = mpsc::channel();
        let orders = self.orders.as_ref().expect("the proxy runs as long as the value");
        orders.send(reply).expect("the proxy runs");
        answer.recv().expect("the proxy answers")
    }

    /// Resets all connections, and closes new ones until [`Self::accept`], as if the server had ended.
    pub fn refuse(&self) {
        self.line.is_refusing.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Forwards new connections again.
    pub fn accept(&self) {
        self.line.is_refusing.store(false, Ordering::SeqCst);
    }

    /// Resets the connection that sends the `count`th byte from now on to the server. All `count` bytes reach the server,
    /// whose connection then ends; its answers are discarded. Later connections are forwarded. Replaces an earlier pending
    /// request.
    pub fn cut_after_bytes(&self, count: u64) {
        self.line.cut_next(NextCut::After(count));
    }

    /// Like [`Self::cut_after_bytes`] for the next connection that sends `message` after waiting for an answer, and the first
    /// `count` bytes of it: other connections do not count.
    pub fn cut_within(&self, message: &'static [u8], count: u64) {
        self.line.cut_next(NextCut::Within(message, count));
    }

    /// Stops forwarding in both directions, on existing and new connections, and keeps them open.
    pub fn stall(&self) {
        self.line.is_stalled.send_replace(true);
    }

    /// Ends a stall; the delayed bytes are forwarded.
    pub fn resume(&self) {
        self.line.is_stalled.send_replace(false);
    }

    /// The traffic until now.
    pub fn counters(&self) -> ProxyCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Line { connections, resets, to_server, to_client, .. } = &*self.line;
        ProxyCounters {
            connections: read(connections),
            resets: read(resets),
            bytes_to_server: read(to_server),
            bytes_to_client: read(to_client),
        }
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.orders = None;
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        assert!(ended.is_ok() || thread::panicking(), "the proxy does not panic");
    }
}

/// Serves connections until the proxy is dropped.
async fn accept(
    listener: std::net::TcpListener,
    line: Arc<Line>,
    mut orders: async_mpsc::UnboundedReceiver<mpsc::Sender<u64>>,
) {
    let listener = TcpListener::from_std(listener).expect("the runtime takes a listener");
    let cut = watch::Sender::new(());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, _) = accepted.expect("a connection can be accepted");
                line.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(client, line.clone(), cut.subscribe()));
            }
            Some(_) = connections.join_next() => {}
            order = orders.recv() => {
                let Some(reply) = order else { return };
                let before = line.resets.load(Ordering::Relaxed);
                cut.send_replace(());
                while connections.join_next().await.is_some() {}
                // A test that panicked meanwhile does not wait for the answer.
                let _ = reply.send(line.resets.load(Ordering::Relaxed) - before);
            }
        }
    }
}

/// One connection, until either end closes it or it is cut.
async fn serve(mut client: TcpStream, line: Arc<Line>, mut cut: watch::Receiver<()>) {
    if line.is_refusing.load(Ordering::SeqCst) {
        return;
    }
    // Without a server the client sees its connection close at once.
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, line.upstream)).await else { return };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let end = tokio::select! {
        end = pump_to_server(from_client, to_server, &line) => end.unwrap_or(End::Closed),
        end = pump_to_client(from_server, to_client, &line) => end.unwrap_or(End::Closed),
        _ = cut.changed() => End::Cut,
    };
    match end {
        End::Closed => {}
        End::Cut => {
            line.resets.fetch_add(1, Ordering::Relaxed);
            reset(client);
            reset(server);
        }
        End::Exhausted => {
            line.resets.fetch_add(1, Ordering::Relaxed);
            reset(client);
            let drain = async {
                // If it were closed with unread answers, the socket would discard bytes that the server has not received yet.
                server.shutdown().await?;
                tokio::io::copy(&mut server, &mut tokio::io::sink()).await
            };
            tokio::select! {
                // The connection ends with any result.
                _ = drain => {}
                _ = cut.changed() => {}
            }
        }
    }
}

/// How a connection ended.
enum End {
    /// One side closed it. PostgreSQL's protocol has no half-closed connections, so both ends are closed.
    Closed,
    /// [`CuttingProxy::cut`].
    Cut,
    /// [`CuttingProxy::cut_after_bytes`] or [`CuttingProxy::cut_within`].
    Exhausted,
}

async fn pump_to_server(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, line: &Line) -> io::Result<End> {
    let (mut buffer, mut messages) = (vec![0; BUFFER_BYTES], ClientMessages::default());
    loop {
        let length = from.read(&mut buffer).await?;
        line.flows().await;
        if let Some(statements) = &line.statements {
            // Before they are sent, so that they are there when the client has its answer.
            statements.lock().expect("no holder panics").extend(messages.read(&buffer[..length]));
        }
        let (allowed, is_exhausted) = line.take_allowance(&buffer[..length]);
        to.write_all(&buffer[..allowed]).await?;
        line.to_server.fetch_add(allowed as u64, Ordering::Relaxed);
        match (is_exhausted, length) {
            (true, _) => return Ok(End::Exhausted),
            (false, 0) => return Ok(End::Closed),
            (false, _) => {}
        }
    }
}

async fn pump_to_client(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, line: &Line) -> io::Result<End> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        line.flows().await;
        if length == 0 {
            return Ok(End::Closed);
        }
        to.write_all(&buffer[..length]).await?;
        line.to_client.fetch_add(length as u64, Ordering::Relaxed);
    }
}

impl Line {
    /// Returns when there is no stall.
    async fn flows(&self) {
        let mut is_stalled = self.is_stalled.subscribe();
        is_stalled.wait_for(|is_stalled| !is_stalled).await.expect("the sender is ours");
    }

    fn cut_next(&self, cut: NextCut) {
        *self.next_cut.lock().expect("no holder panics") = Some(cut);
    }

    /// How many of the bytes may be sent to the server, and whether the connection is cut after them.
    fn take_allowance(&self, bytes: &[u8]) -> (usize, bool) {
        let mut next_cut = self.next_cut.lock().expect("no holder panics");
        let left = match &mut *next_cut {
            Some(NextCut::After(left)) => left,
            Some(NextCut::Within(message, left)) if bytes.starts_with(message) => left,
            Some(NextCut::Within(..)) | None => return (bytes.len(), false),
        };
        match usize::try_from(*left) {
            Ok(allowed) if allowed <= bytes.len() && !bytes.is_empty() => {
                *next_cut = None;
                (allowed, true)
            }
            _ => {
                *left -= bytes.len() as u64;
                (bytes.len(), false)
            }
        }
    }
}

/// Closes a socket so that its peer gets `connection reset`.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("a socket takes options");
}
