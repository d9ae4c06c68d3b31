//! The memory limit for responses of models' servers, shared by all calls of a process: responses may be endless, and
//! the number of concurrent calls depends on models and runs.

use std::{sync::Arc, time::Duration};

use reqwest::Response;
use store::memory_budget::{JsonMemory, MemoryBudget, Reservation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most bytes of a response: several times the longest answer of any model.
const MAX_RESPONSE_BYTES: usize = 8 << 20;
/// The same as text.
const MAX_LENGTH: &str = "at most 8 MiB";
/// Memory limit for the values of one response, in addition to its bytes.
const VALUE_BYTES: usize = 32 << 20;
/// Memory limit for all responses that are being received and processed. A larger one would let hostile servers use it;
/// with a smaller one, calls with large responses would wait for each other.
const TOTAL_BYTES: usize = 64 << 20;
/// Copies of each byte of a response: a buffer that has grown by doubling, and a copy of its texts.
const COPIES: usize = 3;
/// Responses up to this size do not count: the number of calls is limited.
const UNCOUNTED_BYTES: usize = 16 << 10;
/// From this size on, a response of unknown length reserves the maximum at once: if they reserved in parts, responses
/// would wait for each other. They are processed one at a time, on a separate thread.
const LARGE_BYTES: usize = 256 << 10;
/// How long a response waits for memory.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The memory limit for responses. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(super) struct ResponseMemory {
    budget: MemoryBudget,
    patience: Duration,
    /// Permit for processing a large response.
    turn: Arc<Semaphore>,
}

/// A response's body and its memory reservation.
#[derive(Debug)]
pub(super) struct ResponseBody {
    pub(super) bytes: Vec<u8>,
    pub(super) memory: ResponseReservation,
}

/// The memory reservation of a response, released with its last clone. All are equal.
#[derive(Clone, Debug, Default)]
pub struct ResponseReservation {
    /// Kept until it is dropped.
    _held: Arc<Reservation>,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum ReceiveError {
    Transport(reqwest::Error),
    /// It exceeds the limit: what was expected.
    TooLarge(&'static str),
    /// Other responses use all the memory, and did not release it in time.
    MemoryExhausted,
}

impl ResponseMemory {
    pub(super) fn new() -> Self {
        Self { budget: MemoryBudget::new(TOTAL_BYTES), patience: MAX_WAIT, turn: Arc::new(Semaphore::new(1)) }
    }

    /// Reads the complete body, as far as there is memory for it.
    pub(super) async fn receive(&self, response: &mut Response) -> Result<ResponseBody, ReceiveError> {
        let (mut bytes, mut held, mut weight) = (Vec::new(), Reservation::default(), JsonMemory::default());
        let announced =
            response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced > MAX_RESPONSE_BYTES {
            return Err(ReceiveError::TooLarge(MAX_LENGTH));
        }
        while let Some(chunk) = response.chunk().await.map_err(ReceiveError::Transport)? {
            let size = bytes.len() + chunk.len();
            if size > MAX_RESPONSE_BYTES {
                return Err(ReceiveError::TooLarge(MAX_LENGTH));
            }
            weight.add(&chunk);
            if weight.bytes() > VALUE_BYTES {
                return Err(ReceiveError::TooLarge("values of at most 32 MiB of memory"));
            }
            let size = match size.max(announced) {
                ..=UNCOUNTED_BYTES => 0,
                size if size > LARGE_BYTES && announced == 0 => MAX_RESPONSE_BYTES,
                size => size,
            };
            if size > 0 {
                let enlarged = self.budget.enlarge(&mut held, size * COPIES + weight.bytes());
                tokio::time::timeout(self.patience, enlarged)
                    .await
                    .map_err(|_| ReceiveError::MemoryExhausted)?;
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(ResponseBody { bytes, memory: ResponseReservation { _held: Arc::new(held) } })
    }

    /// Processes the body. Large ones one at a time: it may take long, and much more memory meanwhile.
    pub(super) async fn work_on<T: Send + 'static>(
        &self,
        body: ResponseBody,
        work: impl FnOnce(ResponseBody) -> T + Send + 'static,
    ) -> T {
        if body.bytes.len() <= LARGE_BYTES {
            return work(body);
        }
        let turn: OwnedSemaphorePermit =
            Arc::clone(&self.turn).acquire_owned().await.expect("it is never closed");
        let worked = tokio::task::spawn_blocking(move || {
            // Held by the work, which continues if the call is dropped.
            let _turn = turn;
            work(body)
        });
        worked.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}

impl PartialEq for ResponseReservation {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{Ipv4Addr, TcpListener},
    };

    use test_support::{HttpAnswer, HttpStub};

    use super::*;

    async fn get(url: &str) -> Response {
        // Another test may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::get(url).await.expect("the server answers")
    }

    /// A server whose responses have the length given by the path.
    fn server() -> HttpStub {
        HttpStub::start(|request| {
            let length = request.path.trim_start_matches('/').parse().expect("a length");
            Some(HttpAnswer { status: 200, headers: Vec::new(), body: vec![b'a'; length] })
        })
    }

    #[tokio::test]
    async fn responses_share_a_memory_limit() {
        let stub = server();
        let memory = ResponseMemory { patience: Duration::ZERO, ..ResponseMemory::new() };
        let receive =
            async |length: usize| memory.receive(&mut get(&format!("{}/{length}", stub.url())).await).await;
        let mut bodies = Vec::new();
        let none = loop {
            match receive(4 << 20).await {
                Ok(body) => bodies.push(body),
                Err(none) => break none,
            }
        };
        assert!(matches!(none, ReceiveError::MemoryExhausted), "{none:?}");
        assert_eq!(bodies.len(), TOTAL_BYTES / COPIES / (4 << 20));
        receive(UNCOUNTED_BYTES).await.expect("short answers are always read");
        let memory = bodies.pop().expect("there are some").memory;
        assert!(
            matches!(receive(4 << 20).await, Err(ReceiveError::MemoryExhausted)),
            "what was made of it is still there"
        );
        drop(memory);
        receive(4 << 20).await.expect("the memory was given back");
    }

    #[tokio::test]
    async fn endless_responses_and_too_many_values_are_rejected() {
        let stub = server();
        let memory = ResponseMemory::new();
        let over =
            memory.receive(&mut get(&format!("{}/{}", stub.url(), MAX_RESPONSE_BYTES + 1)).await).await;
        assert!(
            matches!(&over, Err(ReceiveError::TooLarge(expected)) if *expected == MAX_LENGTH),
            "{over:?}"
        );
        for (unit, expected) in [("a", MAX_LENGTH), ("[],", "values of at most 32 MiB of memory")] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let url = format!("http://{}/", listener.local_addr().expect("it has an address"));
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                assert!(stream.read(&mut [0; 4096]).expect("a request") > 0);
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("a client");
                let part = unit.repeat(64 << 10);
                // Until the client closes the connection.
                while stream.write_all(part.as_bytes()).is_ok() {}
            });
            let mut response = get(&url).await;
            let over = memory.receive(&mut response).await;
            drop(response);
            assert!(
                matches!(&over, Err(ReceiveError::TooLarge(found)) if *found == expected),
                "{unit}: {over:?}"
            );
            // The connection is closed by a task of this thread.
            let ended = tokio::task::spawn_blocking(|| server.join()).await.expect("it does not panic");
            ended.expect("it ends");
        }
    }
}
