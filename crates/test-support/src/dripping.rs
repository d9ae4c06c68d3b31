//! A Chroma server that sends one of its answers endlessly.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

const DATABASES: &str = r#"[{"id": "6f8ba9a3-0000-0000-0000-000000000000", "name": "default_database",
    "tenant": "default_tenant"}]"#;

/// A server on a local port. It runs until the process ends.
#[derive(Debug)]
pub struct DrippingServer {
    port: u16,
    begun: Receiver<()>,
}

/// The endless answer, and its beginning.
#[derive(Clone, Copy, Debug)]
struct Script {
    path_end: &'static str,
    before: &'static str,
    collection: &'static str,
}

impl DrippingServer {
    /// A server with one collection, whose answers to paths that end with `path_end` are `before` and then one space at a
    /// time.
    pub fn start(collection: &'static str, path_end: &'static str, before: &'static str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let (begin, begun) = mpsc::channel();
        let script = Script { path_end, before, collection };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let begin = begin.clone();
                // Ends when the client disconnects.
                thread::spawn(move || script.answer(stream, &begin).ok());
            }
        });
        Self { port, begun }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits up to `limit` until an endless answer starts.
    pub fn wait(&self, limit: Duration) {
        self.begun.recv_timeout(limit).expect("the request arrives in time");
    }
}

impl Script {
    fn answer(&self, mut stream: TcpStream, begin: &Sender<()>) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let path = read_request(&mut reader)?;
            if path.ends_with(self.path_end) {
                write_head(&mut stream, 50_000_000)?;
                stream.write_all(self.before.as_bytes())?;
                begin.send(()).ok();
                // Without pauses the answer would make progress.
                loop {
                    stream.write_all(b" ")?;
                    thread::sleep(Duration::from_millis(20));
                }
            }
            let collection = self.collection;
            let collections = format!(
                r#"[{{"id": "6f8ba9a3-0000-0000-0000-000000000001", "name": "{collection}", "tenant": "default_tenant",
                "database": "default_database", "dimension": 384, "metadata": null, "configuration_json": {{}}}}]"#
            );
            let body = match path.rsplit('/').next().unwrap_or_default() {
                "heartbeat" => r#"{"nanosecond heartbeat": 1}"#,
                "version" => r#""1.0.0""#,
                "identity" => {
                    r#"{"user_id": "", "tenant": "default_tenant", "databases": ["default_database"]}"#
                }
                "databases" => DATABASES,
                "collections" => &collections,
                "count" => "1",
                _ => "{}",
            };
            write_head(&mut stream, body.len())?;
            stream.write_all(body.as_bytes())?;
        }
    }
}

/// The path of the next request, whose body is skipped.
fn read_request(reader: &mut BufReader<TcpStream>) -> io::Result<String> {
    let line = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        match reader.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            _ => Ok(line.trim_end().to_lowercase()),
        }
    };
    let first = line(reader)?;
    let mut body_bytes = 0;
    loop {
        let header = line(reader)?;
        if header.is_empty() {
            break;
        }
        if let Some(length) = header.strip_prefix("content-length:") {
            body_bytes = length.trim().parse().map_err(io::Error::other)?;
        }
    }
    io::copy(&mut reader.take(body_bytes), &mut io::sink())?;
    Ok(first.split([' ', '?']).nth(1).unwrap_or_default().to_owned())
}

fn write_head(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}
