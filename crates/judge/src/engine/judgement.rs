//! A judge's request about one answer or two, and the evaluation of its answer.

use std::panic::{AssertUnwindSafe, catch_unwind};

use records::panic_message;
use serde_json::{Map, Value};
use store::postgres::{ResultStatus, ResultWinner};

use super::{
    answer::{call_metadata, label, words},
    error::RunError,
    metric::{Metric, Question, unusable},
};
use crate::{
    outcome::Outcome,
    parse::Winner,
    provider::{Completion, Content, Error, Request},
    registry::Model,
    rubric::{
        Inputs, Judge, Mode, Outputs, RubricError, Score, Unreadable, Verdict, fingerprint::Fingerprint,
    },
};

/// A verdict has one or two sentences. Small models may not find the end of a quoted text.
const MAX_TOKENS: u32 = 1024;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JudgeInput<'m> {
    pub(crate) question: &'m Question,
    /// In the judge's order.
    pub(crate) outputs: Outputs<'m>,
    /// How often the judge was asked the same question before.
    pub(crate) repeat: u32,
}

/// A request to a judge.
#[derive(Clone, Debug)]
pub(crate) struct JudgePrompt {
    pub(crate) request: Request,
    pub(crate) fingerprint: Fingerprint,
}

/// A judge's verdict, or why it is missing: the parts of a result that do not depend on what was judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) status: ResultStatus,
    pub(crate) score: Option<f64>,
    /// Everything else, as stored in the result's metadata.
    pub(crate) metadata: Map<String, Value>,
}

/// The measurement of a verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measurement {
    /// A score for one answer.
    Score(Score),
    /// The better of two answers.
    Winner(ResultWinner),
}

/// Checks that every metric can be applied to an answer to `question`.
pub(crate) fn check(metrics: &[Metric], judge: &Model, question: &Question) -> Result<(), RunError> {
    for (index, metric) in metrics.iter().enumerate() {
        let outputs = match metric.rubric.mode() {
            Mode::Pointwise => Outputs::One(""),
            Mode::Pairwise => Outputs::Two("", ""),
        };
        let prompt = JudgePrompt::new(judge, metric, JudgeInput { question, outputs, repeat: 0 });
        prompt.map_err(|error| unusable(index, &metric.id, &error))?;
    }
    Ok(())
}

impl JudgePrompt {
    /// # Errors
    /// When the metric cannot be applied to it.
    pub(crate) fn new(judge: &Model, metric: &Metric, input: JudgeInput<'_>) -> Result<Self, RubricError> {
        let asked = Judge {
            provider: judge.provider.clone(),
            model: judge.id.clone(),
            version: None,
            temperature: judge.takes_temperature.then_some(0.0),
            // Reasoning models count their reasoning among them.
            max_tokens: judge.takes_temperature.then_some(MAX_TOKENS),
            seed: None,
            system: None,
            is_held_to_schema: judge.takes_schema,
        };
        let reference = input.question.reference.as_deref();
        let inputs = Inputs { query: &input.question.text, outputs: input.outputs, reference };
        let prompt = metric.rubric.prompt(&inputs)?;
        let fingerprint = Fingerprint::of(&asked, &metric.rubric, &inputs, input.repeat);
        Ok(Self { request: asked.request(&metric.rubric, prompt), fingerprint })
    }
}

impl Judgement {
    /// Parses the answer of `judge` to the prompt with this fingerprint; `swapped` says whether it saw the first answer
    /// second.
    pub(crate) fn of(
        judge: &Model,
        metric: &Metric,
        swapped: bool,
        fingerprint: &Fingerprint,
        asked: Result<&Completion, &Error>,
    ) -> Self {
        let mut judgement = or_failure_on_panic(|| match (asked, metric.rubric.mode()) {
            (Ok(completion), Mode::Pointwise) => {
                let verdict = Verdict::of_score(completion, metric.rubric.scale(), metric.beyond);
                Self::read(verdict, Measurement::Score)
            }
            (Ok(completion), Mode::Pairwise) => Self::read(Verdict::of_winner(completion), |winner| {
                Measurement::Winner(if swapped { winner.swapped() } else { winner }.into())
            }),
            (Err(error), _) => Self::read(Verdict::of_error(error), Measurement::Score),
        });
        match asked {
            Ok(completion) => judgement.metadata.extend(completed(judge, completion)),
            Err(error) => judgement.metadata.extend(failed(error)),
        }
        judgement.insert("judge_provider", judge.provider.clone());
        judgement.insert("fingerprint", fingerprint.to_string());
        judgement
    }

