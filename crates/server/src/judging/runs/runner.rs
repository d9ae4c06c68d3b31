//! Works on runs: claims tasks, does many at once, and goes on until nothing is left to do.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use ::records::Service;
use judge::provider::limits::Budget;
use store::{
    postgres::runs::{Claims, Run, RunState, TaskKind},
    storage::StorageError,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    Runs,
    lanes::Lanes,
    plan::{RunBudget, RunPlan, spent},
    recorder::{Recorder, Worker},
    task::{Execution, Ready, Undone},
};
use crate::{
    answer::{ApiError, now},
    judging::plan::Metric,
    listener::Shutdown,
};

/// How runs are worked on.
#[derive(Clone, Copy, Debug)]
pub struct RunnerConfig {
    /// Answers of one run, and as many judgements, that are under way at once. Models' own limits hold back more; some
    /// wait to be written down.
    pub tasks_at_once: usize,
    /// How long a worker that does not show counts as alive. Others take its tasks then, and a call that it had under way
    /// is made again.
    pub lease: Duration,
    /// How often is looked for runs of other processes, and for tasks that they left.
    pub poll: Duration,
}

impl Default for RunnerConfig {
    fn default() -> Self {
        Self { tasks_at_once: 64, lease: Duration::from_secs(30), poll: Duration::from_secs(1) }
    }
}

impl Runs {
    /// Works on every run that is running, until `shutdown`. What is under way then is finished.
    pub async fn work_on_all(&self, shutdown: &Shutdown) {
        /// Runs that are looked at; the others' turn comes.
        const RUNS: u32 = 100;
        let mut working: JoinSet<(Uuid, Result<RunState, ApiError>)> = JoinSet::new();
        let mut at_work: HashSet<Uuid> = HashSet::new();
        // Runs of models for which this process has no key: another may have it, and theirs is the run.
        let mut others: HashSet<Uuid> = HashSet::new();
        loop {
            match self.database().runs(Some(RunState::Running), None, RUNS).await {
                Ok(runs) => {
                    for Run { id, .. } in runs {
                        if !others.contains(&id) && at_work.insert(id) {
                            let (runs, shutdown) = (self.clone(), shutdown.clone());
                            working.spawn(async move { (id, Box::pin(runs.work(id, &shutdown)).await) });
                        }
                    }
                }
                Err(error) => tracing::warn!(error = %error, "runs cannot be looked for"),
            }
            tokio::select! {
                () = shutdown.begun() => break,
                () = self.woken.notified() => {}
                () = tokio::time::sleep(self.config.poll) => {}
                Some(ended) = working.join_next() => {
                    let (id, ended) = ended.expect("work on a run does not panic");
                    at_work.remove(&id);
                    if let Err(error) = ended {
                        tracing::error!(run = %id, error = %error.chain(), "this process cannot work on a run");
                        if matches!(error, ApiError::Invalid { .. }) {
                            others.insert(id);
                        }
                        // It is not taken up again at once.
                        tokio::time::sleep(self.config.poll).await;
                    }
                }
            }
        }
        while working.join_next().await.is_some() {}
    }

    /// Works on the run `id` until it is not running any more, or until `shutdown`; what is under way then is finished.
    /// The state that the run has then.
    pub(super) async fn work(&self, id: Uuid, shutdown: &Shutdown) -> Result<RunState, ApiError> {
        let run = self.find(id).await?;
        if run.state != RunState::Running {
            return Ok(run.state);
        }
        let worker = Worker { run: id, id: Uuid::new_v4(), models: plan(&run)?.shape().models };
        let (execution, recording) = self.open(&run, worker).await?;
        let recording = tokio::spawn(recording);
        let state = self.execute(execution, worker, shutdown).await;
        recording.await.expect("the recorder does not panic");
        self.measured("leave_run", self.database().leave_run(id, worker.id)).await?;
        state
    }

    /// Finds everything that the plan names.
    async fn open(
        &self,
        run: &Run,
        worker: Worker,
    ) -> Result<(Execution, impl Future<Output = ()> + Send + 'static), ApiError> {
        let plan = plan(run)?;
        let process = self.outputs.process();
        let models = &self.judging.models;
        let (mut asked, mut judges) = (Vec::new(), Vec::new());
        for model in &plan.models {
            asked.push(models.choose("models", &model.id, Some(&model.provider), process).await?);
        }
        for judge in &plan.judges {
            judges.push(models.choose("judge_models", &judge.id, Some(&judge.provider), process).await?);
        }
        let metrics = plan.metrics.iter().map(|metric| Metric::planned(metric, plan.mode.into()));
        let metrics = metrics
            .collect::<Result<_, _>>()
            .map_err(|error| ApiError::invalid("metrics", error.to_string()))?;
        let allowance: RunBudget = stored(&run.allowance)?;
        let worked = (now() - run.began_at).try_into().unwrap_or(Duration::ZERO);
        let budget = Arc::new(Budget::new(allowance.allowance(), spent(run.used, worked)));
        let (recorder, recording) = Recorder::new(self.database().clone(), worker, Arc::clone(&budget));
        let execution = Execution {
            run: run.id,
            models: Arc::clone(models),
            asked,
            judges,
            metrics,
            outputs: self.outputs.clone(),
            budget,
            recorder,
            plan,
        };
        Ok((execution, recording))
    }

