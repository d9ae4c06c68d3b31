//! Evaluation of queries: the model's answer is stored as soon as it arrives, the judges judge it, and each result is
//! stored as soon as it arrives.

use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use records::{Service, panic_message, timestamp};
use serde_json::{Map, Value, json};
use store::{
    memory_budget::{MemoryBudget, Reservation},
    postgres::EvaluationResult,
    storage::Record,
};
use uuid::Uuid;

use super::{
    Judging,
    answer::{self, OUTPUT_KEYS, no_answer, output_metadata, whole_text},
    error::{Fault, NoOutput, RunError},
    judgement::{self, JudgeInput, JudgePrompt, Judgement},
    metric::{Metric, Question, find_metrics},
    models::ChosenModel,
    outputs::NewOutput,
};
use crate::rubric::{Mode, Outputs as Shown};

/// Queries of a theme that are evaluated concurrently. The models' gates limit calls further.
const QUERIES_AT_ONCE: usize = 8;
/// Judges of one output that are called concurrently.
const JUDGES_AT_ONCE: usize = 4;

/// Memory for the texts of all calls that evaluations make at once. With more, a few large texts could exhaust the memory;
/// with less, calls with large texts would wait for each other.
const TEXTS_BYTES: usize = 64 << 20;
/// Calls with up to this size do not count: their number is limited.
const UNCOUNTED_BYTES: usize = 64 << 10;
/// Copies of a call's texts: the prompt, the request as JSON, and the body that is sent; later the record and its statement.
const COPIES: usize = 3;

/// Bytes of the texts that the evaluation of a theme returns. With more, a hundred of the largest answers would be in memory
/// at once, several times each.
const SHOWN_BYTES: usize = 32 << 20;

/// The memory limit of evaluations.
pub(super) fn texts_room() -> MemoryBudget {
    MemoryBudget::new(TEXTS_BYTES)
}

/// A request for evaluation, without its queries.
#[derive(Clone, Debug)]
pub struct EvaluationRequest {
    /// The theme of the output.
    pub theme: String,
    /// The model that answers.
    pub model_id: String,
    /// The provider of the model, if the request says.
    pub model_provider: Option<String>,
    /// The metrics, by their ids.
    pub evaluation_prompt_ids: Vec<String>,
    /// The model that judges.
    pub judge_model: String,
    /// The client's own keys of the output.
    pub metadata: Map<String, Value>,
}

/// The same, with all names resolved.
#[derive(Debug)]
pub struct EvaluationPlan {
    theme: String,
    model: ChosenModel,
    judge: ChosenModel,
    metrics: Vec<Metric>,
    metadata: Map<String, Value>,
}

/// An output and its results.
#[derive(Debug)]
pub struct Evaluated {
    /// The output.
    pub output: Record,
    /// One per metric, in the metrics' order.
    pub evaluations: Vec<Evaluation>,
}

/// A judge's result.
#[derive(Debug)]
pub struct Evaluation {
    /// The result's id.
    pub id: String,
    /// The score, if the judge gave one.
    pub score: Option<f64>,
    /// Everything else.
    pub metadata: Map<String, Value>,
}

/// A query of a theme that could not be evaluated.
#[derive(Debug)]
pub struct FailedQuery {
    /// Its text.
    pub query: String,
    /// Why not.
    pub error: RunError,
}

impl EvaluationPlan {
    /// The models that this request's answers registered.
    pub fn newly_registered(&self) -> Vec<String> {
        let chosen = [&self.model, &self.judge].into_iter();
        let mut ids: Vec<String> = chosen
            .filter(|chosen| chosen.is_registered_now())
            .map(|chosen| format!("{} ({})", chosen.model.id, chosen.model.provider))
            .collect();
        ids.dedup();
        ids
    }
}

impl Judging {
    /// Resolves the names of a request. Rejects unknown names, missing keys and unusable metrics before
    /// any paid call.
    ///
    /// # Errors
    /// [`RunError::Refused`] with the field; when a store or service fails.
    pub async fn plan(&self, request: EvaluationRequest) -> Result<EvaluationPlan, RunError> {
        let EvaluationRequest {
            theme,
            model_id,
            model_provider,
            evaluation_prompt_ids,
            judge_model,
            metadata,
        } = request;
        check_metadata(&metadata)?;
        let provider = model_provider.as_deref();
        let model = self.models.choose("model_id", &model_id, provider).await?;
        // A model that judges itself is at the same provider.
        let provider = provider.filter(|_| judge_model == model_id);
        let judge = self.models.choose("judge_model", &judge_model, provider).await?;
        let metrics = find_metrics(&*self.metrics, &evaluation_prompt_ids, Mode::Pointwise).await?;
        Ok(EvaluationPlan { theme, model, judge, metrics, metadata })
    }

