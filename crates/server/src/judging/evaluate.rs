//! One query after the other: the model answers, the answer is stored at once, the judges judge it, and what they say is
//! stored at once too.

use ::records::Service;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use judge::{
    provider::{Completion, Content, Disposition, Error, Request},
    registry::Model,
    rubric::{Judge, Score, Verdict, fingerprint::Fingerprint},
};
use serde_json::{Map, Value, json};
use store::{postgres::EvaluationResult, storage::Production, storage::Record};
use uuid::Uuid;

use super::{Judging, Plan, Question, models::Chosen, plan::Metric};
use crate::{
    answer::{ApiError, now},
    process::Process,
    records::{Records, StoredRecord},
    request::IdempotencyKey,
    wire::{ClientId, DraftRecord, Outputs, Queries},
};

/// Queries of a theme that are worked on at once. The models' own gates hold back more.
const QUERIES_AT_ONCE: usize = 8;
/// Judges of one output that are asked at once.
const JUDGES_AT_ONCE: usize = 4;

/// An output, and what the judges said of it.
#[derive(Debug)]
pub(crate) struct Evaluated {
    pub(crate) output: Record,
    /// One a metric, in their order.
    pub(crate) evaluations: Vec<Evaluation>,
}

/// What a judge said.
#[derive(Debug)]
pub(crate) struct Evaluation {
    /// The result's id.
    pub(crate) id: String,
    pub(crate) score: Option<f64>,
    pub(crate) metadata: Map<String, Value>,
}

/// A query of a theme that could not be evaluated.
#[derive(Debug)]
pub(crate) struct FailedQuery {
    pub(crate) query: String,
    pub(crate) error: ApiError,
}

impl Judging {
    /// Evaluates the newest `limit` queries of the plan's theme, each on its own.
    pub(crate) async fn evaluate_theme(
        &self,
        plan: &Plan,
        limit: u32,
        outputs: &Records<Outputs>,
    ) -> Result<Vec<Result<Evaluated, FailedQuery>>, ApiError> {
        let queries = self.queries.newest::<Queries>(&plan.theme, limit, outputs.process()).await?;
        // Boxed, for the compiler to see that they may be sent.
        let evaluated: Vec<BoxFuture<'_, _>> = queries
            .into_iter()
            .map(|record| {
                let question = Question::new(Some(record.id), record.text, &record.metadata);
                async move {
                    let evaluated = self.evaluate(plan, &question, outputs).await;
                    evaluated.map_err(|error| FailedQuery { query: question.text, error })
                }
                .boxed()
            })
            .collect();
        Ok(stream::iter(evaluated).buffered(QUERIES_AT_ONCE).collect().await)
    }

    /// Has the model answer `question`, and the judge judge the answer by each metric.
    pub(crate) async fn evaluate(
        &self,
        plan: &Plan,
        question: &Question,
        outputs: &Records<Outputs>,
    ) -> Result<Evaluated, ApiError> {
        plan.check(question)?;
        let without_output = self.draft(plan, question, String::new(), Map::new());
        outputs.check(without_output)?;
        let output = self.answer(plan, question, outputs).await?;
        let judged: Vec<BoxFuture<'_, _>> = plan
            .metrics
            .iter()
            .map(|metric| self.judge(plan, metric, question, &output, outputs.process()).boxed())
            .collect();
        let evaluations = stream::iter(judged).buffered(JUDGES_AT_ONCE).try_collect().await?;
        Ok(Evaluated { output, evaluations })
    }

