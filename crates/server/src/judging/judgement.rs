//! What a judge is asked about one answer or two, and what its words are worth.

use std::panic::{AssertUnwindSafe, catch_unwind};

use judge::{
    outcome::Outcome,
    parse::Winner,
    provider::{Completion, Content, Error, Request},
    registry::Model,
    rubric::{Inputs, Judge, Mode, Outputs, RubricError, Unreadable, Verdict, fingerprint::Fingerprint},
};
use serde_json::{Map, Value};

use super::{Question, output::call_metadata, plan::Metric};
use crate::supervisor::panic_message;

/// A verdict has one or two sentences. Small models that have begun a text between quotes may not find its end.
const MAX_TOKENS: u32 = 1024;

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matter<'m> {
    pub(super) question: &'m Question,
    /// As the judge sees them.
    pub(super) outputs: Outputs<'m>,
    /// How often the judge was asked the same before.
    pub(super) repeat: u32,
}

/// A question for a judge.
#[derive(Clone, Debug)]
pub(super) struct Inquiry {
    pub(super) request: Request,
    pub(super) fingerprint: Fingerprint,
}

/// What a judge said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    /// Whether there is a verdict.
    pub(super) outcome: Outcome<()>,
    /// Why there is none that can be read.
    pub(super) reason: Option<&'static str>,
    /// Of one answer; none of two.
    pub(super) score: Option<f64>,
    /// Everything else: `status`, what the judge said and what it took.
    pub(super) metadata: Map<String, Value>,
}

impl Inquiry {
    /// # Errors
    /// When the metric cannot be asked about it.
    pub(super) fn new(judge: &Model, metric: &Metric, matter: Matter<'_>) -> Result<Self, RubricError> {
        let asked = Judge {
            provider: judge.provider.clone(),
            model: judge.id.clone(),
            version: None,
            temperature: judge.takes_temperature.then_some(0.0),
            // Those that think count their thoughts among them.
            max_tokens: judge.takes_temperature.then_some(MAX_TOKENS),
            seed: None,
            system: None,
            is_held_to_schema: judge.takes_schema,
        };
        let reference = matter.question.reference.as_deref();
        let inputs = Inputs { query: &matter.question.text, outputs: matter.outputs, reference };
        let prompt = metric.rubric.prompt(&inputs)?;
        let fingerprint = Fingerprint::of(&asked, &metric.rubric, &inputs, matter.repeat);
        Ok(Self { request: asked.request(&metric.rubric, prompt), fingerprint })
    }
}

impl Judgement {
    /// Reads what `judge` answered; `swapped` says whether it saw the first answer second.
    pub(super) fn of(
        judge: &Model,
        metric: &Metric,
        swapped: bool,
        asked: Result<&Completion, &Error>,
    ) -> Self {
        let mut judgement = unless_it_panics(|| match (asked, metric.rubric.mode()) {
            (Ok(completion), Mode::Pointwise) => {
                Self::score(&Verdict::of_score(completion, metric.rubric.scale(), metric.beyond))
            }
            (Ok(completion), Mode::Pairwise) => Self::winner(&Verdict::of_winner(completion), swapped),
            (Err(error), _) => Self::score(&Verdict::of_error(error)),
        });
        match asked {
            Ok(completion) => judgement.metadata.extend(completed(judge, completion)),
            Err(error) => judgement.metadata.extend(failed(error)),
        }
        judgement.metadata.insert("judge_provider".to_owned(), judge.provider.clone().into());
        judgement
    }

    fn score(verdict: &Verdict<judge::rubric::Score>) -> Self {
        let mut judgement = Self::without_words(verdict);
        if let Verdict::Given(score) = verdict {
            judgement.score = Some(score.value);
            judgement.metadata.insert("out_of_range".to_owned(), score.is_out_of_range.into());
        }
        judgement
    }

    fn winner(verdict: &Verdict<Winner>, swapped: bool) -> Self {
        let mut judgement = Self::without_words(verdict);
        if let Verdict::Given(winner) = verdict {
            let winner = if swapped { winner.swapped() } else { *winner };
            let winner = match winner {
                Winner::A => "model",
                Winner::B => "opponent",
                Winner::Tie => "tie",
            };
            judgement.metadata.insert("winner".to_owned(), winner.into());
        }
        judgement
    }

    fn without_words<T: Clone>(verdict: &Verdict<T>) -> Self {
        let outcome = verdict.clone().outcome().map(|_| ());
        let reason = match verdict {
            Verdict::Unparsed(unreadable) => Some(Unreadable::as_str(*unreadable)),
            Verdict::Given(_) | Verdict::Refused | Verdict::Failed => None,
        };
        let mut metadata = Map::new();
        metadata.insert("status".to_owned(), outcome.as_str().into());
        if let Some(reason) = reason {
            metadata.insert("reason".to_owned(), reason.into());
        }
        Self { outcome, reason, score: None, metadata }
    }
}

/// What `read` makes of a judge's words. They were paid for and are kept, whatever is wrong with how we read them.
fn unless_it_panics(read: impl FnOnce() -> Judgement) -> Judgement {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let message = panic_message(panic);
        tracing::error!(panic = message, "reading a judge's words panicked");
        let error = format!("reading the judge's words panicked: {message}");
        let entries = [("status", "failed"), ("error_kind", "internal"), ("error", error.as_str())];
        let metadata = entries.into_iter().map(|(key, value)| (key.to_owned(), words(value))).collect();
        Judgement { outcome: Outcome::Failed, reason: None, score: None, metadata }
    })
}

/// A judge's answer, as it came.
fn completed(judge: &Model, completion: &Completion) -> Map<String, Value> {
    let raw_text = match &completion.content {
        Content::Text(text)
        | Content::Truncated(text)
        | Content::Refused(text)
        | Content::Filtered(text)
        | Content::ToolCall(text) => text,
        Content::Empty => "",
    };
    let mut metadata = call_metadata(judge, completion);
    metadata.insert("raw_text".to_owned(), words(raw_text));
    metadata.insert("judge_version".to_owned(), words(&completion.model));
    metadata.insert("finish_reason".to_owned(), words(&completion.finish_reason));
    metadata
}

fn failed(error: &Error) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.insert("error_kind".to_owned(), error.kind().as_str().into());
    metadata.insert("error".to_owned(), words(&error.to_string()));
    metadata
}

/// Words of a provider. PostgreSQL can look into no JSON that has the character NUL: its picture stands for it.
pub(super) fn words(text: &str) -> Value {
    text.replace('\0', "\u{2400}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_cannot_even_be_read_are_a_failure_and_no_panic() {
        let judgement = unless_it_panics(|| panic!("the form has a number"));
        assert_eq!((judgement.outcome, judgement.score), (Outcome::Failed, None));
        let expected = "reading the judge's words panicked: the form has a number";
        assert_eq!(
            (&judgement.metadata["status"], &judgement.metadata["error"]),
            (&"failed".into(), &expected.into())
        );
    }
}