    /// Evaluates the newest `limit` queries of the plan's theme, each on its own.
    ///
    /// # Errors
    /// When the queries cannot be read. The failure of one query is part of its result.
    pub async fn evaluate_theme(
        &self,
        plan: &EvaluationPlan,
        limit: u32,
    ) -> Result<Vec<Result<Evaluated, FailedQuery>>, RunError> {
        let queries = self.queries.newest(&plan.theme, limit).await?;
        // Boxed, so that the compiler can prove that they are `Send`.
        let evaluated: Vec<BoxFuture<'_, _>> = queries
            .into_iter()
            .map(|record| {
                let question = Question::new(Some(record.id), record.text, &record.metadata);
                async move {
                    // A failed query does not stop the others.
                    let evaluated = AssertUnwindSafe(self.evaluate(plan, &question)).catch_unwind().await;
                    let evaluated = evaluated.unwrap_or_else(|panic| {
                        Err(RunError::Failed(Fault::Panic { message: panic_message(panic) }))
                    });
                    (question.text, evaluated)
                }
                .boxed()
            })
            .collect();
        let mut evaluated = stream::iter(evaluated).buffered(QUERIES_AT_ONCE);
        let (mut results, mut bytes) = (Vec::new(), 0);
        while let Some((query, result)) = evaluated.next().await {
            let shown = result.and_then(|evaluated| {
                let size = evaluated.text_bytes();
                if bytes + size > SHOWN_BYTES {
                    return Err(not_shown(&evaluated));
                }
                bytes += size;
                Ok(evaluated)
            });
            results.push(shown.map_err(|error| FailedQuery { query, error }));
        }
        Ok(results)
    }

    /// Gets the model's answer to `question`, and the judge's result for it by each metric.
    ///
    /// # Errors
    /// When there is no output that can be judged, or it or a result cannot be stored.
    pub async fn evaluate(&self, plan: &EvaluationPlan, question: &Question) -> Result<Evaluated, RunError> {
        judgement::check(&plan.metrics, &plan.judge.model, question)?;
        self.outputs.check(&new_output(plan, question, String::new(), Map::new()))?;
        let output = self.answer(plan, question).await?;
        let judged: Vec<BoxFuture<'_, _>> =
            plan.metrics.iter().map(|metric| self.judge(plan, metric, question, &output).boxed()).collect();
        let evaluations = stream::iter(judged).buffered(JUDGES_AT_ONCE).try_collect().await?;
        Ok(Evaluated { output, evaluations })
    }

    /// Reserves memory for a call with these texts; calls with large ones wait for each other.
    async fn reserve_for(&self, texts: &[&str]) -> Reservation {
        match texts.iter().map(|text| text.len()).sum() {
            ..=UNCOUNTED_BYTES => Reservation::default(),
            bytes => self.texts.reserve(bytes.saturating_mul(COPIES)).await,
        }
    }

    /// The model's answer, stored.
    async fn answer(&self, plan: &EvaluationPlan, question: &Question) -> Result<Record, RunError> {
        let model = &plan.model.model;
        let _held = self.reserve_for(&[&question.text]).await;
        let request = answer::request(model, question, self.temperature);
        let completion = self.models.ask(&plan.model, &request).await?;
        drop(request);
        let completion = completion.map_err(|error| no_answer(model, &error))?;
        let unusable = |kind, words| {
            let model_id = model.id.clone();
            RunError::from(NoOutput { model_id, kind, words, retry_after: None })
        };
        let text = whole_text(&completion).map_err(|none| unusable(none.kind, none.words))?;
        let output = new_output(plan, question, text, output_metadata(model, &completion));
        self.outputs.store(&output).await.map_err(|error| match error {
            // Everything that the client controls was validated before.
            RunError::Refused { field, reason } => unusable("unstorable", format!("`{field}`: {reason}")),
            error => error,
        })
    }

