//! Executes runs: claims tasks and executes many at once, until none is left.

use std::{collections::HashMap, sync::Arc, time::Duration};

use records::{Service, error_chain, panic_message, timestamp};
use store::{
    memory_budget::{MemoryBudget, Reservation},
    postgres::runs::{ClaimedTask, Run, RunState, TaskKind},
    storage::StorageError,
};
use tokio::{
    sync::watch,
    task::{self, JoinError, JoinSet},
};
use uuid::Uuid;

use super::{
    Runs, Shutdown,
    execution::Execution,
    json,
    lanes::Lanes,
    plan::{RunBudget, RunPlan, executable, spent, stored},
    postponed::{Failure, PostponedRuns},
    ready::{Ready, TaskAbort},
    recorder::{Recorder, Worker},
};
use crate::{
    engine::{RunError, metric::Metric},
    provider::limits::Budget,
};

/// Active and postponed runs of one process.
#[derive(Default)]
struct ActiveRuns {
    runs: JoinSet<Result<RunState, RunError>>,
    /// The run that each of our tasks executes.
    active: HashMap<task::Id, Uuid>,
    postponed: PostponedRuns,
}

/// Memory limit for the plans of active runs. Small ones do not count.
const PLANS_BYTES: usize = 32 << 20;
const SMALL_PLAN_BYTES: usize = 64 << 10;
/// Copies of a plan in memory: as stored, as parsed, and as metrics.
const PLAN_COPIES: usize = 4;

/// Permanent failures of a run before it is stopped.
const MAX_FAILURES: u32 = 5;

/// The memory limit of plans.
pub(super) fn plan_memory() -> MemoryBudget {
    MemoryBudget::new(PLANS_BYTES)
}

impl Runs {
    /// Executes all running runs until `shutdown`, and finishes tasks in progress. A run that this process cannot
    /// execute, or that panics, does not affect others. Calls `looked` after each search for runs, with the error if it
    /// failed.
    pub async fn work_on_all(&self, shutdown: &Shutdown, looked: impl Fn(Option<String>)) {
        /// Most runs at once; others wait.
        const RUNS: usize = 100;
        let mut working = ActiveRuns::default();
        loop {
            // A standby has the runs of the primary, where they are executed. It may be promoted.
            if !self.database().accepts_writes().await {
                looked(Some("the database server accepts no writes at present".to_owned()));
                tokio::select! {
                    () = shutdown.begun() => break,
                    () = tokio::time::sleep(self.config.poll) => continue,
                }
            }
            let mut but = working.postponed.waiting();
            but.extend(working.active.values());
            let more = RUNS.saturating_sub(working.active.len());
            match self.database().running_runs(&but, u32::try_from(more).unwrap_or(u32::MAX)).await {
                Ok(ids) => {
                    looked(None);
                    for id in ids {
                        let (runs, shutdown) = (self.clone(), shutdown.clone());
                        let task = working.runs.spawn(async move { runs.work_on(id, &shutdown).await });
                        working.active.insert(task.id(), id);
                    }
                }
                Err(error) => {
                    let reason = error_chain(&error);
                    tracing::warn!(error = reason, "failed to list runs");
                    looked(Some(format!("failed to list runs: {reason}")));
                }
            }
            tokio::select! {
                () = shutdown.begun() => break,
                () = self.woken.notified() => working.postponed.retry_all(),
                () = self.judging.models.registered() => working.postponed.retry_all(),
                () = tokio::time::sleep(self.config.poll) => {}
                Some(ended) = working.runs.join_next_with_id() => self.handle_end(&mut working, ended).await,
            }
        }
        while let Some(ended) = working.runs.join_next_with_id().await {
            self.handle_end(&mut working, ended).await;
        }
    }

