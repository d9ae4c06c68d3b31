//! Divides the connections of a pool among the services, so that one that waits for a lock on its table does not
//! block the others.

use std::sync::Arc;

use records::{Service, lock::Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{memory::MemoryLimit, memory_budget::MemoryExhausted, storage::StorageError};

/// Maximum number of large answers that are read at once: each takes up to three times
/// [`MAX_ANSWER_BYTES`](crate::storage::MAX_ANSWER_BYTES) of memory.
const MOST_LARGE: usize = 4;

/// Of this many connections, one may be used by a large answer that waits for its turn.
const WAITING_SHARE: usize = 4;

/// Permission to use a connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _held: OwnedSemaphorePermit,
}

/// What an operation holds while it waits for its turn to read a large answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Holding {
    /// A connection.
    #[default]
    Connection,
    /// Locks too, for which the one whose turn it is may wait.
    Locks,
}

/// The numbers of connections: each service has a few reserved ones, and all share the rest.
#[derive(Debug)]
pub(super) struct Shares {
    /// Reserved connections of a service.
    own: u32,
    shared: Arc<Semaphore>,
    /// Permits for reading large answers.
    large: Arc<Semaphore>,
    /// How many may wait for such a permit while they have a connection.
    waiting: Semaphore,
    /// Checked before a large answer is read.
    memory: MemoryLimit,
    /// Of the services that use the pool. Locked only briefly.
    of_services: Mutex<Vec<(Service, Arc<Semaphore>)>>,
}

/// One service's share.
#[derive(Clone, Debug)]
pub(super) struct Share {
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

impl Shares {
    pub(super) fn new(connections: u32, memory: MemoryLimit) -> Self {
        Self {
            own: (connections / 6).max(1),
            shared: Arc::new(Semaphore::new(connections as usize)),
            large: Arc::new(Semaphore::new(large_answers())),
            waiting: Semaphore::new(connections as usize / WAITING_SHARE),
            memory,
            of_services: Mutex::default(),
        }
    }

    /// Waits until a large answer may be read.
    ///
    /// # Errors
    /// [`StorageError::Busy`] when the process uses too much memory, and does not release it in time.
    pub(super) async fn begin_large(&self) -> Result<Permit, StorageError> {
        let permit = Arc::clone(&self.large).acquire_owned().await;
        self.memory.wait().await.map_err(|MemoryExhausted| StorageError::Busy)?;
        Ok(Permit { _held: permit.expect("nobody closes it") })
    }

    /// The same if a large answer may be read at once; `None` if not.
    ///
    /// # Errors
    /// As for [`begin_large`](Self::begin_large).
    pub(super) async fn begin_large_if_free(&self) -> Result<Option<Permit>, StorageError> {
        let Ok(permit) = Arc::clone(&self.large).try_acquire_owned() else { return Ok(None) };
        self.memory.wait().await.map_err(|MemoryExhausted| StorageError::Busy)?;
        Ok(Some(Permit { _held: permit }))
    }

    /// The same for an answer that keeps its connection while it waits; `None` if as many as may do so are waiting: small answers
    /// need connections too.
    ///
    /// # Errors
    /// As for [`begin_large`](Self::begin_large).
    pub(super) async fn begin_large_with_connection(&self) -> Result<Option<Permit>, StorageError> {
        if let Some(permit) = self.begin_large_if_free().await? {
            return Ok(Some(permit));
        }
        match self.waiting.try_acquire() {
            Ok(_waits) => self.begin_large().await.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The share of `service`, which is registered as a user of the pool.
    pub(super) fn of(&self, service: Service) -> Share {
        let mut of_services = self.of_services.lock();
        let known = of_services.iter().find(|(known, _)| *known == service).map(|(_, own)| Arc::clone(own));
        let own = known.unwrap_or_else(|| {
            // At least one is shared: a service without a connection would wait forever.
            let spare = self.shared.available_permits().saturating_sub(1);
            let own = self.shared.forget_permits(spare.min(self.own as usize));
            let own = Arc::new(Semaphore::new(own));
            of_services.push((service, Arc::clone(&own)));
            own
        });
        Share { own, shared: Arc::clone(&self.shared) }
    }
}

impl Share {
    /// One of its reserved connections or of the shared ones, whichever is free first.
    pub(super) async fn acquire(&self) -> Permit {
        let of = |semaphore: &Arc<Semaphore>| Arc::clone(semaphore).acquire_owned();
        let permit = tokio::select! {
            biased;
            permit = of(&self.own) => permit,
            permit = of(&self.shared) => permit,
        };
        Permit { _held: permit.expect("nobody closes them") }
    }
}

/// PostgreSQL, which may run on the same machine, uses one for each.
fn large_answers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)).min(MOST_LARGE)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn large_answers_are_limited_and_do_not_take_connections() {
        let shares = Shares::new(12, MemoryLimit::default());
        let held: Vec<Permit> =
            std::iter::from_fn(|| shares.begin_large().now_or_never()).map(Result::unwrap).collect();
        assert_eq!(held.len(), large_answers());
        let query = shares.of(Service::Query);
        assert_eq!(std::iter::from_fn(|| query.acquire().now_or_never()).collect::<Vec<_>>().len(), 12);
        drop(held);
        assert!(shares.begin_large().now_or_never().is_some());
    }

    #[tokio::test]
    async fn few_connections_wait_for_a_large_answer() {
        let shares = Shares::new(12, MemoryLimit::default());
        let begin = || Box::pin(shares.begin_large_with_connection());
        let held: Vec<Permit> = (0..large_answers())
            .map(|_| begin().now_or_never().expect("one is free").unwrap().expect("one is free"))
            .collect();
        let mut waiting: Vec<_> = (0..3).map(|_| begin()).collect();
        assert!(waiting.iter_mut().all(|waits| waits.now_or_never().is_none()));
        assert!(matches!(begin().now_or_never(), Some(Ok(None))));
        drop(held);
        assert!(matches!(waiting.remove(0).now_or_never(), Some(Ok(Some(_)))));
    }

    #[tokio::test]
    async fn service_cannot_take_reserved_connections_of_others() {
        for (connections, most) in [(12, 8), (6, 4), (4, 2)] {
            let shares = Shares::new(connections, MemoryLimit::default());
            let [query, evaluation, judge] = Service::ALL.map(|service| shares.of(service));
            let mut held = Vec::new();
            while let Some(permit) = query.acquire().now_or_never() {
                held.push(permit);
            }
            assert_eq!(held.len(), most, "of {connections}");
            for other in [&evaluation, &judge] {
                assert!(other.acquire().now_or_never().is_some(), "of {connections}");
            }
            held.clear();
            let all: Vec<Permit> = std::iter::from_fn(|| query.acquire().now_or_never()).collect();
            assert_eq!(all.len(), most, "what was given back is there again");
        }
    }

    #[tokio::test]
    async fn single_service_has_all_connections_and_few_are_shared_by_all() {
        let alone = Shares::new(12, MemoryLimit::default()).of(Service::Query);
        assert_eq!(std::iter::from_fn(|| alone.acquire().now_or_never()).collect::<Vec<_>>().len(), 12);
        let few = Shares::new(1, MemoryLimit::default());
        for service in Service::ALL {
            assert!(few.of(service).acquire().now_or_never().is_some());
        }
    }
}
