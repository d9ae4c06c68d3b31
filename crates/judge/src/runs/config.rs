//! Settings of the runner.

use std::time::Duration;

/// How runs are worked on.
#[derive(Clone, Copy, Debug)]
pub struct RunnerConfig {
    /// Answers of one run, and as many judgements, that are under way at once. Models' own limits hold back more; some
    /// wait to be written down.
    pub tasks_at_once: usize,
    /// How long a worker that does not show counts as alive. Others take its tasks then, and a call that it had under way
    /// is made again.
    pub lease: Duration,
    /// How often to look for runs of other processes, and for tasks that they abandoned.
    pub poll: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self { tasks_at_once: 64, lease: Duration::from_secs(30), poll: Duration::from_secs(1) }
    }
}
