//! Blocking work that a signal can end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::exit::Failure;

/// Says whether blocking work should end early.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(
    // Shared between the work and the guard that lives in the async task.
    Arc<AtomicBool>,
);

impl Interrupt {
    /// Whether the command was interrupted.
    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Raises its interrupt when the async task is dropped, which is how `main` ends a command at a signal.
struct RaiseOnDrop(Interrupt);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work`, which blocks and asks its [`Interrupt`] between records, away from the async threads.
pub(crate) async fn run_interruptibly<T: Send + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let interrupt = Interrupt::default();
    let _guard = RaiseOnDrop(interrupt.clone());
    match tokio::task::spawn_blocking(move || work(&interrupt)).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
