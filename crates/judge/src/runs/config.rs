//! Settings of the runner.

use std::time::Duration;

/// Settings for the execution of runs.
#[derive(Clone, Copy, Debug)]
pub struct RunnerConfig {
    /// Concurrent answers of one run, and as many concurrent judgements. Models' own limits are lower; some tasks wait
    /// to be recorded.
    pub tasks_at_once: usize,
    /// How long a worker without a heartbeat counts as alive. After that, others claim its tasks, and a call that it
    /// had started is repeated.
    pub lease: Duration,
    /// How often to look for runs of other processes, and for tasks that they abandoned.
    pub poll: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self { tasks_at_once: 64, lease: Duration::from_secs(30), poll: Duration::from_secs(1) }
    }
}
