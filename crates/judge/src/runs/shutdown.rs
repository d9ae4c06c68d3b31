//! The shutdown signal.

use tokio::sync::watch;

/// Tells servers and workers to start nothing new, and to finish work in progress. Clones share it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Starts the shutdown.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it has begun.
    pub async fn begun(&self) {
        // The sender lives in `self`.
        self.0.subscribe().wait_for(|begun| *begun).await.expect("the sender lives");
    }
}
