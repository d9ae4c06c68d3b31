//! The priority of a thread.

/// As `nice` has it: others have ten times as much of a processor that both want.
#[cfg(target_os = "linux")]
const LOW: i32 = 10;

/// Has the thread give way to others. Where priorities are those of a process, or may not be changed, all are equal.
pub(crate) fn lower_priority() {
    #[cfg(target_os = "linux")]
    rustix::process::nice(LOW).ok();
}
