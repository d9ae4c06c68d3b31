//! One task of a run: a call to a model, and what is written down of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use judge::{
    outcome::Outcome,
    provider::{
        Completion, Error, Kind,
        limits::{AttemptLog, Budget, CallError},
    },
    registry::Model,
    rubric::Outputs as Shown,
};
use serde_json::{Map, Value};
use store::{
    postgres::{
        EarlierVerdict, EvaluationResult,
        runs::{
            AttemptBegun, AttemptEnded, COMPLETED, ClaimedTask, KeptAnswer, ModelAnswer, RunQuery,
            RunRecords, TaskDone, TaskKind, TaskOutcome, TaskWork,
        },
    },
    storage::StorageError,
};
use uuid::Uuid;

use super::{
    plan::RunPlan,
    recorder::{RecordError, Recorder},
};
use crate::{
    answer::{ApiError, chain, now},
    judging::{
        Question,
        judgement::{Inquiry, Judgement, Matter, words},
        models::{Chosen, Models},
        output::{self, NewOutput, latency_ms, output_metadata, whole_text},
        plan::Metric,
    },
    process::Process,
    records::Records,
    wire::Outputs,
};

/// A run with everything found that its plan names.
pub(super) struct Execution {
    pub(super) run: Uuid,
    pub(super) plan: RunPlan,
    pub(super) models: Arc<Models>,
    pub(super) asked: Vec<Chosen>,
    pub(super) judges: Vec<Chosen>,
    pub(super) metrics: Vec<Metric>,
    pub(super) outputs: Records<Outputs>,
    pub(super) budget: Arc<Budget>,
    pub(super) recorder: Recorder,
}

/// A task, and what is known of it before it is begun.
pub(super) struct Ready {
    pub(super) task: Arc<ClaimedTask>,
    /// What the judge will be asked, if the task is a judgement and there is something to judge; or why it cannot be asked.
    pub(super) inquiry: Result<Option<Inquiry>, String>,
    /// A verdict on the same question by the same judge.
    pub(super) earlier: Option<EarlierVerdict>,
}

/// Why a task is not done.
#[derive(Debug)]
pub(super) enum Undone {
    /// It is another worker's.
    Lost,
    /// The run was ended.
    Ended,
    /// The run cannot go on, for this reason.
    Stop(String),
    /// It cannot be done, for this reason, which is not written down yet.
    Fails(String),
}

/// Claims by workers that died of it, as far as one can tell.
const MAX_CLAIMS: u32 = 25;
/// Results' ids are made of their run and task. Part of the data: never change it.
const RESULT_NAMESPACE: Uuid = Uuid::from_u128(0x3d0c_91f4_52b7_4c0e_8a66_2f9e_71d8_b035);

impl Execution {
    pub(super) fn process(&self) -> &Process {
        self.outputs.process()
    }

    /// What the judge will be asked, if the task is a judgement and there is something to judge.
    ///
    /// # Errors
    /// When the task names what the plan does not have, or its metric cannot be asked about its query.
    pub(super) fn inquiry(&self, task: &ClaimedTask) -> Result<Option<Inquiry>, String> {
        let TaskWork::Judgement { answer, opponent, swapped, metric, judge, repeat, .. } = &task.work else {
            return Ok(None);
        };
        let (judge, metric) =
            (named(&self.judges, "judge", *judge)?, named(&self.metrics, "metric", *metric)?);
        if let Some((opponent, _)) = opponent {
            named(&self.plan.models, "model", *opponent)?;
        }
        let ModelAnswer::Output { text, .. } = answer else { return Ok(None) };
        let outputs = match opponent {
            None => Shown::One(text),
            Some((_, ModelAnswer::Output { text: other, .. })) if *swapped => Shown::Two(other, text),
            Some((_, ModelAnswer::Output { text: other, .. })) => Shown::Two(text, other),
            Some((_, ModelAnswer::None(_))) => return Ok(None),
        };
        let question = question(&task.query);
        let matter = Matter { question: &question, outputs, repeat: *repeat };
        let inquiry = Inquiry::new(&judge.model, metric, matter);
        inquiry.map(Some).map_err(|error| format!("metric `{}` cannot be used: {error}", metric.id))
    }

