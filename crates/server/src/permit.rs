//! Permits of the limits on concurrent requests.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::connections::ConnectionUse;

/// Occupies a permit until the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Permit {
    _held: Arc<OwnedSemaphorePermit>,
    /// The connection of the request, if there is one.
    used: Option<ConnectionUse>,
}

impl Permit {
    pub(crate) fn new(held: OwnedSemaphorePermit, used: Option<ConnectionUse>) -> Self {
        Self { _held: Arc::new(held), used }
    }

    /// The connection of the request.
    pub(crate) fn connection(&self) -> Option<ConnectionUse> {
        self.used.clone()
    }
}