    /// Handles the end of a run's execution. After a permanent failure the run is stopped, so that its reason is
    /// visible and no process executes it again until it is resumed.
    async fn handle_end(
        &self,
        working: &mut ActiveRuns,
        ended: Result<(task::Id, Result<RunState, RunError>), JoinError>,
    ) {
        let (task, ended) = match ended {
            Ok((task, ended)) => (task, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        let Some(id) = working.active.remove(&task) else { return };
        let stop_reason = match ended {
            Ok(Ok(_)) => {
                working.postponed.forget(id);
                return;
            }
            Ok(Err(error)) => {
                let failure = match &error {
                    RunError::Failed(_) => Failure::Permanent,
                    // A key, a model or a database may become available later.
                    RunError::Unavailable(_)
                    | RunError::Refused { .. }
                    | RunError::Conflict { .. }
                    | RunError::NotFound { .. } => Failure::Transient,
                };
                let reason = error_chain(&error);
                let (is_new, failures) =
                    working.postponed.postpone(id, failure, reason.clone(), self.config.poll);
                if is_new {
                    tracing::error!(run = %id, error = reason, "this process cannot execute a run; retrying later");
                }
                if failures < MAX_FAILURES {
                    return;
                }
                reason
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => format!("its execution panicked: {}", panic_message(panic)),
                // Cancelled at the exit of the process.
                Err(_) => return,
            },
        };
        tracing::error!(run = %id, reason = stop_reason, "a run stops");
        working.postponed.forget(id);
        let stopped = self.database().end_run(id, RunState::Stopped, Some(&stop_reason)).await;
        if let Err(error) = stopped {
            // It will be executed again, and then stopped.
            let reason = error.to_string();
            working.postponed.postpone(id, Failure::Permanent, reason, self.config.poll);
            tracing::error!(run = %id, error = %error, "failed to stop a run");
        }
    }

    /// Executes the run `id` until it is no longer running, or until `shutdown`; finishes tasks in progress. Returns
    /// the state of the run.
    ///
    /// # Errors
    /// When there is no such run, this process cannot execute it, or PostgreSQL fails.
    pub async fn work_on(&self, id: Uuid, shutdown: &Shutdown) -> Result<RunState, RunError> {
        // The future is large.
        Box::pin(self.work(id, shutdown)).await
    }

    async fn work(&self, id: Uuid, shutdown: &Shutdown) -> Result<RunState, RunError> {
        let run = self.find(id).await?;
        if run.state != RunState::Running {
            return Ok(run.state);
        }
        let mut held = Reservation::default();
        if run.plan.len() > SMALL_PLAN_BYTES {
            // It is retried, and waits without its plan.
            let enlarged =
                self.plan_memory.try_enlarge(&mut held, run.plan.len().saturating_mul(PLAN_COPIES));
            enlarged
                .map_err(|none| StorageError::Unavailable { service: Service::Judge, source: none.into() })?;
        }
        let planned = match Planned::read(&run) {
            Ok(planned) => planned,
            Err(reason) => {
                tracing::error!(run = %id, reason, "a run stops");
                return self.ended(id, Ending::Stop(reason)).await;
            }
        };
        let worker = Worker { run: id, id: Uuid::new_v4(), models: planned.models };
        let (execution, recording) = self.open(&run, planned, worker).await?;
        let recording = tokio::spawn(recording);
        let state = self.execute(execution, worker, shutdown).await;
        if let Err(error) = recording.await {
            tracing::error!(run = %id, error = %error, "the recorder of a run failed");
        }
        self.measured("leave_run", self.database().leave_run(id, worker.id)).await?;
        state
    }

    /// Resolves the names of the plan.
    async fn open(
        &self,
        run: &Run,
        planned: Planned,
        worker: Worker,
    ) -> Result<(Execution, impl Future<Output = ()> + Send + 'static), RunError> {
        let Planned { plan, budget, metrics, models: _ } = planned;
        let models = &self.judging.models;
        let (mut asked, mut judges) = (Vec::new(), Vec::new());
        for model in &plan.models {
            asked.push(models.choose("models", &model.id, Some(&model.provider)).await?);
        }
        for judge in &plan.judges {
            judges.push(models.choose("judge_models", &judge.id, Some(&judge.provider)).await?);
        }
        let worked = (timestamp::now() - run.began_at).try_into().unwrap_or(Duration::ZERO);
        let budget = Arc::new(Budget::new(budget.allowance(), spent(run.used, worked)));
        let (database, pulse) = (self.database().clone(), self.recording.clone());
        let (recorder, recording) = Recorder::new(database, worker, Arc::clone(&budget), pulse);
        let execution = Execution {
            run: run.id,
            models: Arc::clone(models),
            asked,
            judges,
            metrics,
            outputs: self.judging.outputs.clone(),
            budget,
            recorder,
            metadata_bytes: json(&plan.metadata).len(),
            is_ending: watch::Sender::new(false),
            plan,
        };
        Ok((execution, recording))
    }

    async fn execute(
        &self,
        execution: Execution,
        worker: Worker,
        shutdown: &Shutdown,
    ) -> Result<RunState, RunError> {
        let execution = Arc::new(execution);
        let mut tasks: JoinSet<Result<(), TaskAbort>> = JoinSet::new();
        let mut running: HashMap<task::Id, RunningTask> = HashMap::new();
        let mut lanes = Lanes::new(self.config);
        // One at a time, and as a separate task: it locks the run's row, for which the loop waits too.
        let mut claiming: JoinSet<Claimed> = JoinSet::new();
        // Why no more tasks start.
        let mut ending: Option<Ending> = None;
        let mut heartbeat = tokio::time::interval(self.config.lease / 3);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.renew_lease(worker).await?;
        loop {
            if ending.is_some() {
                // Other workers may claim what it claims after this worker has left the run.
                claiming.shutdown().await;
                lanes.clear();
                execution.is_ending.send_replace(true);
            } else if claiming.is_empty() {
                let wanted = lanes.wanted();
                if !wanted.is_empty() {
                    let (runs, execution) = (self.clone(), Arc::clone(&execution));
                    claiming.spawn(async move {
                        let tasks = runs.claim(&execution, worker, &wanted).await;
                        Claimed { wanted, tasks }
                    });
                }
            }
            while let Some((kind, next)) = lanes.next() {
                let (runs, execution, task) = (self.clone(), Arc::clone(&execution), Arc::clone(&next.task));
                let begun = tasks.spawn(async move { runs.work_on_task(&execution, worker, next).await });
                running.insert(begun.id(), RunningTask { task, lane: Some(kind) });
            }
            if tasks.is_empty() && claiming.is_empty() {
                if let Some(ending) = ending {
                    return self.ended(worker.run, ending).await;
                }
                let completed = self
                    .measured("complete_run", self.database().complete_run(worker.run, worker.models))
                    .await?;
                match completed {
                    Some(RunState::Running) => {}
                    _ => return self.ended(worker.run, Ending::Run).await,
                }
            }
            tokio::select! {
                Some(claimed) = claiming.join_next() => match claimed {
                    Ok(Claimed { wanted, tasks: Ok(Some(claimed)) }) => lanes.fill(&wanted, claimed),
                    Ok(Claimed { tasks: Ok(None), .. }) => ending = Some(Ending::Run),
                    Ok(Claimed { wanted, tasks: Err(RunError::Unavailable(_)) }) => {
                        lanes.fill(&wanted, Vec::new());
                    }
                    Ok(Claimed { tasks: Err(error), .. }) => ending = Some(Ending::Failed(error)),
                    Err(error) => ending = Some(Ending::Stop(format!("claiming its tasks failed: {error}"))),
                },
                Some(ended) = tasks.join_next_with_id() => {
                    let (id, ended) = match ended {
                        Ok((id, ended)) => (id, ended),
                        Err(error) => (error.id(), Err(TaskAbort::Fails(panic_of(error)))),
                    };
                    // Every spawned task was inserted.
                    let Some(RunningTask { task, lane }) = running.remove(&id) else { continue };
                    if let Some(kind) = lane {
                        lanes.ended(kind);
                    }
                    match (ended, lane) {
                        (Ok(()) | Err(TaskAbort::Lost), _) => {}
                        (Err(TaskAbort::Ended), _) => ending = ending.or(Some(Ending::Run)),
                        (Err(TaskAbort::Fails(reason)), Some(_)) => {
                            let (execution, failed) = (Arc::clone(&execution), Arc::clone(&task));
                            let failure = tasks.spawn(async move { execution.fail(&failed, &reason).await });
                            running.insert(failure.id(), RunningTask { task, lane: None });
                        }
                        (Err(TaskAbort::Stop(reason)), _) => ending = stopping(ending, worker, reason),
                        (Err(TaskAbort::Fails(reason)), None) => {
                            let reason = format!("failed to record the failure of task {}: {reason}", task.number);
                            ending = stopping(ending, worker, reason);
                        }
                    }
                }
                _ = heartbeat.tick() => {
                    match self.renew_lease(worker).await {
                        Ok(Some(RunState::Running)) => {}
                        Ok(_) => ending = ending.or(Some(Ending::Run)),
                        Err(error) => tracing::warn!(run = %worker.run, error = %error_chain(&error), "failed to renew a lease"),
                    }
                }
                () = shutdown.begun(), if ending.is_none() => ending = Some(Ending::Shutdown),
                () = tokio::time::sleep_until(lanes.next_claim()), if ending.is_none() && claiming.is_empty() => {}
            }
        }
    }

    async fn renew_lease(&self, worker: Worker) -> Result<Option<RunState>, RunError> {
        let held = self.database().hold_run(worker.run, worker.id, self.config.lease);
        self.measured("hold_run", held).await
    }

    /// Records why the run ends, if this worker decides it; returns the run's state.
    async fn ended(&self, run: Uuid, ending: Ending) -> Result<RunState, RunError> {
        match ending {
            Ending::Run | Ending::Shutdown => {}
            Ending::Stop(reason) => {
                let ended = self.database().end_run(run, RunState::Stopped, Some(&reason));
                self.measured("end_run", ended).await?;
            }
            Ending::Failed(error) => return Err(error),
        }
        Ok(self.find(run).await?.state)
    }
}

/// The outcome of claiming.
struct Claimed {
    wanted: Vec<(TaskKind, usize)>,
    /// `None` if the run is not running.
    tasks: Result<Option<Vec<Ready>>, RunError>,
}

/// Why no more tasks start.
enum Ending {
    /// The run is no longer running.
    Run,
    /// The process shuts down.
    Shutdown,
    /// The run cannot continue.
    Stop(String),
    /// This worker cannot continue.
    Failed(RunError),
}

/// A running task and its subject.
struct RunningTask {
    task: Arc<ClaimedTask>,
    /// Its lane; none while its failure is being recorded.
    lane: Option<TaskKind>,
}

fn panic_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("it panicked: {}", panic_message(panic)),
        Err(error) => error.to_string(),
    }
}

fn stopping(ending: Option<Ending>, worker: Worker, reason: String) -> Option<Ending> {
    if ending.is_none() {
        tracing::warn!(run = %worker.run, reason, "a run stops");
    }
    ending.or(Some(Ending::Stop(reason)))
}

/// A stored run, parsed.
struct Planned {
    plan: RunPlan,
    budget: RunBudget,
    metrics: Vec<Metric>,
    /// Number of models in the plan.
    models: u16,
}

impl Planned {
    /// # Errors
    /// Why no process of this version can execute the run.
    fn read(run: &Run) -> Result<Self, String> {
        if let Some(problem) = run.problems.first() {
            return Err(format!("its row cannot be read: {problem}"));
        }
        let ((plan, metrics), budget) = (executable(run)?, stored("allowance", &run.allowance)?);
        let shape = plan.shape().map_err(|error| format!("its plan cannot be executed: {error}"))?;
        Ok(Self { budget, metrics, models: shape.models, plan })
    }
}
