//! A worker's claimed tasks, and the memory of their texts: a query, a metric or an answer may have megabytes, and
//! all runs of a process together have thousands of tasks in progress.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use records::{error_chain, panic_message};
use store::{
    memory_budget::{MemoryBudget, Reservation},
    postgres::{
        EarlierVerdict,
        runs::{ClaimedTask, Claims, RunState, TaskKind, TaskWork},
    },
    storage::StorageError,
};

use super::{
    Runs,
    execution::Execution,
    recorder::{RecordError, Worker},
};
use crate::engine::{RunError, judgement::JudgePrompt};

/// Memory limit for the tasks of all runs of a process. Small ones do not count.
const TASKS_BYTES: usize = 64 << 20;
/// Size of a task's texts that does not count.
const UNCOUNTED_BYTES: usize = 2 << 10;
/// Copies of a text in memory during its task: as read, in a prompt, in a request, in a result, and in the message to
/// PostgreSQL.
const COPIES: usize = 6;

/// Why a task is abandoned.
#[derive(Debug)]
pub(super) enum TaskAbort {
    /// Another worker has claimed it.
    Lost,
    /// The run was ended.
    Ended,
    /// The run cannot continue, for this reason.
    Stop(String),
    /// It fails, for this reason, which is not recorded yet.
    Fails(String),
}

impl From<RecordError> for TaskAbort {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Lost => Self::Lost,
            RecordError::Ended => Self::Ended,
            RecordError::Usage { .. } => Self::Stop(error.to_string()),
            RecordError::Storage(ref cause) => {
                let reason = format!("{error}: {}", error_chain(&**cause));
                match **cause {
                    // Retries timed out, and the answers of more calls could not be recorded.
                    StorageError::Unavailable { .. } => Self::Stop(reason),
                    // It was written alone, so the problem is in this task.
                    _ => Self::Fails(reason),
                }
            }
            RecordError::Panic { .. } => Self::Fails(error.to_string()),
        }
    }
}

/// A task that can start, and the inputs that it needs.
pub(super) struct Ready {
    pub(super) task: Arc<ClaimedTask>,
    /// `None` if its texts are read when it starts.
    pub(super) content: Option<Content>,
}

/// The content of a task.
pub(super) struct Content {
    /// The prompt for the judge, if the task is a judgement and its outputs exist; or why it cannot be created.
    pub(super) prompt: Result<Option<JudgePrompt>, String>,
    /// A verdict on the same question by the same judge.
    pub(super) earlier: Option<EarlierVerdict>,
    /// Its memory reservation.
    pub(super) held: Reservation,
}

/// The memory limit of tasks.
pub(super) fn task_memory() -> MemoryBudget {
    MemoryBudget::new(TASKS_BYTES)
}

impl Runs {
    /// Claims tasks for this worker, with known verdicts; `None` if the run is not running.
    pub(super) async fn claim(
        &self,
        execution: &Execution,
        worker: Worker,
        wanted: &[(TaskKind, usize)],
    ) -> Result<Option<Vec<Ready>>, RunError> {
        let claimed = self.database().claim_run_tasks(worker.run, worker.id, worker.models, wanted);
        let Claims { state, tasks } = self.measured("claim_tasks", claimed).await?;
        if state != Some(RunState::Running) {
            return Ok(None);
        }
        let mut ready: Vec<Ready> = tasks
            .into_iter()
            .map(|task| {
                let (is_read, bytes) =
                    (!matches!(task.work, TaskWork::Unread { .. }), execution.bytes(&task));
                let mut held = Reservation::default();
                let has_room = bytes <= UNCOUNTED_BYTES
                    || self.task_memory.try_enlarge(&mut held, bytes.saturating_mul(COPIES)).is_ok();
                if is_read && has_room {
                    execution.ready(task, held)
                } else {
                    Ready { task: Arc::new(task.unread()), content: None }
                }
            })
            .collect();
        self.find_verdicts(execution, &mut ready).await?;
        Ok(Some(ready))
    }

