//! What holds a place among those that may be worked on at once.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

/// Counts as one of the requests that are worked on, until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _held: Arc<OwnedSemaphorePermit>,
}

impl Permit {
    pub(crate) fn new(held: OwnedSemaphorePermit) -> Self {
        Self { _held: Arc::new(held) }
    }
}
