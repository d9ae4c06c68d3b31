//! Stores and withdraws labels.

use ::records::{Service, timestamp};
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use judge::parse::Scale;
use schemars::JsonSchema;
use serde::Deserialize;
use store::{
    StoredTime,
    postgres::{JudgedItem, JudgedKind, LabelOutcome, LabelVerdict, LabelWinner, StoredLabel},
};
use uuid::Uuid;

use super::{Chosen, Kind, Labelling, queue::is_turned};
use crate::{answer::ApiError, console::form::Form, wire::ClientId};

/// The fields of the form of an item.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Given {
    annotator: String,
    kind: Option<Kind>,
    evaluation_prompt_id: Option<String>,
    theme: Option<String>,
    run_id: Option<String>,
    #[serde(default)]
    skipped: bool,
    /// The result that was shown.
    result: String,
    /// Makes sending the form twice harmless.
    id: ClientId,
    /// A number, `a`, `b`, `tie`, `skip`, or `score` for that of the next field.
    label: String,
    score: Option<String>,
}

/// The fields of the form that withdraws a label.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Withdrawn {
    annotator: String,
    kind: Option<Kind>,
    evaluation_prompt_id: Option<String>,
    theme: Option<String>,
    run_id: Option<String>,
    #[serde(default)]
    skipped: bool,
    /// The id of the label.
    last: ClientId,
}

/// Stores a label, and leads to the next item.
pub(super) async fn save(
    State(labelling): State<Labelling>,
    Form(given): Form<Given>,
) -> Result<Response, ApiError> {
    let Given { annotator, kind, evaluation_prompt_id, theme, run_id, skipped, result, id, label, score } =
        given;
    let chosen = Chosen {
        annotator: Some(annotator),
        kind,
        evaluation_prompt_id,
        theme,
        run_id,
        skipped,
        whole: false,
    };
    let annotator = chosen.annotator().ok_or_else(unnamed)?;
    let results = &labelling.results;
    let read = results.database.judged_answer(&result, 0);
    let read = results.process.measured(Service::Judge, "read_judged_answer", read).await?;
    let answer = read.ok_or(ApiError::NoRecord { noun: "answer to label", id: result })?;
    let verdict = labelling.verdict(&answer.item, annotator, (&label, score.as_deref())).await?;
    let id = uuid("id", &id)?;
    let JudgedItem { query, metric, .. } = answer.item;
    let labelled_at = StoredTime::from(timestamp::now());
    let label = StoredLabel { id, annotator: annotator.to_owned(), query, metric, verdict, labelled_at };
    let [outcome] = labelling.store([label.clone()]).await?;
    if outcome == LabelOutcome::Conflict {
        // The same page was sent with another label, which replaces the first.
        labelling.store([StoredLabel { id: Uuid::new_v4(), ..label }]).await?;
    }
    Ok(Redirect::to(&chosen.path()).into_response())
}

/// Withdraws a label, and leads to its item.
pub(super) async fn undo(
    State(labelling): State<Labelling>,
    Form(given): Form<Withdrawn>,
) -> Result<Response, ApiError> {
    let Withdrawn { annotator, kind, evaluation_prompt_id, theme, run_id, skipped, last } = given;
    let chosen = Chosen {
        annotator: Some(annotator),
        kind,
        evaluation_prompt_id,
        theme,
        run_id,
        skipped,
        whole: false,
    };
    let results = &labelling.results;
    let now = StoredTime::from(timestamp::now());
    let annotator = chosen.annotator().ok_or_else(unnamed)?;
    // A label that was withdrawn before stays so.
    let withdrawn = results.database.withdraw_label(uuid("last", &last)?, Some(annotator), now);
    results.process.measured(Service::Judge, "withdraw_label", withdrawn).await?;
    Ok(Redirect::to(&chosen.path()).into_response())
}

fn unnamed() -> ApiError {
    ApiError::invalid("annotator", "expected your name")
}

fn uuid(field: &str, id: &ClientId) -> Result<Uuid, ApiError> {
    Uuid::try_parse(&id.0).map_err(|_| ApiError::invalid(field, "expected a UUID"))
}

impl Labelling {
    async fn store<const N: usize>(&self, labels: [StoredLabel; N]) -> Result<[LabelOutcome; N], ApiError> {
        let stored = self.results.database.store_labels(&labels);
        let outcomes = self.results.process.measured(Service::Judge, "store_labels", stored).await?;
        Ok(outcomes.try_into().expect("each label has an outcome"))
    }

    /// What the form says of `item`.
    async fn verdict(
        &self,
        item: &JudgedItem,
        annotator: &str,
        (label, score): (&str, Option<&str>),
    ) -> Result<LabelVerdict, ApiError> {
        let model = item.model.clone();
        match &item.kind {
            JudgedKind::Paired { opponent } => {
                let winner = match label {
                    "a" => Some(LabelWinner::A),
                    "b" => Some(LabelWinner::B),
                    "tie" => Some(LabelWinner::Tie),
                    "skip" => None,
                    _ => return Err(ApiError::invalid("label", "expected `a`, `b`, `tie` or `skip`")),
                };
                let (first, second) = match is_turned(annotator, item) {
                    true => (opponent.clone(), model),
                    false => (model, opponent.clone()),
                };
                Ok(LabelVerdict::Preference { first, second, winner })
            }
            JudgedKind::Alone | JudgedKind::Incomplete if label == "skip" => {
                Ok(LabelVerdict::Score { model, score: None })
            }
            JudgedKind::Alone => {
                let Scale { min, max } = self.scale(item.metric.as_deref()).await?;
                // No number is refused below, like an invalid one.
                let (field, written) = match label {
                    "score" => ("score", score.unwrap_or_default()),
                    label => ("label", label),
                };
                let score = written.trim().parse::<f64>().ok().filter(|score| (min..=max).contains(score));
                let expected = || ApiError::invalid(field, format!("expected a number from {min} to {max}"));
                Ok(LabelVerdict::Score { model, score: Some(score.ok_or_else(expected)?) })
            }
            JudgedKind::Incomplete => Err(ApiError::invalid("result", "the other answer is unknown")),
        }
    }
}