    /// Executes a task and records it. A task whose texts are not read yet waits for memory.
    pub(super) async fn work_on_task(
        &self,
        execution: &Execution,
        worker: Worker,
        ready: Ready,
    ) -> Result<(), TaskAbort> {
        if ready.content.is_some() {
            return execution.work(ready).await;
        }
        let bytes = execution.bytes(&ready.task).saturating_mul(COPIES);
        let held = tokio::select! {
            held = self.task_memory.reserve(bytes) => held,
            () = execution.ending() => return Err(TaskAbort::Ended),
        };
        let Some(task) = self.read(worker, ready.task.number).await? else { return Err(TaskAbort::Lost) };
        let mut ready = [execution.ready(task, held)];
        let found = self.find_verdicts(execution, &mut ready).await;
        let [ready] = ready;
        let task = Arc::clone(&ready.task);
        let done = match found {
            Ok(()) => execution.work(ready).await,
            Err(error) => Err(TaskAbort::Fails(error_chain(&error))),
        };
        match done {
            // Another worker that records it lacks its texts.
            Err(TaskAbort::Fails(reason)) => execution.fail(&task, &reason).await,
            done => done,
        }
    }

    /// The task with all its texts, if it is this worker's. Waits while the database is unavailable.
    async fn read(&self, worker: Worker, number: i64) -> Result<Option<ClaimedTask>, TaskAbort> {
        const PAUSE: Duration = Duration::from_secs(1);
        /// After that, the run stops, and can be resumed.
        const ATTEMPTS: u32 = 120;
        for attempt in 1.. {
            match self.database().claimed_run_task(worker.run, worker.id, worker.models, number).await {
                Ok(task) => return Ok(task),
                Err(StorageError::Unavailable { .. } | StorageError::Busy) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error @ StorageError::Unavailable { .. }) => {
                    return Err(TaskAbort::Stop(format!("failed to read a task: {}", error_chain(&error))));
                }
                Err(error) => return Err(TaskAbort::Fails(error_chain(&error))),
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Adds verdicts of earlier results.
    async fn find_verdicts(&self, execution: &Execution, ready: &mut [Ready]) -> Result<(), RunError> {
        if !execution.plan.uses_cache {
            return Ok(());
        }
        let fingerprints: Vec<String> =
            ready.iter().filter_map(|ready| ready.content.as_ref()?.fingerprint()).collect();
        if fingerprints.is_empty() {
            return Ok(());
        }
        let found = self.database().earlier_verdicts(&fingerprints);
        let found = self.measured("find_verdicts", found).await?;
        let found: HashMap<String, _> =
            found.into_iter().map(|verdict| (verdict.fingerprint.clone(), verdict)).collect();
        for content in ready.iter_mut().filter_map(|ready| ready.content.as_mut()) {
            content.earlier = content.fingerprint().and_then(|fingerprint| found.get(&fingerprint).cloned());
        }
        Ok(())
    }
}

impl Execution {
    /// A task with its texts and its prompt. A panic does not affect other tasks of the claim.
    fn ready(&self, task: ClaimedTask, held: Reservation) -> Ready {
        let prompt = catch_unwind(AssertUnwindSafe(|| self.prompt(&task))).unwrap_or_else(|panic| {
            Err(format!("creating the judge's prompt panicked: {}", panic_message(panic)))
        });
        Ready { task: Arc::new(task), content: Some(Content { prompt, earlier: None, held }) }
    }

    /// Size of the texts that the task needs: its own, and those of the plan that it copies.
    fn bytes(&self, task: &ClaimedTask) -> usize {
        let own = usize::try_from(task.bytes).unwrap_or(usize::MAX);
        let metric = match &task.work {
            TaskWork::Judgement { metric, .. } => Some(*metric),
            TaskWork::Unread { metric, .. } => *metric,
            TaskWork::Answer { .. } | TaskWork::Broken { .. } => None,
        };
        let metric = metric.and_then(|metric| self.metrics.get(usize::from(metric)));
        let of_plan = match task.work.kind() {
            TaskKind::Answer => self.metadata_bytes,
            TaskKind::Judgement => metric.map_or(0, |metric| metric.rubric.text().len()),
        };
        own.saturating_add(of_plan)
    }
}

impl Content {
    fn fingerprint(&self) -> Option<String> {
        let prompt = self.prompt.as_ref().ok()?.as_ref()?;
        Some(prompt.fingerprint.to_string())
    }
}
