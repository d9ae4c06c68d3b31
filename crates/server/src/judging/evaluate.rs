//! One query after the other: the model answers, the answer is stored at once, the judges judge it, and what they say is
//! stored at once too.

use std::panic::AssertUnwindSafe;

use ::records::Service;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use judge::rubric::Outputs as Shown;
use serde_json::{Map, Value, json};
use store::{postgres::EvaluationResult, storage::Record};
use uuid::Uuid;

use super::{
    Judging, Plan, Question,
    judgement::{Inquiry, Judgement, Matter},
    output::{self, NewOutput, no_answer, output_metadata, whole_text},
    plan::{self, Metric},
};
use crate::{
    answer::{ApiError, now},
    process::Process,
    records::Records,
    supervisor::panic_message,
    wire::{Outputs, Queries},
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
                    // The rest is evaluated whatever comes of one.
                    let evaluated =
                        AssertUnwindSafe(self.evaluate(plan, &question, outputs)).catch_unwind().await;
                    let evaluated = evaluated
                        .unwrap_or_else(|panic| Err(ApiError::Panic { message: panic_message(panic) }));
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
        plan::check(&plan.metrics, &plan.judge.model, question)?;
        outputs.check(new_output(plan, question, String::new(), Map::new()).draft(None))?;
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
        let request = output::request(model, question, self.temperature);
        let completion = self.models.ask(&plan.model, &request, outputs.process()).await?;
        let completion = completion.map_err(|error| no_answer(model, &error))?;
        let unusable = |kind, words| {
            let model_id = model.id.clone();
            ApiError::NoOutput { model_id, kind, words, retry_after: None }
        };
        let text = whole_text(&completion).map_err(|none| unusable(none.kind, none.words))?.to_owned();
        let output = new_output(plan, question, text, output_metadata(model, &completion));
        output.store(outputs, None).await.map_err(|error| match error {
            // All that the client has a say in was checked before.
            ApiError::Invalid { field, reason } => unusable("unstorable", format!("`{field}`: {reason}")),
            error => error,
        })
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
        let judge = &plan.judge.model;
        let matter = Matter { question, outputs: Shown::One(&output.text), repeat: 0 };
        let inquiry = Inquiry::new(judge, metric, matter)
            .map_err(|error| ApiError::invalid("evaluation_prompt_ids", error.to_string()))?;
        let asked = self.models.ask(&plan.judge, &inquiry.request, process).await?;
        let Judgement { score, mut metadata, .. } = Judgement::of(judge, metric, false, asked.as_ref());
        metadata.insert("fingerprint".to_owned(), inquiry.fingerprint.to_string().into());
        metadata.insert("output_id".to_owned(), output.id.clone().into());
        let result = EvaluationResult {
            id: Uuid::new_v4().to_string(),
            query_id: question.id.clone(),
            query_text: Some(question.text.clone()),
            output_text: Some(output.text.clone()),
            model_id: Some(plan.model.model.id.clone()),
            theme: Some(plan.theme.clone()),
            evaluation_prompt_id: Some(metric.id.clone()),
            evaluation_prompt: Some(metric.rubric.text().to_owned()),
            score,
            judge_model: Some(judge.id.clone()),
            timestamp: Some(now().into()),
            result_metadata: Some(Value::Object(metadata)),
        };
        let stored = self.database.insert_evaluation_results(std::slice::from_ref(&result));
        process.measured(Service::Judge, "insert_result", stored).await?;
        Ok(shown(result))
    }
}

/// The output that an answer to `question` becomes.
fn new_output<'o>(
    plan: &'o Plan,
    question: &'o Question,
    text: String,
    own: Map<String, Value>,
) -> NewOutput<'o> {
    let mut metadata = plan.metadata.clone();
    metadata.extend(own);
    NewOutput { model_id: &plan.model.model.id, question, theme: &plan.theme, text, metadata }
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
    metadata.insert("timestamp".to_owned(), json!(timestamp.map(|time| time.to_string())));
    Evaluation { id, score, metadata }
}
