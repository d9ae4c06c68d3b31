//! Signals, and blocking work that they can interrupt.

use std::{
    fs, future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use records::Unfinished;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGINT, SIGTERM and SIGHUP, handled from the creation of this value.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if it is left as it was when the process began.
    hang_up: Option<Signal>,
}

impl Signals {
    /// From now on, these signals no longer end the process.
    pub(crate) fn new() -> Self {
        let handled = |kind| signal(kind).expect("SIGINT, SIGTERM and SIGHUP can be handled");
        Self {
            interrupt: handled(SignalKind::interrupt()),
            terminate: handled(SignalKind::terminate()),
            hang_up: ends_with_its_terminal().then(|| handled(SignalKind::hangup())),
        }
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }
}

/// Whether SIGHUP is not ignored, as it is below `nohup`. Where the system does not say so, it is left as it is.
fn ends_with_its_terminal() -> bool {
    // An unreadable file says nothing, like a system without it.
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 == 0)
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
