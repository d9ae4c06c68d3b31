//! Signals, and blocking work that they can interrupt.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use records::Unfinished;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGINT and SIGTERM, handled from the creation of this value.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on, these signals no longer end the process.
    pub(crate) fn new() -> Self {
        let handled = |kind| signal(kind).expect("SIGINT and SIGTERM can be handled");
        Self { interrupt: handled(SignalKind::interrupt()), terminate: handled(SignalKind::terminate()) }
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Tells blocking work to end early.
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

/// Raises its interrupt when a signal drops the async task of the command.
struct RaiseOnDrop(Interrupt);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `work`, which blocks and checks its [`Interrupt`] between records, outside the async threads.
pub(crate) async fn run_interruptibly<T: Send + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let interrupt = Interrupt::default();
    let _guard = RaiseOnDrop(interrupt.clone());
    to_end(move || work(&interrupt)).await
}

/// Runs `work`, which blocks, outside the async threads. The process does not exit before it ends and its result is
/// dropped: it may have servers to stop and files to remove.
pub(crate) async fn to_end<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let unfinished = Unfinished::begin();
    match tokio::task::spawn_blocking(move || (work(), unfinished)).await {
        Ok((result, _unfinished)) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
