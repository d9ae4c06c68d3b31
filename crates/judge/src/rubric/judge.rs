//! A judge and its parameters.

use super::Rubric;
use crate::provider::Request;

/// A judge and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Judge {
    /// The provider's name.
    pub provider: String,
    /// The model's id.
    pub model: String,
    /// The version of the model, if the id does not include it.
    pub version: Option<String>,
    /// As in [`Request`].
    pub temperature: Option<f64>,
    /// As in [`Request`].
    pub max_tokens: Option<u32>,
    /// As in [`Request`].
    pub seed: Option<u32>,
    /// As in [`Request`].
    pub system: Option<String>,
    /// Whether the provider should enforce [`Rubric::schema`].
    pub is_held_to_schema: bool,
}

impl Judge {
    /// The request with `prompt`, created by `rubric`, for the judge.
    pub fn request(&self, rubric: &Rubric, prompt: String) -> Request {
        Request {
            system: self.system.clone(),
            prompt,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            seed: self.seed,
            json_schema: if self.is_held_to_schema { rubric.schema() } else { None },
        }
    }
}
