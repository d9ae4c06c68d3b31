//! Fingerprints of judgements, by which an earlier verdict is reused.
//!
//! A fingerprint is the SHA-256 of everything that determines a judge's request, as consecutive fields. A field is its
//! name and its value, each after its length in bytes as 8 bytes, little-endian; an absent value has the length
//! 2⁶⁴ − 1 and no bytes. The fields, in this order:
//!
//! | name | value |
//! |---|---|
//! | `form` | `panopticon judgement 1` |
//! | `judge.provider`, `judge.model`, `judge.version` | as text |
//! | `judge.temperature` | shortest decimal that is the number |
//! | `judge.max_tokens`, `judge.seed` | decimal |
//! | `judge.system` | text |
//! | `judge.schema` | `yes` or `no`: whether the provider enforces the schema |
//! | `rubric.mode` | `pointwise` or `pairwise` |
//! | `rubric.form` | `json` or `as rubric says` |
//! | `rubric.scale` | minimum, space, maximum |
//! | `rubric.text` | SHA-256 of the text, hexadecimal |
//! | `inputs` | SHA-256 of the fields `query`, `output` or `output_a` and `output_b`, `reference`, hexadecimal |
//! | `repeat` | decimal |
//!
//! Stored fingerprints are cache keys: after a change to this form all judges are called again, and `form` needs a new
//! number.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{AnswerForm, Inputs, Judge, Outputs, Rubric};

/// The identity of a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of `judge` applying `rubric` to `inputs` for the `repeat`-th time, from 0.
    pub fn of(judge: &Judge, rubric: &Rubric, inputs: &Inputs<'_>, repeat: u32) -> Self {
        let form = match rubric.form {
            AnswerForm::Json => "json",
            AnswerForm::AsRubricSays => "as rubric says",
        };
        let scale = rubric.scale;
        let mut fields = Fields::new();
        fields.add("form", Some("panopticon judgement 1"));
        fields.add("judge.provider", Some(&judge.provider));
        fields.add("judge.model", Some(&judge.model));
        fields.add("judge.version", judge.version.as_deref());
        fields.add("judge.temperature", judge.temperature.map(|number| number.to_string()).as_deref());
        fields.add("judge.max_tokens", judge.max_tokens.map(|number| number.to_string()).as_deref());
        fields.add("judge.seed", judge.seed.map(|number| number.to_string()).as_deref());
        fields.add("judge.system", judge.system.as_deref());
        fields.add("judge.schema", Some(if judge.is_held_to_schema { "yes" } else { "no" }));
        fields.add("rubric.mode", Some(rubric.mode.as_str()));
        fields.add("rubric.form", Some(form));
        fields.add("rubric.scale", Some(&format!("{} {}", scale.min, scale.max)));
        fields.add("rubric.text", Some(&text_hash(&rubric.text).to_string()));
        fields.add("inputs", Some(&inputs_hash(inputs).to_string()));
        fields.add("repeat", Some(&repeat.to_string()));
        fields.end()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The SHA-256 of a text.
pub fn text_hash(text: &str) -> Fingerprint {
    Fingerprint(Sha256::digest(text).into())
}

/// The SHA-256 of what is judged, in the form of the module's table.
pub fn inputs_hash(inputs: &Inputs<'_>) -> Fingerprint {
    let mut fields = Fields::new();
    fields.add("query", Some(inputs.query));
    match inputs.outputs {
        Outputs::One(output) => fields.add("output", Some(output)),
        Outputs::Two(first, second) => {
            fields.add("output_a", Some(first));
            fields.add("output_b", Some(second));
        }
    }
    fields.add("reference", inputs.reference);
    fields.end()
}

/// As 64 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Fields(Sha256);

impl Fields {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn add(&mut self, name: &str, value: Option<&str>) {
        for text in [Some(name), value] {
            let length = text.map_or(u64::MAX, |text| text.len() as u64);
            self.0.update(length.to_le_bytes());
            self.0.update(text.unwrap_or(""));
        }
    }

    fn end(self) -> Fingerprint {
        Fingerprint(self.0.finalize().into())
    }
}