    /// The model's answer, stored.
    async fn answer(
        &self,
        plan: &Plan,
        question: &Question,
        outputs: &Records<Outputs>,
    ) -> Result<Record, ApiError> {
        let model = &plan.model.model;
        let temperature = model.takes_temperature.then_some(self.temperature);
        let request = Request { temperature, ..Request::new(&question.text) };
        let completion = self.models.ask(&plan.model, &request, outputs.process()).await?;
        let completion = completion.map_err(|error| no_answer(model, &error))?;
        let text = whole_text(model, &completion)?;
        let mut metadata = call_metadata(model, &completion);
        metadata.insert("provider".to_owned(), model.provider.clone().into());
        metadata.insert("finish_reason".to_owned(), completion.finish_reason.clone().into());
        metadata.insert("model_version".to_owned(), completion.model.clone().into());
        if let Some(id) = &completion.provider_id {
            metadata.insert("provider_id".to_owned(), id.clone().into());
        }
        let draft = || self.draft(plan, question, text.clone(), metadata.clone());
        let key = IdempotencyKey::none();
        let id = completion.provider_id.clone().map(ClientId);
        let stored = match outputs.store(DraftRecord { id, ..draft() }, &key).await {
            // Each answer is stored once, so that the one that is there is another: some servers of one's own count
            // from one again, or draw from a thousand numbers.
            Err(ApiError::Conflict { .. }) | Ok(StoredRecord { is_replayed: true, .. }) => {
                outputs.store(draft(), &key).await
            }
            stored => stored,
        };
        match stored {
            Ok(stored) => Ok(stored.record),
            // All that the client has a say in was checked before.
            Err(ApiError::Invalid { field, reason }) => Err(ApiError::NoOutput {
                model_id: model.id.clone(),
                kind: "unstorable",
                words: format!("`{field}`: {reason}"),
                retry_after: None,
            }),
            Err(error) => Err(error),
        }
    }

    /// The output with the id that we give it.
    fn draft(&self, plan: &Plan, question: &Question, text: String, own: Map<String, Value>) -> DraftRecord {
        let production = Production { model_id: plan.model.model.id.clone(), query: question.text.clone() };
        let mut metadata = plan.metadata.clone();
        metadata.extend(own);
        DraftRecord {
            id: None,
            text,
            category: plan.theme.clone(),
            production: Some(production),
            metadata: Some(metadata),
        }
    }

    /// What the judge says of `output` by `metric`, stored. A judge that says nothing is a result too.
    async fn judge(
        &self,
        plan: &Plan,
        metric: &Metric,
        question: &Question,
        output: &Record,
        process: &Process,
    ) -> Result<Evaluation, ApiError> {
        let Chosen { model, .. } = &plan.judge;
        let judge = Judge {
            provider: model.provider.clone(),
            model: model.id.clone(),
            version: None,
            temperature: model.takes_temperature.then_some(0.0),
            max_tokens: None,
            seed: None,
            system: None,
            is_held_to_schema: model.takes_schema,
        };
        let inputs = metric.inputs(question, &output.text);
        let prompt = metric.prompt(question, &output.text).expect("the plan was checked");
        let fingerprint = Fingerprint::of(&judge, &metric.rubric, &inputs, 0);
        let asked = self.models.ask(&plan.judge, &judge.request(&metric.rubric, prompt), process).await?;
        let (verdict, mut metadata) = match &asked {
            Ok(completion) => {
                let verdict = Verdict::of_score(completion, metric.rubric.scale(), metric.beyond);
                (verdict, completed_metadata(model, completion))
            }
            Err(error) => (Verdict::of_error(error), failed_metadata(error)),
        };
        let entries = verdict_metadata(&verdict).into_iter().chain([
            ("fingerprint", fingerprint.to_string().into()),
            ("output_id", output.id.clone().into()),
            ("judge_provider", model.provider.clone().into()),
        ]);
        metadata.extend(entries.map(|(key, value)| (key.to_owned(), value)));
        let result = EvaluationResult {
            id: Uuid::new_v4().to_string(),
            query_id: question.id.clone(),
            query_text: Some(question.text.clone()),
            output_text: Some(output.text.clone()),
            model_id: Some(plan.model.model.id.clone()),
            theme: Some(plan.theme.clone()),
            evaluation_prompt_id: Some(metric.id.clone()),
            evaluation_prompt: Some(metric.rubric.text().to_owned()),
            score: verdict.outcome().scored().map(|score| score.value),
            judge_model: Some(model.id.clone()),
            timestamp: Some(now()),
            result_metadata: Some(Value::Object(metadata)),
        };
        let stored = self.database.insert_evaluation_results(std::slice::from_ref(&result));
        process.measured(Service::Judge, "insert_result", stored).await?;
        Ok(shown(result))
    }
}

