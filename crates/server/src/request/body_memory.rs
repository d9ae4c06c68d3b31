//! The process-wide memory limit for request and response bodies: parsed values may take many times a body's size, a
//! response stays in memory until its client has read it, and there may be many clients.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use futures_util::StreamExt as _;
use store::{
    memory::MemoryLimit,
    memory_budget::{JsonMemory, MemoryBudget, MemoryExhausted, Reservation},
};

use crate::{
    answer::ApiError,
    connections::ConnectionUse,
    readers::{RELEASED_WITHIN, Readers, Reading},
};

/// Memory of all bodies. With a higher limit, concurrent large bodies may exhaust memory; with a lower one, the
/// largest allowed bodies are rejected.
const TOTAL_BYTES: usize = 100 << 20;
/// Bodies up to this size do not count: the number of requests is limited.
const UNCOUNTED_BYTES: usize = 64 << 10;

/// The body memory of a process; an extension of every request.
#[derive(Clone, Debug)]
pub(crate) struct BodyMemory {
    /// Maximum bytes of one body of values, and of vectors.
    limits_bytes: (usize, usize),
    /// Time limit for receiving a body.
    patience: Duration,
    budget: MemoryBudget,
    memory: MemoryLimit,
    /// The clients that read large responses.
    readers: Readers,
}

/// What the lists of a body are read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyContents {
    /// JSON values.
    Values,
    /// Lists of lists are vectors, which take less memory. Such a body may wait for memory: clients send large batches from
    /// several threads, and do not retry.
    Vectors,
}

/// A received body.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) held: Reservation,
}

impl BodyMemory {
    /// For bodies of at most `limits_bytes` (of values, and of vectors), received within `patience`.
    pub(crate) fn new(limits_bytes: (usize, usize), patience: Duration, memory: MemoryLimit) -> Self {
        let largest = limits_bytes.0.max(limits_bytes.1);
        let budget = MemoryBudget::new(TOTAL_BYTES.max(largest.saturating_mul(2)));
        Self { limits_bytes, patience, budget, memory, readers: Readers::default() }
    }

    /// Reads the body and reserves the memory that its values will need. A body that needs too much is rejected
    /// before it is read completely.
    pub(crate) async fn receive(&self, body: Body, contents: BodyContents) -> Result<Received, ApiError> {
        let arrived = tokio::time::timeout(self.patience, self.arrive(body, contents)).await;
        arrived.map_err(|_| ApiError::SlowBody { limit: self.patience })?
    }

