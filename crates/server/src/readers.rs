//! The clients that read large responses. One that stops reading loses its place, once another request needs it.

use std::{sync::Arc, time::Duration};

use records::lock::Mutex;

use crate::connections::ConnectionUse;

/// How long a client may read less than the minimum rate before it can lose its place: longer than a lost packet or a
/// busy client takes, and shorter than others are willing to wait.
const STALLED: Duration = Duration::from_secs(5);

/// Time in which a closed connection releases its place.
pub(crate) const RELEASED_WITHIN: Duration = Duration::from_secs(1);

/// The clients that read from one limited resource.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readers(Arc<Mutex<Vec<ConnectionUse>>>);

/// Lists a client until dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    readers: Readers,
    used: Option<ConnectionUse>,
}

impl Readers {
    /// The client of `used` begins to read.
    pub(crate) fn begin(&self, used: Option<ConnectionUse>) -> Reading {
        self.0.lock().extend(used.clone());
        Reading { readers: self.clone(), used }
    }

    /// Disconnects the client that has stalled longest, if it has for long enough.
    pub(crate) fn disconnect_stalled(&self) -> bool {
        let mut readers = self.0.lock();
        let stalled =
            readers.iter().map(ConnectionUse::stalled_for).enumerate().max_by_key(|(_, stalled)| *stalled);
        let Some((index, _)) = stalled.filter(|(_, stalled)| *stalled >= STALLED) else { return false };
        readers.swap_remove(index).close();
        true
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let Some(used) = &self.used else { return };
        let mut readers = self.readers.0.lock();
        if let Some(index) = readers.iter().position(|other| other.is(used)) {
            readers.swap_remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_client_that_has_stalled_longest_is_disconnected() {
        let readers = Readers::default();
        let uses = [(); 3].map(|()| ConnectionUse::of_test());
        let reading = uses.clone().map(|used| readers.begin(Some(used)));
        uses[1].waits_for_client();
        tokio::time::advance(STALLED - Duration::from_millis(1)).await;
        assert!(!readers.disconnect_stalled(), "not for long enough");
        uses[0].waits_for_client();
        tokio::time::advance(STALLED).await;
        assert!(readers.disconnect_stalled());
        uses[1].closed().await;
        assert!(readers.disconnect_stalled());
        uses[0].closed().await;
        tokio::time::advance(10 * STALLED).await;
        assert!(!readers.disconnect_stalled(), "the last one reads");
        uses[2].waits_for_client();
        tokio::time::advance(10 * STALLED).await;
        drop(reading);
        assert!(!readers.disconnect_stalled(), "it has read everything");
    }
}
