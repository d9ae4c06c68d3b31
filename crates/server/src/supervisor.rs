//! Supervision of background tasks. A task that panics is restarted after a delay; `/metrics` counts restarts, and
//! `/ready` names tasks that are down or whose last pass failed.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use judge::runs::Shutdown;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet},
    metrics::MetricType,
};
use records::{lock::Mutex, panic_message};

/// Delay before a restart. It doubles while the task panics again within the last delay.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The background tasks of a process. Clones share them.
#[derive(Clone, Debug)]
pub struct Supervisor {
    first_wait: Duration,
    /// Shared by the tasks and the readers of their states; locked briefly.
    tasks: Arc<Mutex<Vec<Task>>>,
}

/// How a process depends on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without the task, client requests are not completed: the process is not ready.
    Service,
    /// Without the task, requests are still served.
    Upkeep,
}

/// The state of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskState {
    /// How often it was restarted.
    pub restarts: u64,
    /// Why it is down, if so.
    pub problem: Option<String>,
}

/// Reports the state of a task. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<PulseState>);

#[derive(Debug, Default)]
struct PulseState {
    restarts: AtomicU64,
    /// Why the task is down. Written by its supervisor; locked briefly, as is `failure`.
    panic: Mutex<Option<String>>,
    /// Why its last pass failed. Written by the task.
    failure: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Task {
    name: &'static str,
    need: Need,
    state: Arc<dyn Fn() -> TaskState + Send + Sync>,
}

/// A task and its state.
#[derive(Clone, Debug)]
pub(crate) struct NamedTask {
    pub(crate) name: &'static str,
    pub(crate) need: Need,
    pub(crate) state: TaskState,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self { first_wait: FIRST_WAIT, tasks: Arc::default() }
    }
}

impl Supervisor {
    /// Runs the future that `begin` returns until it completes, as it does at `shutdown`. If it panics, it is started
    /// again after a delay, unless `shutdown` has begun. The task counts as down until it has run for as long as the
    /// delay, and while the pulse reports that its last pass failed.
    pub async fn keep<F: Future<Output = ()>>(
        &self,
        name: &'static str,
        need: Need,
        shutdown: &Shutdown,
        mut begin: impl FnMut(Pulse) -> F,
    ) {
        let pulse = self.pulse(name, need);
        let mut wait = self.first_wait;
        loop {
            // `begin` creates new state; shared state is behind locks that a panic leaves consistent.
            let mut work = Box::pin(AssertUnwindSafe(async { begin(pulse.clone()).await }).catch_unwind());
            let ended = tokio::select! {
                ended = &mut work => ended,
                () = tokio::time::sleep(wait) => {
                    *pulse.0.panic.lock() = None;
                    wait = self.first_wait;
                    work.await
                }
            };
            let Err(panic) = ended else { return };
            let message = panic_message(panic);
            tracing::error!(task = name, panic = message, "a background task panicked and will be restarted");
            *pulse.0.panic.lock() = Some(format!("it panicked: {message}"));
            tokio::select! {
                () = shutdown.begun() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
            pulse.restarted();
        }
    }

    /// Registers a task with another supervisor, with a function that returns its state.
    pub fn watch(
        &self,
        name: &'static str,
        need: Need,
        state: impl Fn() -> TaskState + Send + Sync + 'static,
    ) {
        self.tasks().push(Task { name, need, state: Arc::new(state) });
    }

    /// Registers a task that reports its state by the returned pulse.
    fn pulse(&self, name: &'static str, need: Need) -> Pulse {
        let pulse = Pulse::default();
        let told = pulse.clone();
        self.watch(name, need, move || told.state());
        pulse
    }

    /// All tasks and their states.
    pub(crate) fn seen(&self) -> Vec<NamedTask> {
        let tasks = self.tasks().clone();
        let seen = |task: Task| NamedTask { name: task.name, need: task.need, state: (task.state)() };
        tasks.into_iter().map(seen).collect()
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock()
    }
}

impl Pulse {
    /// Records a pass of the task's work: successful, or failed for this reason.
    pub fn beat(&self, failure: Option<String>) {
        *self.0.failure.lock() = failure;
    }