    async fn execute(
        &self,
        execution: Execution,
        worker: Worker,
        shutdown: &Shutdown,
    ) -> Result<RunState, ApiError> {
        let execution = Arc::new(execution);
        let mut tasks: JoinSet<(TaskKind, Result<(), Undone>)> = JoinSet::new();
        let mut lanes = Lanes::new(self.config);
        // One at a time, and a task of its own: it holds the run's row, which the loop waits for too.
        let mut claiming: JoinSet<Claimed> = JoinSet::new();
        // Why no more tasks are begun.
        let mut ending: Option<Ending> = None;
        let mut heartbeat = tokio::time::interval(self.config.lease / 3);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.hold(worker).await?;
        loop {
            if ending.is_some() {
                // What it would still claim is anybody's once this worker has left the run.
                claiming.shutdown().await;
                lanes.clear();
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
                let execution = Arc::clone(&execution);
                tasks.spawn(async move { (kind, execution.work(next).await) });
            }
            if tasks.is_empty() && claiming.is_empty() {
                if let Some(ending) = ending {
                    return self.ended(worker.run, ending).await;
                }
                let completed =
                    self.measured("complete_run", self.database().complete_run(worker.run)).await?;
                match completed {
                    Some(RunState::Running) => {}
                    _ => return self.ended(worker.run, Ending::Run).await,
                }
            }
            tokio::select! {
                Some(claimed) = claiming.join_next() => {
                    let Claimed { wanted, tasks } = claimed.expect("claiming does not panic");
                    match tasks {
                        Ok(Some(claimed)) => lanes.fill(&wanted, claimed),
                        Ok(None) => ending = Some(Ending::Run),
                        Err(ApiError::Storage(StorageError::Unavailable { .. })) => lanes.fill(&wanted, Vec::new()),
                        Err(error) => ending = Some(Ending::Failed(error)),
                    }
                }
                Some(ended) = tasks.join_next() => {
                    let (kind, ended) = ended.expect("tasks do not panic");
                    lanes.ended(kind);
                    match ended {
                        Ok(()) | Err(Undone::Lost) => {}
                        Err(Undone::Ended) => ending = ending.or(Some(Ending::Run)),
                        Err(Undone::Stop(reason)) => {
                            if ending.is_none() {
                                tracing::warn!(run = %worker.run, reason, "a run stops");
                            }
                            ending = ending.or(Some(Ending::Stop(reason)));
                        }
                    }
                }
                _ = heartbeat.tick() => {
                    match self.hold(worker).await {
                        Ok(Some(RunState::Running)) => {}
                        Ok(_) => ending = ending.or(Some(Ending::Run)),
                        Err(error) => tracing::warn!(run = %worker.run, error = %error.chain(), "a lease was not renewed"),
                    }
                }
                () = shutdown.begun(), if ending.is_none() => ending = Some(Ending::Shutdown),
                () = tokio::time::sleep_until(lanes.looks_at()), if ending.is_none() && claiming.is_empty() => {}
            }
        }
    }

    /// Tasks for this worker, with verdicts that are known already; `None` if the run is not running.
    async fn claim(
        &self,
        execution: &Execution,
        worker: Worker,
        wanted: &[(TaskKind, usize)],
    ) -> Result<Option<Vec<Ready>>, ApiError> {
        let claimed = self.database().claim_run_tasks(worker.run, worker.id, worker.models, wanted);
        let Claims { state, tasks } = self.measured("claim_tasks", claimed).await?;
        if state != Some(RunState::Running) {
            return Ok(None);
        }
        let mut ready: Vec<Ready> = tasks
            .into_iter()
            .map(|task| Ready { inquiry: execution.inquiry(&task), task, earlier: None })
            .collect();
        let fingerprint =
            |ready: &Ready| ready.inquiry.as_ref().map(|inquiry| inquiry.fingerprint.to_string());
        if execution.plan.uses_cache {
            let fingerprints: Vec<String> = ready.iter().filter_map(fingerprint).collect();
            if !fingerprints.is_empty() {
                let found = self.database().earlier_verdicts(&fingerprints);
                let found = self.measured("find_verdicts", found).await?;
                let found: HashMap<String, _> =
                    found.into_iter().map(|verdict| (verdict.fingerprint.clone(), verdict)).collect();
                for ready in &mut ready {
                    ready.earlier =
                        fingerprint(ready).and_then(|fingerprint| found.get(&fingerprint).cloned());
                }
            }
        }
        Ok(Some(ready))
    }

    async fn hold(&self, worker: Worker) -> Result<Option<RunState>, ApiError> {
        let held = self.database().hold_run(worker.run, worker.id, self.config.lease);
        self.measured("hold_run", held).await
    }

    /// Writes down why the run ends, if it is for us to say; its state.
    async fn ended(&self, run: Uuid, ending: Ending) -> Result<RunState, ApiError> {
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

    pub(super) async fn measured<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, ApiError> {
        Ok(self.outputs.process().measured(Service::Judge, operation, work).await?)
    }
}

/// What came of claiming.
struct Claimed {
    wanted: Vec<(TaskKind, usize)>,
    /// `None` if the run is not running.
    tasks: Result<Option<Vec<Ready>>, ApiError>,
}

/// Why no more tasks are begun.
enum Ending {
    /// The run is not running any more.
    Run,
    /// This process is to end.
    Shutdown,
    /// The run cannot go on.
    Stop(String),
    /// This worker cannot go on.
    Failed(ApiError),
}

fn plan(run: &Run) -> Result<RunPlan, ApiError> {
    stored(&run.plan)
}

/// Reads what a process of ours has written.
pub(super) fn stored<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, ApiError> {
    serde_json::from_str(json).map_err(|error| {
        ApiError::invalid("plan", format!("it was written by another version of Panopticon: {error}"))
    })
}