    /// Gets and stores the judge's result for `output` by `metric`. A missing answer of the judge is also a result.
    async fn judge(
        &self,
        plan: &EvaluationPlan,
        metric: &Metric,
        question: &Question,
        output: &Record,
    ) -> Result<Evaluation, RunError> {
        let judge = &plan.judge.model;
        // Only its size counts here.
        let reference = question.reference.as_deref().unwrap_or_default();
        let _held = self.reserve_for(&[&question.text, reference, metric.rubric.text(), &output.text]).await;
        let input = JudgeInput { question, outputs: Shown::One(&output.text), repeat: 0 };
        let JudgePrompt { request, fingerprint } = JudgePrompt::new(judge, metric, input)
            .map_err(|error| RunError::refused("evaluation_prompt_ids", error.to_string()))?;
        let asked = self.models.ask(&plan.judge, &request).await?;
        drop(request);
        let mut judgement = Judgement::of(judge, metric, false, &fingerprint, asked.as_ref());
        judgement.insert("output_id", output.id.clone());
        let result = EvaluationResult {
            id: Uuid::new_v4().to_string(),
            query_id: question.id.clone(),
            query_text: Some(question.text.clone()),
            output_text: Some(output.text.clone()),
            model_id: Some(plan.model.model.id.clone()),
            theme: Some(plan.theme.clone()),
            evaluation_prompt_id: Some(metric.id.clone()),
            evaluation_prompt: Some(metric.rubric.text().to_owned()),
            score: judgement.score,
            judge_model: Some(judge.id.clone()),
            timestamp: Some(timestamp::now().into()),
            result_metadata: Some(Value::Object(judgement.metadata)),
        };
        let stored = self.database.insert_evaluation_results(std::slice::from_ref(&result));
        self.observer.storage(Service::Judge, "insert_result", stored).await?;
        Ok(shown(result))
    }
}

impl Evaluated {
    fn text_bytes(&self) -> usize {
        let raw = |evaluation: &Evaluation| {
            let texts = evaluation.metadata.values().filter_map(Value::as_str);
            texts.map(str::len).sum::<usize>()
        };
        self.output.text.len() + self.evaluations.iter().map(raw).sum::<usize>()
    }
}

/// The error of a query whose output is stored and judged, and exceeds the size of the response.
fn not_shown(evaluated: &Evaluated) -> RunError {
    let id = &evaluated.output.id;
    RunError::refused(
        "limit",
        format!(
            "the outputs of this response exceed {SHOWN_BYTES} bytes, so that this one is not shown; output `{id}` and its results are stored. Give a smaller `limit`"
        ),
    )
}

/// Most bytes of the metadata that a request or a run adds to each of its outputs, as JSON.
pub const MAX_METADATA_BYTES: usize = 64 << 10;

/// Rejects keys that the engine itself sets in outputs, and metadata above the limit.
pub(crate) fn check_metadata(metadata: &Map<String, Value>) -> Result<(), RunError> {
    let bytes = serde_json::to_vec(metadata).expect("metadata are JSON").len();
    check_bytes("metadata", bytes, MAX_METADATA_BYTES)?;
    match OUTPUT_KEYS.iter().find(|key| metadata.contains_key(**key)) {
        Some(key) => {
            let reason = "the service sets this key in every output: use another name";
            Err(RunError::refused(format!("metadata.{key}"), reason))
        }
        None => Ok(()),
    }
}

/// # Errors
/// When `field` has more than `most` bytes.
pub(crate) fn check_bytes(field: &str, found: usize, most: usize) -> Result<(), RunError> {
    if found <= most {
        return Ok(());
    }
    Err(RunError::refused(field, format!("expected up to {most} bytes, found {found}")))
}

/// The output that an answer to `question` becomes.
fn new_output<'o>(
    plan: &'o EvaluationPlan,
    question: &'o Question,
    text: String,
    own: Map<String, Value>,
) -> NewOutput<'o> {
    let mut metadata = plan.metadata.clone();
    metadata.extend(own);
    NewOutput { model_id: &plan.model.model.id, question, theme: &plan.theme, text, metadata }
}

/// The result in the format of the contract: the values of columns are included in its metadata.
fn shown(result: EvaluationResult) -> Evaluation {
    let EvaluationResult { id, score, evaluation_prompt_id, judge_model, timestamp, result_metadata, .. } =
        result;
    let mut metadata = match result_metadata {
        Some(Value::Object(metadata)) => metadata,
        _ => unreachable!("results are made with metadata"),
    };
    metadata.insert("evaluation_prompt_id".to_owned(), json!(evaluation_prompt_id));
    metadata.insert("judge_model".to_owned(), json!(judge_model));
    metadata.insert("timestamp".to_owned(), json!(timestamp.map(|time| time.to_string())));
    Evaluation { id, score, metadata }
}