    /// Does a task, and writes down that it is done.
    pub(super) async fn work(&self, ready: Ready) -> Result<(), Undone> {
        let Ready { task, inquiry, earlier } = ready;
        let inquiry = inquiry.map_err(Undone::Fails)?;
        let gave_up = (task.claims > MAX_CLAIMS)
            .then(|| Undone::Fails(format!("given up: {MAX_CLAIMS} workers ended while they were at it")));
        match (&task.work, inquiry, earlier, gave_up) {
            (TaskWork::Answer { .. } | TaskWork::Broken { .. }, _, _, Some(gave_up)) => Err(gave_up),
            (TaskWork::Answer { model, kept }, _, _, None) => self.answer(&task, *model, kept.clone()).await,
            (TaskWork::Broken { reason, .. }, _, _, None) => Err(Undone::Fails(reason.clone())),
            (TaskWork::Judgement { .. }, None, _, _) => self.leave_unanswered(&task).await,
            (TaskWork::Judgement { .. }, Some(inquiry), Some(earlier), _) => {
                self.repeat_verdict(&task, &inquiry, earlier).await
            }
            (TaskWork::Judgement { .. }, Some(_), None, Some(gave_up)) => Err(gave_up),
            (TaskWork::Judgement { .. }, Some(inquiry), None, None) => self.judge(&task, &inquiry).await,
        }
    }

    /// Writes down that a task failed, for `reason`, whatever is wrong with it: so nobody takes it up again.
    pub(super) async fn fail(&self, task: &ClaimedTask, reason: &str) -> Result<(), Undone> {
        tracing::error!(run = %self.run, task = task.number, reason, "a task of a run failed");
        let records = RunRecords::default();
        match task.work.kind() {
            TaskKind::Answer => {
                self.finish(task, records, TaskOutcome::Failed, Some(reason.to_owned()), None).await
            }
            TaskKind::Judgement => {
                let metadata = status(TaskOutcome::Failed, reason);
                self.judged(task, records, TaskOutcome::Failed, None, metadata).await
            }
        }
    }

    async fn answer(
        &self,
        task: &ClaimedTask,
        model: u16,
        kept: Option<(String, String)>,
    ) -> Result<(), Undone> {
        let chosen = named(&self.asked, "model", model).map_err(Undone::Fails)?;
        let question = question(&task.query);
        let (text, metadata) = match kept {
            Some((text, metadata)) => {
                let metadata = serde_json::from_str(&metadata)
                    .map_err(|error| Undone::Fails(format!("the kept answer cannot be read: {error}")))?;
                (text, metadata)
            }
            None => {
                let request = output::request(&chosen.model, &question, self.plan.temperature);
                let mut log = Log::new(self, task, &chosen.model);
                let called = self.models.ask_for_run(chosen, &request, &self.budget, &mut log).await;
                let records = log.unwritten();
                let completion = match self.answered(chosen, called).await? {
                    Ok(completion) => completion,
                    Err(error) => {
                        let declined = error.kind() == Kind::ContentRefused;
                        let outcome = if declined { TaskOutcome::Refused } else { TaskOutcome::Failed };
                        let reason = format!("{}: {error}", error.kind());
                        return self.finish(task, records, outcome, Some(reason), None).await;
                    }
                };
                match whole_text(&completion) {
                    Ok(text) => {
                        let mut metadata = self.plan.metadata.clone();
                        metadata.extend(output_metadata(&chosen.model, &completion));
                        metadata.insert("run_id".to_owned(), self.run.to_string().into());
                        let answer = KeptAnswer {
                            task: task.number,
                            text: text.to_owned(),
                            metadata: Value::Object(metadata.clone()).to_string(),
                        };
                        self.write(task, RunRecords { answers: vec![answer], ..records }).await?;
                        (text.to_owned(), metadata)
                    }
                    Err(none) => {
                        let outcome =
                            if none.is_refusal { TaskOutcome::Refused } else { TaskOutcome::Failed };
                        let reason = format!("{}: {}", none.kind, none.words);
                        return self.finish(task, records, outcome, Some(reason), None).await;
                    }
                }
            }
        };
        let (model_id, theme) = (&chosen.model.id, &task.query.theme);
        let output = NewOutput { model_id, question: &question, theme, text, metadata };
        let (outcome, reason, id) = match self.store(&output, task).await? {
            Ok(id) => (TaskOutcome::Answered, None, Some(id)),
            Err(reason) => (TaskOutcome::Failed, Some(reason), None),
        };
        self.finish(task, RunRecords::default(), outcome, reason, id).await
    }