    fn restarted(&self) {
        self.0.restarts.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> TaskState {
        let panic = self.0.panic.lock().clone();
        let problem = panic.or_else(|| self.0.failure.lock().clone());
        TaskState { restarts: self.0.restarts.load(Ordering::Relaxed), problem }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("name", &self.name).field("need", &self.need).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

impl Collector for Supervisor {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let seen = self.seen();
        let mut metric = encoder.encode_descriptor(
            "background_restarts",
            "Restarts of a background task after a panic",
            None,
            MetricType::Counter,
        )?;
        for NamedTask { name, state, .. } in &seen {
            let labels = TaskLabels { task: name };
            metric.encode_family(&labels)?.encode_counter::<TaskLabels, u64, u64>(&state.restarts, None)?;
        }
        let mut metric = encoder.encode_descriptor(
            "background_up",
            "1 if a background task runs, 0 if it has panicked and is not up again, or its last pass failed",
            None,
            MetricType::Gauge,
        )?;
        for NamedTask { name, state, .. } in &seen {
            let labels = TaskLabels { task: name };
            metric.encode_family(&labels)?.encode_gauge(&u32::from(state.problem.is_none()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, time::Instant};

    use super::*;

    /// Polls until the task has the expected state.
    async fn wait_until(supervisor: &Supervisor, is_so: impl Fn(&TaskState) -> bool) -> TaskState {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = supervisor.seen().pop().map(|task| task.state);
            match seen {
                Some(state) if is_so(&state) => return state,
                state => assert!(Instant::now() < end, "{state:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn task_that_panics_is_down_and_restarted_until_it_survives() {
        let supervisor = Supervisor { first_wait: Duration::from_millis(1), ..Supervisor::default() };
        let (kept, shutdown, is_well) =
            (supervisor.clone(), Shutdown::default(), Arc::new(AtomicBool::new(false)));
        let (until, well) = (shutdown.clone(), Arc::clone(&is_well));
        let keeping = tokio::spawn(async move {
            let work = |_| async {
                assert!(well.load(Ordering::Relaxed), "not well");
                until.begun().await;
            };
            kept.keep("runner", Need::Service, &until, work).await;
        });
        let down = wait_until(&supervisor, |state| state.restarts >= 3).await;
        assert_eq!(down.problem.as_deref(), Some("it panicked: not well"));
        is_well.store(true, Ordering::Relaxed);
        let up = wait_until(&supervisor, |state| state.problem.is_none()).await;
        assert!(up.restarts > down.restarts, "{up:?}");
        shutdown.begin();
        keeping.await.expect("it ends");
    }

    #[tokio::test]
    async fn shutdown_ends_the_delay_before_a_restart() {
        let supervisor = Supervisor { first_wait: Duration::from_secs(3600), ..Supervisor::default() };
        let shutdown = Shutdown::default();
        let keep = supervisor.keep("runner", Need::Upkeep, &shutdown, |_| async { panic!("once") });
        tokio::join!(keep, async {
            wait_until(&supervisor, |state| state.problem.is_some()).await;
            shutdown.begin();
        });
        assert_eq!(supervisor.seen().remove(0).state.restarts, 0);
    }

    #[tokio::test]
    async fn task_is_down_while_its_last_pass_failed() {
        let (supervisor, shutdown) = (Supervisor::default(), Shutdown::default());
        let (told, until) = (tokio::sync::Notify::new(), shutdown.clone());
        let (told, until) = (&told, &until);
        let keep = supervisor.keep("monitor", Need::Upkeep, &shutdown, |pulse| async move {
            pulse.beat(Some("a table is missing".to_owned()));
            told.notified().await;
            pulse.beat(None);
            until.begun().await;
        });
        tokio::join!(keep, async {
            let down = wait_until(&supervisor, |state| state.problem.is_some()).await;
            assert_eq!(down, TaskState { restarts: 0, problem: Some("a table is missing".to_owned()) });
            told.notify_one();
            wait_until(&supervisor, |state| state.problem.is_none()).await;
            shutdown.begin();
        });
    }
}
