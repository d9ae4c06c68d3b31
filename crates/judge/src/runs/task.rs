//! One task of a run: a call to a model, and its records.

use std::time::Duration;

use records::{error_chain, shortened, without_nul};
use serde_json::Value;
use store::postgres::{
    EarlierVerdict, ResultStatus,
    runs::{ClaimedTask, ModelAnswer, PendingAnswer, RunRecords, TaskDone, TaskKind, TaskOutcome, TaskWork},
};

use super::{
    attempts::TaskAttempts,
    execution::Execution,
    question,
    ready::{Content, Ready, TaskAbort},
    recorder::RecordError,
    result::{REASON_CHARACTERS, of_earlier, own_id, unmeasured},
};
use crate::{
    engine::{
        RunError,
        answer::{self, output_metadata, whole_text},
        judgement::{JudgeInput, JudgePrompt, Judgement},
        models::ChosenModel,
        outputs::NewOutput,
    },
    provider::{Completion, Error, Kind, ResponseReservation, limits::CallError},
    rubric::Outputs as Shown,
};

/// Claims after which the task is assumed to crash its workers.
const MAX_CLAIMS: u32 = 25;

impl Execution {
    /// The prompt for the judge, if the task is a judgement and its outputs exist.
    ///
    /// # Errors
    /// When the task refers to something that the plan lacks, or its metric cannot be applied to its query.
    pub(super) fn prompt(&self, task: &ClaimedTask) -> Result<Option<JudgePrompt>, String> {
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
        let input = JudgeInput { question: &question, outputs, repeat: *repeat };
        let prompt = JudgePrompt::new(&judge.model, metric, input);
        prompt.map(Some).map_err(|error| format!("metric `{}` cannot be used: {error}", metric.id))
    }

    /// Returns when no more tasks start.
    pub(super) async fn ending(&self) {
        let mut is_ending = self.is_ending.subscribe();
        is_ending.wait_for(|is_ending| *is_ending).await.expect("its sender is this");
    }

    /// Executes a task whose texts were read, and records it.
    pub(super) async fn work(&self, ready: Ready) -> Result<(), TaskAbort> {
        let Ready { task, content } = ready;
        let Some(Content { prompt, earlier, held: _held }) = content else {
            return Err(TaskAbort::Fails("its texts were not read".to_owned()));
        };
        let prompt = prompt.map_err(TaskAbort::Fails)?;
        let gave_up = (task.claims > MAX_CLAIMS)
            .then(|| TaskAbort::Fails(format!("given up: {MAX_CLAIMS} workers crashed while processing it")));
        match (&task.work, prompt, earlier, gave_up) {
            (
                TaskWork::Answer { .. } | TaskWork::Broken { .. } | TaskWork::Unread { .. },
                _,
                _,
                Some(gave_up),
            ) => Err(gave_up),
            (TaskWork::Answer { model, kept }, _, _, None) => self.answer(&task, *model, kept.clone()).await,
            (TaskWork::Unread { .. }, _, _, None) => {
                Err(TaskAbort::Fails("its texts were not read".to_owned()))
            }
            (TaskWork::Broken { reason, .. }, _, _, None) => Err(TaskAbort::Fails(reason.clone())),
            (TaskWork::Judgement { .. }, None, _, _) => self.leave_unanswered(&task).await,
            (TaskWork::Judgement { .. }, Some(prompt), Some(earlier), _) => {
                self.repeat_verdict(&task, &prompt, earlier).await
            }
            (TaskWork::Judgement { .. }, Some(_), None, Some(gave_up)) => Err(gave_up),
            (TaskWork::Judgement { .. }, Some(prompt), None, None) => self.judge(&task, &prompt).await,
        }
    }

    /// Records that a task failed for `reason`, independent of the problem, so that it is not claimed again.
    pub(super) async fn fail(&self, task: &ClaimedTask, reason: &str) -> Result<(), TaskAbort> {
        tracing::error!(run = %self.run, task = task.number, reason, "a task of a run failed");
        let records = RunRecords::default();
        match task.work.kind() {
            TaskKind::Answer => {
                self.finish(task, records, TaskOutcome::Failed, Some(reason.to_owned()), None).await
            }
            TaskKind::Judgement => self.judged(task, records, unmeasured(ResultStatus::Failed, reason)).await,
        }
    }

