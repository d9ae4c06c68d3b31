//! The priority of a thread.

/// A `nice` value: threads of normal priority get ten times as much CPU time.
#[cfg(target_os = "linux")]
const LOW: i32 = 10;

/// Lowers the priority of the calling thread, on systems with priorities per thread that may be changed.
pub(crate) fn lower_priority() {
    #[cfg(target_os = "linux")]
    rustix::process::nice(LOW).ok();
}
