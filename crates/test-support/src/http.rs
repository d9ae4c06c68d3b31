//! Minimal HTTP/1.1 for tests: a scripted stub, and requests without the client under test.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`.
    pub method: String,
    /// Path and query, encoded.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, often empty.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// In addition to the content length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// A server on a free local port that answers as its script says.
pub struct HttpStub {
    port: u16,
    is_stopped: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl HttpRequest {
    /// A request with a JSON body, or an empty one.
    pub fn new(method: &str, path: &str, json: &str) -> Self {
        Self { method: method.into(), path: path.into(), headers: Vec::new(), body: json.into() }
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Sends it to a local `port`.
    ///
    /// # Errors
    /// When the connection fails or the answer is not HTTP.
    pub fn send(&self, port: u16) -> io::Result<HttpAnswer> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let Self { method, path, headers: _, body } = self;
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n")?;
        write!(stream, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n")?;
        stream.write_all(body)?;
        let mut reader = BufReader::new(stream);
        let (first, headers) = read_head(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        let body = read_body(&mut reader, &headers)?;
        let headers = headers.into_iter().filter(|(name, _)| name == "content-type").collect();
        Ok(HttpAnswer { status, headers, body })
    }
}

impl HttpAnswer {
    /// An answer with a JSON body.
    pub fn json(status: u16, json: &str) -> Self {
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { status, headers, body: json.into() }
    }

    /// With one more header.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl HttpStub {
    /// Answers each request with the result of `script`; `None` closes the connection without an answer.
    pub fn start(script: impl Fn(&HttpRequest) -> Option<HttpAnswer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("the listener has an address").port();
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (stop, script) = (is_stopped.clone(), Arc::new(script));
        let listener = thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let script = script.clone();
                // Ends with its connection, which the client closes by the end of the test.
                thread::spawn(move || serve(stream, &*script));
            }
        });
        Self { port, is_stopped, listener: Some(listener) }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for HttpStub {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is stopped.
        let woken = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).is_ok();
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            let ended = listener.join();
            assert!(ended.is_ok() || thread::panicking(), "the stub's listener does not panic");
        }
    }
}

fn serve(stream: TcpStream, script: &(dyn Fn(&HttpRequest) -> Option<HttpAnswer> + Send + Sync)) {
    let Ok(reading) = stream.try_clone() else { return };
    let (mut reader, mut writer) = (BufReader::new(reading), stream);
    while let Ok(Some(request)) = read_request(&mut reader) {
        let Some(answer) = script(&request) else { return };
        if write_answer(&mut writer, &answer).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<Option<HttpRequest>> {
    let Some((first, headers)) = read_head(reader)? else { return Ok(None) };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = read_body(reader, &headers)?;
    Ok(Some(HttpRequest { method, path, headers, body }))
}

fn write_answer(writer: &mut TcpStream, answer: &HttpAnswer) -> io::Result<()> {
    let mut bytes = Vec::new();
    write!(bytes, "HTTP/1.1 {} Scripted\r\ncontent-length: {}\r\n", answer.status, answer.body.len())?;
    for (name, value) in &answer.headers {
        write!(bytes, "{name}: {value}\r\n")?;
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&answer.body);
    // In one write: a second small one would wait 40 ms for the acknowledgement of the first.
    writer.write_all(&bytes)
}

type Head = (String, Vec<(String, String)>);

/// The first line and the headers; `None` at the end of the connection.
fn read_head(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Head>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let first = lines.next().unwrap_or_default();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_lowercase(), value.trim().to_owned()))
    });
    Ok(Some((first, headers.collect())))
}

/// Reads by content length; no server in our tests sends chunks.
fn read_body(reader: &mut BufReader<TcpStream>, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, length)| length.parse());
    let length = length.and_then(Result::ok).unwrap_or(0);
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(body)
}
