//! A worker's claimed tasks, and the memory of their texts: a query, a metric or an answer may have megabytes, and
//! all runs of a process together have thousands of tasks under way.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use records::{error_chain, panic_message};
use store::{
    postgres::{
        EarlierVerdict,
        runs::{ClaimedTask, Claims, RunState, TaskKind, TaskWork},
    },
    room::{Held, Room},
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
/// Texts of a task that do not count.
const UNCOUNTED_BYTES: usize = 2 << 10;
/// How often a text is in memory while its task is done: as it was read, in a prompt, in a request, in a result, and in
/// what is sent to PostgreSQL.
const COPIES: usize = 6;

/// Why a task is abandoned.
#[derive(Debug)]
pub(super) enum TaskAbort {
    /// Another worker has claimed it.
    Lost,
    /// The run was ended.
    Ended,
    /// The run cannot go on, for this reason.
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
                    // It was waited for, and more calls would bring what nobody can keep.
                    StorageError::Unavailable { .. } => Self::Stop(reason),
                    // It was written by itself: what is wrong is the task's.
                    _ => Self::Fails(reason),
                }
            }
            RecordError::Panic { .. } => Self::Fails(error.to_string()),
        }
    }
}

/// A task, and what is known of it before it starts.
pub(super) struct Ready {
    pub(super) task: Arc<ClaimedTask>,
    /// `None` if its texts are read when it starts.
    pub(super) content: Option<Content>,
}

/// What a task is about.
pub(super) struct Content {
    /// What the judge will be asked, if the task is a judgement and there is something to judge; or why it cannot be asked.
    pub(super) prompt: Result<Option<JudgePrompt>, String>,
    /// A verdict on the same question by the same judge.
    pub(super) earlier: Option<EarlierVerdict>,
    /// The memory that it takes.
    pub(super) held: Held,
}

/// The memory limit of tasks.
pub(super) fn tasks_room() -> Room {
    Room::new(TASKS_BYTES)
}

impl Runs {
    /// Tasks for this worker, with verdicts that are known already; `None` if the run is not running.
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
                let mut held = Held::default();
                let has_room = bytes <= UNCOUNTED_BYTES
                    || self.room.try_enlarge(&mut held, bytes.saturating_mul(COPIES)).is_ok();
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

    /// Does a task, and writes down that it is done. One whose texts are not read waits for the memory that they need.
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
            held = self.room.hold(bytes) => held,
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
            // Whoever else writes it down does not have its texts.
            Err(TaskAbort::Fails(reason)) => execution.fail(&task, &reason).await,
            done => done,
        }
    }

    /// The task with all its texts, if it is this worker's. The database is waited for.
    async fn read(&self, worker: Worker, number: i64) -> Result<Option<ClaimedTask>, TaskAbort> {
        const PAUSE: Duration = Duration::from_secs(1);
        /// Then the run stops, and can be resumed.
        const ATTEMPTS: u32 = 120;
        for attempt in 1.. {
            match self.database().claimed_run_task(worker.run, worker.id, worker.models, number).await {
                Ok(task) => return Ok(task),
                Err(StorageError::Unavailable { .. }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error @ StorageError::Unavailable { .. }) => {
                    return Err(TaskAbort::Stop(format!("a task was not read: {}", error_chain(&error))));
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
    /// A task whose texts are there, and what it asks. The others of the claim are no worse for it if that panics.
    fn ready(&self, task: ClaimedTask, held: Held) -> Ready {
        let prompt = catch_unwind(AssertUnwindSafe(|| self.prompt(&task)))
            .unwrap_or_else(|panic| Err(format!("asking the judge panicked: {}", panic_message(panic))));
        Ready { task: Arc::new(task), content: Some(Content { prompt, earlier: None, held }) }
    }

    /// Bytes of the texts that the task needs: its own, and those of the plan that it copies.
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