    async fn arrive(&self, body: Body, contents: BodyContents) -> Result<Received, ApiError> {
        let limit_bytes = match contents {
            BodyContents::Values => self.limits_bytes.0,
            BodyContents::Vectors => self.limits_bytes.1,
        };
        let most = most_bytes(limit_bytes);
        if usize::try_from(body.size_hint().lower()).map_or(true, |announced| announced > limit_bytes) {
            return Err(ApiError::TooLarge { limit_bytes });
        }
        let (mut bytes, mut held) = (Vec::new(), Reservation::default());
        let mut values = match contents {
            BodyContents::Values => JsonMemory::default(),
            BodyContents::Vectors => JsonMemory::of_vectors(),
        };
        if let (BodyContents::Vectors, Some(announced)) = (contents, body.size_hint().exact())
            && let Ok(announced) = usize::try_from(announced)
            && announced > UNCOUNTED_BYTES
        {
            // At once, so that two bodies do not hold a part each and wait for each other.
            self.budget.enlarge(&mut held, announced.saturating_mul(2).min(most)).await;
        }
        let mut stream = body.into_data_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|source| ApiError::Body { source })?;
            if bytes.len() + chunk.len() > limit_bytes {
                return Err(ApiError::TooLarge { limit_bytes });
            }
            bytes.extend_from_slice(&chunk);
            values.add(&chunk);
            let size = bytes.len() + values.bytes();
            if bytes.len() > UNCOUNTED_BYTES {
                if size > most {
                    let reason = format!(
                        "its values would take {size} bytes of memory, and the limit per request is {most}: \
                            send fewer at once"
                    );
                    return Err(ApiError::invalid("body", reason));
                }
                self.memory.check()?;
                self.enlarge(&mut held, size).await?;
            }
        }
        Ok(Received { bytes, held })
    }

    /// Reserves memory for a response of `bytes` until the client of `used` has read it.
    pub(crate) async fn reserve_for_reader(
        &self,
        bytes: usize,
        used: Option<ConnectionUse>,
    ) -> Result<Option<(Reservation, Reading)>, ApiError> {
        if bytes <= UNCOUNTED_BYTES {
            return Ok(None);
        }
        let held = self.reserve(bytes).await?;
        Ok(Some((held, self.readers.begin(used))))
    }

    /// Reserves memory for building a response from `bytes`: for these and for the response. A single record may
    /// exceed the limit.
    pub(crate) async fn reserve_for_work(&self, bytes: usize) -> Result<Reservation, ApiError> {
        self.reserve(bytes.saturating_mul(2).min(most_bytes(self.limits_bytes.0))).await
    }

    async fn reserve(&self, bytes: usize) -> Result<Reservation, ApiError> {
        let mut held = Reservation::default();
        if bytes > UNCOUNTED_BYTES {
            self.enlarge(&mut held, bytes).await?;
        }
        Ok(held)
    }

    /// Enlarges a reservation. If there is no memory, clients that have stopped reading release theirs.
    async fn enlarge(&self, held: &mut Reservation, bytes: usize) -> Result<(), MemoryExhausted> {
        while self.budget.try_enlarge(held, bytes) == Err(MemoryExhausted) {
            if !self.readers.disconnect_stalled() {
                return Err(MemoryExhausted);
            }
            // A time-out leads to the next one.
            if tokio::time::timeout(RELEASED_WITHIN, self.budget.enlarge(held, bytes)).await.is_ok() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Maximum memory of the values of a body of up to `limit_bytes`.
fn most_bytes(limit_bytes: usize) -> usize {
    (TOTAL_BYTES / 2).max(limit_bytes.saturating_mul(2))
}

impl From<MemoryExhausted> for ApiError {
    fn from(MemoryExhausted: MemoryExhausted) -> Self {
        Self::MemoryExhausted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(memory: &BodyMemory, body: String) -> Result<Received, ApiError> {
        memory.receive(Body::from(body), BodyContents::Values).await
    }

    #[tokio::test]
    async fn concurrent_bodies_stay_within_the_memory_limit() {
        let memory = BodyMemory::new((16 << 20, 16 << 20), Duration::from_secs(60), MemoryLimit::default());
        let text = || format!(r#""{}""#, ",[{:".repeat(3 << 20));
        let mut received = Vec::new();
        let refused = loop {
            match receive(&memory, text()).await {
                Ok(one) => received.push(one),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, ApiError::MemoryExhausted), "{refused:?}");
        assert_eq!(received.len(), TOTAL_BYTES / (12 << 20));
        receive(&memory, "[1]".to_owned()).await.expect("small bodies need no reservation");
        received.pop();
        let held = memory.reserve(11 << 20).await.expect("memory was released");
        assert!(matches!(memory.reserve(11 << 20).await, Err(ApiError::MemoryExhausted)));
        memory.reserve(UNCOUNTED_BYTES).await.expect("short responses need no reservation");
        drop(held);
        receive(&memory, text()).await.expect("memory was released");
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_read_its_response_releases_the_memory() {
        let memory = BodyMemory::new((16 << 20, 16 << 20), Duration::from_secs(60), MemoryLimit::default());
        let stalled = ConnectionUse::of_test();
        stalled.waits_for_client();
        let held = memory.reserve_for_reader(60 << 20, Some(stalled.clone())).await.expect("there is memory");
        let refused = memory.reserve_for_work(30 << 20).await.map(drop);
        assert!(matches!(refused, Err(ApiError::MemoryExhausted)), "it may read on: {refused:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
        let closed = async {
            stalled.closed().await;
            drop(held);
        };
        let (held, ()) = tokio::join!(memory.reserve_for_work(30 << 20), closed);
        held.expect("the client was disconnected");
    }

    #[tokio::test]
    async fn body_counts_by_the_memory_of_its_values() {
        let memory = BodyMemory::new((16 << 20, 16 << 20), Duration::from_secs(60), MemoryLimit::default());
        for unit in ["1,", "[],", "{},", r#""":"","#] {
            let body = format!("[{}1]", unit.repeat((15 << 20) / unit.len()));
            let refused = receive(&memory, body).await.map(drop).expect_err("it is large");
            assert!(matches!(refused, ApiError::Invalid { .. }), "{unit}: {refused:?}");
        }
        receive(&memory, format!("[{}1]", "1,".repeat(500_000))).await.expect("it is below the limit");
        let over = receive(&memory, " ".repeat((16 << 20) + 1)).await.map(drop);
        assert!(matches!(over, Err(ApiError::TooLarge { .. })), "{over:?}");
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 20]));
        let over = memory.receive(Body::from_stream(endless), BodyContents::Values).await.map(drop);
        assert!(matches!(over, Err(ApiError::TooLarge { .. })), "{over:?}");
    }
}
