//! Prompts for judges, and evaluation of their answers.
//!
//! Entry points: [`Rubric`] creates prompts, [`Verdict::of_score`] and [`pairwise`] evaluate answers, [`panel`]
//! combines verdicts, [`fingerprint`] identifies equal judgements.

pub mod fingerprint;
mod judge;
pub mod pairwise;
pub mod panel;
mod template;
mod verdict;

use serde_json::{Value, json};

pub use judge::Judge;
pub use template::Placeholder;
pub use verdict::{BeyondScale, Score, Unreadable, Verdict};

use crate::parse::Scale;
use template::{Part, Template};

/// The scale of the old services, and of a metric without its own.
pub const DEFAULT_SCALE: Scale = Scale { min: 1.0, max: 10.0 };

/// Whether a judge scores one answer or compares two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `{output}` gets a score.
    Pointwise,
    /// `{output_a}` or `{output_b}` wins.
    Pairwise,
}

/// Who specifies the format of the judge's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnswerForm {
    /// We do, after the rubric: a JSON object, as in [`Rubric::schema`].
    Json,
    /// The rubric does, and nothing is added.
    AsRubricSays,
}

/// A valid rubric.
#[derive(Clone, Debug, PartialEq)]
pub struct Rubric {
    mode: Mode,
    form: AnswerForm,
    scale: Scale,
    text: String,
    template: Template,
}

/// Values of a rubric's placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs<'i> {
    /// The question.
    pub query: &'i str,
    /// The answer, or the two answers in the judge's order.
    pub outputs: Outputs<'i>,
    /// A reference answer.
    pub reference: Option<&'i str>,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outputs<'i> {
    /// One answer.
    One(&'i str),
    /// Two answers.
    Two(&'i str, &'i str),
}

/// Why a rubric cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RubricError {
    /// It is blank.
    #[error("the rubric is empty: say what makes an answer good")]
    Empty,
    /// The judge would not see the judged answer.
    #[error("the rubric lacks the placeholder {{{0}}}: without it the judge does not see it")]
    Missing(Placeholder),
    /// A placeholder of the other mode.
    #[error("the rubric has the placeholder {{{found}}}, which a {} rubric does not support: use {}", mode.as_str(), mode.placeholders())]
    Foreign {
        /// The placeholder.
        found: Placeholder,
        /// The rubric's mode.
        mode: Mode,
    },
    /// There is no reference answer for `{reference}`.
    #[error(
        "the rubric has the placeholder {{reference}}, but there is no reference answer: add one, or remove the placeholder"
    )]
    NoReference,
    /// One answer for a comparison, or two for a score.
    #[error("a {} rubric was given the wrong number of answers", .0.as_str())]
    Outputs(Mode),
    /// An invalid scale.
    #[error("expected a scale whose minimum is below its maximum, found {min} to {max}")]
    Scale {
        /// The minimum.
        min: f64,
        /// The maximum.
        max: f64,
    },
}

impl Mode {
    /// `pointwise` or `pairwise`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pointwise => "pointwise",
            Self::Pairwise => "pairwise",
        }
    }

    fn placeholders(self) -> &'static str {
        match self {
            Self::Pointwise => "{query}, {output}, {reference}",
            Self::Pairwise => "{query}, {output_a}, {output_b}, {reference}",
        }
    }

    /// The placeholders that the judge must see.
    fn required(self) -> &'static [Placeholder] {
        match self {
            Self::Pointwise => &[Placeholder::Output],
            Self::Pairwise => &[Placeholder::OutputA, Placeholder::OutputB],
        }
    }

    fn has(self, placeholder: Placeholder) -> bool {
        match placeholder {
            Placeholder::Query | Placeholder::Reference => true,
            Placeholder::Output => self == Self::Pointwise,
            Placeholder::OutputA | Placeholder::OutputB => self == Self::Pairwise,
        }
    }
}

impl Rubric {
    /// Parses a rubric by which an answer is scored on `scale`.
    ///
    /// `{query}`, `{output}` and `{reference}`, also in double braces, are replaced; all other braces are kept. A text
    /// without placeholders is used as in the old services: query and output are added below it.
    ///
    /// # Errors
    /// When it is blank, has placeholders but not `{output}`, or has one for two answers, or the scale is invalid.
    pub fn pointwise(text: &str, scale: Scale, form: AnswerForm) -> Result<Self, RubricError> {
        if !scale.is_valid() {
            return Err(RubricError::Scale { min: scale.min, max: scale.max });
        }
        Self::new(text, Mode::Pointwise, scale, form)
    }

    /// Parses a rubric by which two answers are compared. As [`Rubric::pointwise`], with `{output_a}` and `{output_b}`.
    ///
    /// # Errors
    /// When it is blank, has placeholders but not both of these, or has `{output}`.
    pub fn pairwise(text: &str, form: AnswerForm) -> Result<Self, RubricError> {
        Self::new(text, Mode::Pairwise, DEFAULT_SCALE, form)
    }