    /// Without a measurement.
    pub(crate) fn unmeasured(status: ResultStatus) -> Self {
        let mut judgement = Self { status, score: None, metadata: Map::new() };
        judgement.insert("status", status.as_str());
        judgement
    }

    /// Sets a key of the metadata.
    pub(crate) fn insert(&mut self, key: &str, value: impl Into<Value>) {
        self.metadata.insert(key.to_owned(), value.into());
    }

    fn read<T>(verdict: Verdict<T>, given: impl FnOnce(T) -> Measurement) -> Self {
        let reason = match &verdict {
            Verdict::Unparsed(unreadable) => Some(Unreadable::as_str(*unreadable)),
            Verdict::Given(_) | Verdict::Refused | Verdict::Failed => None,
        };
        let outcome = verdict.outcome().map(given);
        let mut judgement = Self::unmeasured(outcome.status());
        if let Some(reason) = reason {
            judgement.insert("reason", reason);
        }
        match outcome {
            Outcome::Scored(Measurement::Score(score)) => {
                judgement.score = Some(score.value);
                judgement.insert("out_of_range", score.is_out_of_range);
            }
            Outcome::Scored(Measurement::Winner(winner)) => judgement.insert("winner", winner.as_str()),
            Outcome::Unparsed | Outcome::Refused | Outcome::Failed | Outcome::Unanswered => {}
        }
        judgement
    }
}

/// The model's own answer is the first, wherever the judge saw it.
impl From<Winner> for ResultWinner {
    fn from(winner: Winner) -> Self {
        match winner {
            Winner::A => Self::Model,
            Winner::B => Self::Opponent,
            Winner::Tie => Self::Tie,
        }
    }
}

impl From<ResultWinner> for Winner {
    fn from(winner: ResultWinner) -> Self {
        match winner {
            ResultWinner::Model => Self::A,
            ResultWinner::Opponent => Self::B,
            ResultWinner::Tie => Self::Tie,
        }
    }
}

/// Calls `read` on a judge's answer. The answer was paid for and is stored even if parsing panics.
fn or_failure_on_panic(read: impl FnOnce() -> Judgement) -> Judgement {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = panic_message(panic);
        tracing::error!(panic = message, "parsing a judge's answer panicked");
        let error = format!("parsing the judge's answer panicked: {message}");
        let mut judgement = Judgement::unmeasured(ResultStatus::Failed);
        judgement.insert("error_kind", "internal");
        judgement.insert("error", words(&error));
        judgement
    })
}

/// A judge's answer, as received.
fn completed(judge: &Model, completion: &Completion) -> Map<String, Value> {
    let raw_text = match &completion.content {
        Content::Text(text) | Content::Truncated(text) | Content::Refused(text) | Content::ToolCall(text) => {
            words(text)
        }
        Content::Filtered(reason) => label(reason).into(),
        Content::Empty => "".into(),
    };
    let mut metadata = call_metadata(judge, completion);
    metadata.insert("raw_text".to_owned(), raw_text);
    metadata.insert("judge_version".to_owned(), label(&completion.model).into());
    metadata.insert("finish_reason".to_owned(), label(&completion.finish_reason).into());
    metadata
}

fn failed(error: &Error) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("error_kind".to_owned(), error.kind().as_str().into());
    metadata.insert("error".to_owned(), words(&error.to_string()));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_during_parsing_is_a_failure() {
        let judgement = or_failure_on_panic(|| panic!("the form has a number"));
        assert_eq!((judgement.status, judgement.score), (ResultStatus::Failed, None));
        let expected = "parsing the judge's answer panicked: the form has a number";
        let metadata = judgement.metadata;
        assert_eq!((&metadata["status"], &metadata["error"]), (&"failed".into(), &expected.into()));
    }
}