    async fn answer(
        &self,
        task: &ClaimedTask,
        model: u16,
        kept: Option<(String, String)>,
    ) -> Result<(), TaskAbort> {
        let chosen = named(&self.asked, "model", model).map_err(TaskAbort::Fails)?;
        let question = question(&task.query);
        // Holds the memory of the answer until it is stored.
        let (text, metadata, _memory) = match kept {
            Some((text, metadata)) => {
                let metadata = serde_json::from_str(&metadata).map_err(|error| {
                    TaskAbort::Fails(format!("the recorded answer cannot be parsed: {error}"))
                })?;
                (text, metadata, ResponseReservation::default())
            }
            None => {
                let request = answer::request(&chosen.model, &question, self.plan.temperature);
                let mut log = TaskAttempts::new(&self.recorder, task, &chosen.model);
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
                        let answer = PendingAnswer {
                            task: task.number,
                            text: text.clone(),
                            metadata: Value::Object(metadata.clone()).to_string(),
                        };
                        self.write(task, RunRecords { answers: vec![answer], ..records }).await?;
                        (text, metadata, completion.memory.clone())
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

    /// Stores an output; returns its id, or why it cannot be stored.
    async fn store(
        &self,
        output: &NewOutput<'_>,
        task: &ClaimedTask,
    ) -> Result<Result<String, String>, TaskAbort> {
        /// Between attempts while the store is unavailable or the embedding queue full.
        const PAUSE: Duration = Duration::from_secs(1);
        /// After that, the run stops, and can be resumed: the answer is recorded.
        const ATTEMPTS: u32 = 120;
        let own_id = own_id(self.run, task);
        for attempt in 1.. {
            match self.outputs.store_again(output, own_id.clone()).await {
                Ok(record) => return Ok(Ok(record.id)),
                Err(error @ (RunError::Refused { .. } | RunError::Conflict { .. })) => {
                    return Ok(Err(format!("unstorable: {error}")));
                }
                Err(RunError::Unavailable(_)) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    return Err(TaskAbort::Stop(format!(
                        "failed to store an output: {}",
                        error_chain(&error)
                    )));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn judge(&self, task: &ClaimedTask, prompt: &JudgePrompt) -> Result<(), TaskAbort> {
        let TaskWork::Judgement { metric, judge, swapped, .. } = &task.work else {
            unreachable!("only judgements have prompts")
        };
        let chosen = named(&self.judges, "judge", *judge).map_err(TaskAbort::Fails)?;
        let metric = named(&self.metrics, "metric", *metric).map_err(TaskAbort::Fails)?;
        let mut log = TaskAttempts::new(&self.recorder, task, &chosen.model);
        let called = self.models.ask_for_run(chosen, &prompt.request, &self.budget, &mut log).await;
        let records = log.unwritten();
        let asked = self.answered(chosen, called).await?;
        let judgement = Judgement::of(&chosen.model, metric, *swapped, &prompt.fingerprint, asked.as_ref());
        self.judged(task, records, judgement).await
    }

    /// A result that reuses an earlier verdict on the same question.
    async fn repeat_verdict(
        &self,
        task: &ClaimedTask,
        prompt: &JudgePrompt,
        earlier: EarlierVerdict,
    ) -> Result<(), TaskAbort> {
        let TaskWork::Judgement { swapped, .. } = &task.work else {
            unreachable!("only judgements have prompts")
        };
        self.judged(task, RunRecords::default(), of_earlier(earlier, prompt, *swapped)).await
    }

    /// A result for a missing output.
    async fn leave_unanswered(&self, task: &ClaimedTask) -> Result<(), TaskAbort> {
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
        let judgement = unmeasured(ResultStatus::Unanswered, &reasons.join("; "));
        self.judged(task, RunRecords::default(), judgement).await
    }

    /// The result of a call; an error that requires an operator stops the run.
    async fn answered(
        &self,
        chosen: &ChosenModel,
        called: Result<Completion, CallError<RecordError>>,
    ) -> Result<Result<Completion, Error>, TaskAbort> {
        match called {
            Ok(completion) => {
                if let Err(error) = self.models.register_new(chosen).await {
                    // The answer is more important; the next one registers the model.
                    tracing::warn!(model = chosen.model.id, error = %error_chain(&error), "failed to register a model");
                }
                Ok(Ok(completion))
            }
            Err(CallError::Provider { source, .. }) => match source.kind() {
                Kind::QuotaExhausted
                | Kind::Unauthorized
                | Kind::Forbidden
                | Kind::NotFound
                | Kind::Setup => Err(TaskAbort::Stop(format!("model `{}`: {source}", chosen.model.id))),
                _ => Ok(Err(source)),
            },
            Err(CallError::Budget(exceeded)) => Err(TaskAbort::Stop(exceeded.to_string())),
            Err(CallError::Log(error)) => Err(error.into()),
        }
    }

    /// Records a finished judgement.
    async fn judged(
        &self,
        task: &ClaimedTask,
        mut records: RunRecords,
        judgement: Judgement,
    ) -> Result<(), TaskAbort> {
        records.done.push(self.result(task, judgement));
        self.write(task, records).await
    }

    /// Records a finished answer.
    async fn finish(
        &self,
        task: &ClaimedTask,
        mut records: RunRecords,
        outcome: TaskOutcome,
        reason: Option<String>,
        output_id: Option<String>,
    ) -> Result<(), TaskAbort> {
        let reason = reason.map(|reason| shortened(&without_nul(&reason), REASON_CHARACTERS).into_owned());
        let (number, query_place) = (task.number, task.query_place);
        let result = None;
        records.done.push(TaskDone { task: number, query_place, outcome, reason, output_id, result });
        self.write(task, records).await
    }

    async fn write(&self, task: &ClaimedTask, records: RunRecords) -> Result<(), TaskAbort> {
        Ok(self.recorder.write(task.number, records).await?)
    }
}

/// The element at a position in a list of the plan. The position comes from the database and may be invalid.
fn named<'l, T>(list: &'l [T], noun: &str, place: u16) -> Result<&'l T, String> {
    list.get(usize::from(place)).ok_or_else(|| format!("the run has no {noun} {place}"))
}