/// The result as the contract shows it: what is in columns, among its metadata.
fn shown(result: EvaluationResult) -> Evaluation {
    let EvaluationResult { id, score, evaluation_prompt_id, judge_model, timestamp, result_metadata, .. } =
        result;
    let mut metadata = match result_metadata {
        Some(Value::Object(metadata)) => metadata,
        _ => unreachable!("results are made with metadata"),
    };
    metadata.insert("evaluation_prompt_id".to_owned(), json!(evaluation_prompt_id));
    metadata.insert("judge_model".to_owned(), json!(judge_model));
    metadata.insert("timestamp".to_owned(), json!(timestamp.map(::records::timestamp::format)));
    Evaluation { id, score, metadata }
}

/// What a call took.
fn call_metadata(model: &Model, completion: &Completion) -> Map<String, Value> {
    let mut metadata = Map::new();
    // No answer takes 500 million years.
    let latency_ms = u64::try_from(completion.latency.as_millis()).unwrap_or(u64::MAX);
    metadata.insert("latency_ms".to_owned(), latency_ms.into());
    if let Some(usage) = completion.usage {
        metadata.insert("input_tokens".to_owned(), usage.input_tokens.into());
        metadata.insert("output_tokens".to_owned(), usage.output_tokens.into());
    }
    if let Some(cost_usd) = model.cost_usd(completion.usage) {
        metadata.insert("cost_usd".to_owned(), cost_usd.into());
    }
    metadata
}

/// A judge's answer, as it came.
fn completed_metadata(judge: &Model, completion: &Completion) -> Map<String, Value> {
    let raw_text = match &completion.content {
        Content::Text(text)
        | Content::Truncated(text)
        | Content::Refused(text)
        | Content::Filtered(text)
        | Content::ToolCall(text) => text,
        Content::Empty => "",
    };
    let mut metadata = call_metadata(judge, completion);
    metadata.insert("raw_text".to_owned(), raw_text.into());
    metadata.insert("judge_version".to_owned(), completion.model.clone().into());
    metadata.insert("finish_reason".to_owned(), completion.finish_reason.clone().into());
    metadata
}

fn failed_metadata(error: &Error) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("error_kind".to_owned(), error.kind().as_str().into());
    metadata.insert("error".to_owned(), error.to_string().into());
    metadata
}

/// What a verdict is, and why it is no more.
fn verdict_metadata(verdict: &Verdict<Score>) -> Vec<(&'static str, Value)> {
    let status = ("status", verdict.clone().outcome().as_str().into());
    match *verdict {
        Verdict::Given(score) => vec![status, ("out_of_range", score.is_out_of_range.into())],
        Verdict::Unparsed(unreadable) => vec![status, ("reason", unreadable.as_str().into())],
        Verdict::Refused | Verdict::Failed => vec![status],
    }
}

fn no_answer(model: &Model, error: &Error) -> ApiError {
    /// Where the provider does not say: long enough for most overloads to pass.
    const AFTER: std::time::Duration = std::time::Duration::from_secs(5);
    let retry_after = match error.disposition() {
        Disposition::Retry { after } => Some(after.unwrap_or(AFTER)),
        Disposition::Stop(_) => None,
    };
    let (kind, words) = (error.kind().as_str(), error.to_string());
    ApiError::NoOutput { model_id: model.id.clone(), kind, words, retry_after }
}

/// The answer, if it is one that can be judged.
fn whole_text(model: &Model, completion: &Completion) -> Result<String, ApiError> {
    let (kind, words) = match &completion.content {
        Content::Text(text) => return Ok(text.clone()),
        Content::Truncated(_) => ("truncated", "its answer was cut off".to_owned()),
        Content::Refused(words) => ("refused", format!("it declined: {words}")),
        Content::Filtered(reason) => ("filtered", format!("its provider kept the answer back: {reason}")),
        Content::ToolCall(_) => ("tool_call", "it called a tool".to_owned()),
        Content::Empty => ("empty", "its answer is empty".to_owned()),
    };
    Err(ApiError::NoOutput { model_id: model.id.clone(), kind, words, retry_after: None })
}
