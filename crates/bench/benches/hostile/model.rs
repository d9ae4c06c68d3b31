//! A provider whose models attack who asks them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// Its models; each is also a run's and an evaluation's.
pub(crate) const MODELS: [&str; 3] = ["endless", "long", "drips"];
/// Bytes of the answer of `long`, which it announces.
const LONG_BYTES: usize = 60_000_000;
/// Between two bytes of `drips`.
const DRIP: Duration = Duration::from_millis(200);
const BEGINNING: &str = r#"{"choices": [{"message": {"role": "assistant", "content": ""#;

/// A provider on loopback; ends when dropped.
pub(crate) struct HostileProvider {
    port: u16,
    task: JoinHandle<()>,
    calls: Arc<[AtomicU64; MODELS.len()]>,
}

impl HostileProvider {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let calls = Arc::new([const { AtomicU64::new(0) }; MODELS.len()]);
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                // An error is a client that has gone.
                connections.spawn(async move { answer(stream, counted.as_slice()).await.ok() });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, task, calls })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// How often each model was asked.
    pub(crate) fn calls(&self) -> Vec<(&'static str, u64)> {
        MODELS.into_iter().zip(self.calls.iter().map(|calls| calls.load(Ordering::Relaxed))).collect()
    }
}

impl Drop for HostileProvider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers one request; then the connection is closed.
async fn answer(mut stream: TcpStream, calls: &[AtomicU64]) -> Result<()> {
    let model = asked_model(&mut stream).await?;
    if let Some(place) = MODELS.iter().position(|known| *known == model) {
        calls[place].fetch_add(1, Ordering::Relaxed);
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let text = vec![b'a'; 64 << 10];
    match model.as_str() {
        "endless" => {
            stream.write_all(format!("{head}\r\n{BEGINNING}").as_bytes()).await?;
            loop {
                stream.write_all(&text).await?;
            }
        }
        "long" => {
            let start = format!("{head}content-length: {LONG_BYTES}\r\n\r\n{BEGINNING}");
            stream.write_all(start.as_bytes()).await?;
            for _ in 0..LONG_BYTES / text.len() {
                stream.write_all(&text).await?;
            }
        }
        "drips" => {
            stream.write_all(format!("{head}\r\n{BEGINNING}").as_bytes()).await?;
            loop {
                stream.write_all(b"a").await?;
                sleep(DRIP).await;
            }
        }
        _ => {
            let body =
                r#"{"choices": [{"message": {"content": "{\"score\": 7}"}, "finish_reason": "stop"}]}"#;
            let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(whole.as_bytes()).await?;
        }
    }
    Ok(())
}

/// The model that a request names.
async fn asked_model(stream: &mut TcpStream) -> Result<String> {
    let (mut received, mut part) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut part).await?;
        anyhow::ensure!(count > 0, "the client has gone");
        received.extend_from_slice(&part[..count]);
        let Some(head) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let fields = String::from_utf8_lossy(&received[..head]).to_lowercase();
        let length = fields.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.context("a length")?.trim().parse()?;
        if let Some(body) = received.get(head + 4..head + 4 + length) {
            let body: Value = serde_json::from_slice(body)?;
            // A request without a model is answered like one for an unknown model.
            return Ok(body["model"].as_str().unwrap_or_default().to_owned());
        }
    }
}
