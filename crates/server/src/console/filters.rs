//! The query string of a page.

use axum::{extract::FromRequestParts, http::request::Parts};
use form_urlencoded::Serializer;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    answer::ApiError,
    request::{Ignored, read_query},
};

/// Parameters `T`. Browsers send empty fields of a form, which count as absent.
pub(crate) struct Filters<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema> FromRequestParts<S> for Filters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let given = form_urlencoded::parse(query.as_bytes()).filter(|(_, value)| !value.is_empty());
        Ok(Self(read_query::<T, Ignored>(&to_query(given))?.value))
    }
}

/// The query string of these parameters.
pub(super) fn to_query<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// `path` with those of the parameters that have a value.
pub(super) fn link<const N: usize>(path: &str, parameters: [(&str, Option<&str>); N]) -> String {
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query = to_query(given);
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
