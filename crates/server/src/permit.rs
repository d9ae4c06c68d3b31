//! Permits of the limits on concurrent requests.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

/// Occupies a permit until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _held: Arc<OwnedSemaphorePermit>,
}

impl Permit {
    pub(crate) fn new(held: OwnedSemaphorePermit) -> Self {
        Self { _held: Arc::new(held) }
    }
}