    fn new(text: &str, mode: Mode, scale: Scale, form: AnswerForm) -> Result<Self, RubricError> {
        if text.trim().is_empty() {
            return Err(RubricError::Empty);
        }
        let template = Template::parse(text);
        if let Some(found) = template.placeholders().find(|placeholder| !mode.has(*placeholder)) {
            return Err(RubricError::Foreign { found, mode });
        }
        if template.placeholders().next().is_some() {
            let has = |required| template.placeholders().any(|placeholder| placeholder == required);
            if let Some(missing) = mode.required().iter().find(|required| !has(**required)) {
                return Err(RubricError::Missing(*missing));
            }
        }
        Ok(Self { mode, form, scale, text: text.to_owned(), template })
    }

    /// The original text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it scores or compares.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The scale of its scores.
    pub fn scale(&self) -> Scale {
        self.scale
    }

    /// Whether it has placeholders for query and outputs; otherwise they are added below it.
    pub fn has_placeholders(&self) -> bool {
        self.template.placeholders().next().is_some()
    }

    /// Unknown names in braces, such as `{answer}`. They are kept in the prompt, which may not be the author's
    /// intention.
    pub fn unknown_names(&self) -> &[String] {
        self.template.unknown_names()
    }

    /// The prompt for the judge.
    ///
    /// # Errors
    /// When the rubric requires a reference answer and the query has none, or the number of outputs is not the rubric's.
    pub fn prompt(&self, inputs: &Inputs<'_>) -> Result<String, RubricError> {
        let value = |placeholder| match (placeholder, inputs.outputs) {
            (Placeholder::Query, _) => Ok(inputs.query),
            (Placeholder::Reference, _) => inputs.reference.ok_or(RubricError::NoReference),
            (Placeholder::Output, Outputs::One(output)) => Ok(output),
            (Placeholder::OutputA, Outputs::Two(first, _)) => Ok(first),
            (Placeholder::OutputB, Outputs::Two(_, second)) => Ok(second),
            (Placeholder::Output | Placeholder::OutputA | Placeholder::OutputB, _) => {
                Err(RubricError::Outputs(self.mode))
            }
        };
        let mut prompt = String::new();
        for part in self.template.parts() {
            prompt.push_str(match part {
                Part::Text(text) => text,
                Part::Placeholder(placeholder) => value(*placeholder)?,
            });
        }
        if !self.has_placeholders() {
            self.show_below(&mut prompt, inputs)?;
        }
        if self.form == AnswerForm::Json {
            prompt.push_str("\n\n");
            prompt.push_str(&self.instruction());
        }
        Ok(prompt)
    }

    /// Adds query and output as the old services did.
    fn show_below(&self, prompt: &mut String, inputs: &Inputs<'_>) -> Result<(), RubricError> {
        let mut show = |title: &str, text: &str| {
            prompt.push_str("\n\n");
            prompt.push_str(title);
            prompt.push_str(":\n");
            prompt.push_str(text);
        };
        show("Query", inputs.query);
        if let Some(reference) = inputs.reference {
            show("Reference answer", reference);
        }
        match (self.mode, inputs.outputs) {
            (Mode::Pointwise, Outputs::One(output)) => show("Output", output),
            (Mode::Pairwise, Outputs::Two(first, second)) => {
                show("Output A", first);
                show("Output B", second);
            }
            (mode, _) => return Err(RubricError::Outputs(mode)),
        }
        if self.form == AnswerForm::AsRubricSays && self.mode == Mode::Pointwise {
            let Scale { min, max } = self.scale;
            let ask =
                format!("\n\nRate the output from {min} to {max}. Answer with the number and nothing else.");
            prompt.push_str(&ask);
        }
        Ok(())
    }

    fn instruction(&self) -> String {
        match self.mode {
            Mode::Pointwise => {
                let Scale { min, max } = self.scale;
                format!(
                    "Answer with a JSON object and nothing else: {{\"rationale\": \"why, in one or two sentences\", \
                     \"score\": a number from {min} to {max}}}"
                )
            }
            Mode::Pairwise => {
                "Answer with a JSON object and nothing else: {\"rationale\": \"why, in one or two \
                               sentences\", \"winner\": \"A\", \"B\" or \"tie\"}"
                    .to_owned()
            }
        }
    }

    /// The schema of the judge's answer, for providers that enforce one; none if the rubric specifies the format.
    ///
    /// It contains no bounds, since providers reject them; the rationale is first, so that the judge reasons before it
    /// decides.
    pub fn schema(&self) -> Option<Value> {
        let (name, verdict) = match self.mode {
            Mode::Pointwise => ("score", json!({"type": "number"})),
            Mode::Pairwise => ("winner", json!({"type": "string", "enum": ["A", "B", "tie"]})),
        };
        (self.form == AnswerForm::Json).then(|| {
            json!({
                "type": "object",
                "properties": {"rationale": {"type": "string"}, name: verdict},
                "required": ["rationale", name],
                "additionalProperties": false,
            })
        })
    }
}