    /// Stores an output; its id, or why no store can hold it.
    async fn store(
        &self,
        output: &NewOutput<'_>,
        task: &ClaimedTask,
    ) -> Result<Result<String, String>, Undone> {
        /// Between attempts while the store is away or the embedding queue full.
        const PAUSE: Duration = Duration::from_secs(1);
        /// Then the run stops, and can be resumed: the answer is kept.
        const ATTEMPTS: u32 = 120;
        let own_id = self.id_of(task);
        for attempt in 1.. {
            match output.store(&self.outputs, Some(own_id.clone())).await {
                Ok(record) => return Ok(Ok(record.id)),
                Err(ApiError::Invalid { field, reason }) => {
                    return Ok(Err(format!("unstorable: `{field}`: {reason}")));
                }
                Err(error @ ApiError::Conflict { .. }) => return Ok(Err(format!("unstorable: {error}"))),
                Err(error)
                    if error.status() == axum::http::StatusCode::SERVICE_UNAVAILABLE
                        && attempt < ATTEMPTS =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    return Err(Undone::Stop(format!("an output was not stored: {}", error.chain())));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn judge(&self, task: &ClaimedTask, inquiry: &Inquiry) -> Result<(), Undone> {
        let TaskWork::Judgement { metric, judge, swapped, .. } = &task.work else {
            unreachable!("only judgements have inquiries")
        };
        let chosen = named(&self.judges, "judge", *judge).map_err(Undone::Fails)?;
        let metric = named(&self.metrics, "metric", *metric).map_err(Undone::Fails)?;
        let mut log = Log::new(self, task, &chosen.model);
        let called = self.models.ask_for_run(chosen, &inquiry.request, &self.budget, &mut log).await;
        let records = log.unwritten();
        let asked = self.answered(chosen, called).await?;
        let judgement = Judgement::of(&chosen.model, metric, *swapped, asked.as_ref());
        let outcome = match judgement.outcome {
            Outcome::Scored(()) => TaskOutcome::Scored,
            Outcome::Unparsed => TaskOutcome::Unparsed,
            Outcome::Refused => TaskOutcome::Refused,
            Outcome::Failed => TaskOutcome::Failed,
            Outcome::Unanswered => TaskOutcome::Unanswered,
        };
        let mut metadata = judgement.metadata;
        metadata.insert("fingerprint".to_owned(), inquiry.fingerprint.to_string().into());
        self.judged(task, records, outcome, judgement.score, metadata).await
    }

    /// The same question had a verdict before.
    async fn repeat_verdict(
        &self,
        task: &ClaimedTask,
        inquiry: &Inquiry,
        earlier: EarlierVerdict,
    ) -> Result<(), Undone> {
        let EarlierVerdict { id, score, mut metadata, .. } = earlier;
        // What this call took is nothing, and what was said of the other run is not said of this.
        for key in ["latency_ms", "input_tokens", "output_tokens", "cost_usd"] {
            metadata.remove(key);
        }
        let outcome = match metadata.get("status").and_then(Value::as_str) {
            Some("scored") => TaskOutcome::Scored,
            Some("refused") => TaskOutcome::Refused,
            _ => TaskOutcome::Unparsed,
        };
        metadata.entry("cached_from").or_insert(id.into());
        metadata.insert("fingerprint".to_owned(), inquiry.fingerprint.to_string().into());
        // The other one's orders may have been the other way round.
        if let (TaskWork::Judgement { swapped, .. }, Some(was_swapped)) =
            (&task.work, metadata.get("swapped").and_then(Value::as_bool))
            && *swapped != was_swapped
        {
            let winner = match metadata.get("winner").and_then(Value::as_str) {
                Some("model") => Some("opponent"),
                Some("opponent") => Some("model"),
                _ => None,
            };
            if let Some(winner) = winner {
                metadata.insert("winner".to_owned(), winner.into());
            }
        }
        self.judged(task, RunRecords::default(), outcome, score, metadata).await
    }

    /// There is nothing to judge.
    async fn leave_unanswered(&self, task: &ClaimedTask) -> Result<(), Undone> {
        let TaskWork::Judgement { answer, opponent, .. } = &task.work else {
            unreachable!("an answer needs none")
        };
        let answers = [Some(answer), opponent.as_ref().map(|(_, answer)| answer)];
        let reasons: Vec<&str> = answers
            .into_iter()
            .flatten()
            .filter_map(|answer| match answer {
                ModelAnswer::None(reason) => Some(reason.as_str()),
                ModelAnswer::Output { .. } => None,
            })
            .collect();
        let metadata = status(TaskOutcome::Unanswered, &reasons.join("; "));
        self.judged(task, RunRecords::default(), TaskOutcome::Unanswered, None, metadata).await
    }

    /// What a call came to; an error that people have to see to stops the run.
    async fn answered(
        &self,
        chosen: &Chosen,
        called: Result<Completion, CallError<RecordError>>,
    ) -> Result<Result<Completion, Error>, Undone> {
        match called {
            Ok(completion) => {
                if let Err(error) = self.models.register_new(chosen, self.process()).await {
                    // The answer counts for more; the next one registers the model.
                    tracing::warn!(model = chosen.model.id, error = %error.chain(), "a model was not registered");
                }
                Ok(Ok(completion))
            }
            Err(CallError::Provider { source, .. }) => match source.kind() {
                Kind::QuotaExhausted
                | Kind::Unauthorized
                | Kind::Forbidden
                | Kind::NotFound
                | Kind::Setup => Err(Undone::Stop(format!("model `{}`: {source}", chosen.model.id))),
                _ => Ok(Err(source)),
            },
            Err(CallError::Budget(exceeded)) => Err(Undone::Stop(exceeded.to_string())),
            Err(CallError::Log(error)) => Err(error.into()),
        }
    }

    /// Writes down a judgement that is done.
    async fn judged(
        &self,
        task: &ClaimedTask,
        mut records: RunRecords,
        outcome: TaskOutcome,
        score: Option<f64>,
        mut metadata: Map<String, Value>,
    ) -> Result<(), Undone> {
        let reason = metadata.get("reason").or(metadata.get("error_kind")).and_then(Value::as_str);
        let reason = reason.map(str::to_owned);
        metadata.insert("run_id".to_owned(), self.run.to_string().into());
        // A verdict that is repeated was on outputs of the other run.
        metadata.remove("output_id");
        metadata.remove("opponent_output_id");
        let mut result = EvaluationResult {
            id: self.id_of(task),
            query_id: task.query.id.clone(),
            query_text: Some(task.query.text.clone()),
            output_text: None,
            model_id: None,
            theme: Some(task.query.theme.clone()),
            evaluation_prompt_id: None,
            evaluation_prompt: None,
            score,
            judge_model: None,
            timestamp: Some(now().into()),
            result_metadata: None,
        };
        if let TaskWork::Judgement { model, answer, opponent, swapped, metric, judge, repeat } = &task.work {
            // What the plan does not have is why the task failed.
            let model_id =
                |place: u16| self.plan.models.get(usize::from(place)).map(|model| model.id.clone());
            let metric = self.metrics.get(usize::from(*metric));
            let (output_id, output_text) = parts(answer);
            if let Some(id) = output_id {
                metadata.insert("output_id".to_owned(), id.into());
            }
            metadata.insert("repeat".to_owned(), (*repeat).into());
            if let Some((opponent, answer)) = opponent {
                metadata.insert("mode".to_owned(), "pairwise".into());
                metadata.insert("opponent".to_owned(), model_id(*opponent).into());
                metadata.insert("swapped".to_owned(), (*swapped).into());
                if let (Some(id), _) = parts(answer) {
                    metadata.insert("opponent_output_id".to_owned(), id.into());
                }
            }
            result.output_text = output_text;
            result.model_id = model_id(*model);
            result.evaluation_prompt_id = metric.map(|metric| metric.id.clone());
            result.evaluation_prompt = metric.map(|metric| metric.rubric.text().to_owned());
            result.judge_model = self.plan.judges.get(usize::from(*judge)).map(|judge| judge.id.clone());
        }
        result.result_metadata = Some(Value::Object(metadata));
        let (task_number, query_place) = (task.number, task.query_place);
        let (output_id, result) = (None, Some(result));
        records.done.push(TaskDone { task: task_number, query_place, outcome, reason, output_id, result });
        self.write(task, records).await
    }

    /// Writes down an answer that is done.
    async fn finish(
        &self,
        task: &ClaimedTask,
        mut records: RunRecords,
        outcome: TaskOutcome,
        reason: Option<String>,
        output_id: Option<String>,
    ) -> Result<(), Undone> {
        let reason = reason.map(|reason| reason.replace('\0', "\u{2400}"));
        let (number, query_place) = (task.number, task.query_place);
        let result = None;
        records.done.push(TaskDone { task: number, query_place, outcome, reason, output_id, result });
        self.write(task, records).await
    }

    async fn write(&self, task: &ClaimedTask, records: RunRecords) -> Result<(), Undone> {
        Ok(self.recorder.write(task.number, records).await?)
    }

    /// The id of what a task makes: always the same, so that nothing is there twice.
    fn id_of(&self, task: &ClaimedTask) -> String {
        let name = format!("{} {}", self.run, task.number);
        Uuid::new_v5(&RESULT_NAMESPACE, name.as_bytes()).to_string()
    }
}

impl From<RecordError> for Undone {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Lost => Self::Lost,
            RecordError::Ended => Self::Ended,
            RecordError::Storage(ref cause) => {
                let reason = format!("{error}: {}", chain(&**cause));
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

/// What a task names by its place in a list of the plan. The place is a number of the database.
fn named<'l, T>(list: &'l [T], noun: &str, place: u16) -> Result<&'l T, String> {
    list.get(usize::from(place)).ok_or_else(|| format!("the run has no {noun} {place}"))
}

fn question(query: &RunQuery) -> Question {
    Question { id: query.id.clone(), text: query.text.clone(), reference: query.reference.clone() }
}

fn parts(answer: &ModelAnswer) -> (Option<String>, Option<String>) {
    match answer {
        ModelAnswer::Output { id, text } => (Some(id.clone()), Some(text.clone())),
        ModelAnswer::None(_) => (None, None),
    }
}

fn status(outcome: TaskOutcome, reason: &str) -> Map<String, Value> {
    let entries = [("status", Value::from(outcome.as_str())), ("reason", words(reason))];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Writes down a task's attempts: each before it is sent, and those that failed when they did. The end of the one that
/// was answered is written together with the answer, so that neither is there without the other.
struct Log<'e> {
    recorder: &'e Recorder,
    task: i64,
    /// Attempts of workers before us.
    before: u32,
    model: &'e Model,
    unwritten: Vec<AttemptEnded>,
}

impl<'e> Log<'e> {
    fn new(execution: &'e Execution, task: &ClaimedTask, model: &'e Model) -> Self {
        let (task, before) = (task.number, task.attempts);
        Self { recorder: &execution.recorder, task, before, model, unwritten: Vec::new() }
    }

    fn unwritten(self) -> RunRecords {
        RunRecords { ended: self.unwritten, ..RunRecords::default() }
    }
}

#[async_trait]
impl AttemptLog for Log<'_> {
    type Error = RecordError;

    async fn begins(&mut self, number: u32) -> Result<(), RecordError> {
        let begun = AttemptBegun {
            task: self.task,
            number: self.before.saturating_add(number),
            model_id: self.model.id.clone(),
            at: now(),
        };
        self.recorder.begin(begun).await
    }

    async fn ended(&mut self, number: u32, outcome: &Result<Completion, Error>) -> Result<(), RecordError> {
        let (task, number, at) = (self.task, self.before.saturating_add(number), now());
        match outcome {
            Ok(completion) => {
                let usage = completion.usage;
                self.unwritten.push(AttemptEnded {
                    task,
                    number,
                    at,
                    outcome: COMPLETED,
                    http_status: None,
                    latency_ms: Some(latency_ms(completion)),
                    tokens: usage.map(|usage| (usage.input_tokens, usage.output_tokens)),
                    cost_usd: self.model.cost_usd(usage),
                    provider_id: completion.provider_id.as_ref().map(|id| id.replace('\0', "\u{2400}")),
                });
                Ok(())
            }
            Err(error) => {
                let http_status = match error {
                    Error::Rejected { rejection, .. } => Some(rejection.status),
                    _ => None,
                };
                let ended = AttemptEnded {
                    task,
                    number,
                    at,
                    outcome: error.kind().as_str(),
                    http_status,
                    latency_ms: None,
                    tokens: None,
                    cost_usd: None,
                    provider_id: None,
                };
                let records = RunRecords { ended: vec![ended], ..RunRecords::default() };
                self.recorder.write(self.task, records).await
            }
        }
    }
}
