//! The query string of a page: what its parameters are, and which of two forms it asks for.

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};
use form_urlencoded::Serializer;
use records::shortened;
use serde_json::{Value, json};

use crate::{
    answer::{ApiError, SHOWN_CHARACTERS},
    request::{QueryString, Rejected},
};

const FORMAT: &str = "format";

/// The form of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    /// Its data.
    Json,
}

/// The query string of a page, read. Browsers send empty fields of a form, which count as absent.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) format: Format,
    /// The parameters other than `format`.
    pub(super) parameters: Vec<(String, String)>,
}

impl Given {
    /// That of `uri`.
    ///
    /// # Errors
    /// When a part of it is not percent-encoded UTF-8, or the format is unknown; the error names the parameter.
    pub(super) fn of(uri: &Uri) -> Result<Self, ApiError> {
        // A missing query string counts as empty.
        let query = uri.query().unwrap_or("");
        let mut given = Self { format: Format::Html, parameters: Vec::new() };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let invalid = || {
                let field = shortened(name, SHOWN_CHARACTERS).into_owned();
                ApiError::invalid(field, "expected percent-encoded UTF-8")
            };
            let (name, value) = decoded(name).zip(decoded(value)).ok_or_else(invalid)?;
            match (name.as_str(), value.as_str()) {
                (_, "") => {}
                (FORMAT, "json") => given.format = Format::Json,
                (FORMAT, "html") => given.format = Format::Html,
                (FORMAT, _) => return Err(ApiError::invalid(FORMAT, "expected `json` or `html`")),
                _ => given.parameters.push((name, value)),
            }
        }
        Ok(given)
    }

    /// The first value of a parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// A part of a query string; `None` if an escape is incomplete, or the bytes are not UTF-8.
fn decoded(part: &str) -> Option<String> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut bytes, mut decoded) = (part.bytes(), Vec::with_capacity(part.len()));
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// Parameters `T`. Unknown ones are rejected, so that no misspelt filter shows everything.
pub(crate) struct Filters<T>(pub(crate) T);

impl<S: Send + Sync, T: QueryString> FromRequestParts<S> for Filters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let given = Given::of(&parts.uri)?;
        let known = T::read::<Rejected>(&to_query(&given.parameters))?;
        T::judge::<Rejected>(known.unknown)?;
        Ok(Self(known.value))
    }
}

/// The query string of these parameters.
pub(super) fn to_query<'p>(pairs: impl IntoIterator<Item = &'p (String, String)>) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// `path` with those of the parameters that have a value.
pub(super) fn link<'p>(
    path: &str,
    parameters: impl IntoIterator<Item = (&'p str, Option<&'p str>)>,
) -> String {
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let query = Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The condition that `written` says: JSON, or `key=value`, whose value is JSON if it can be.
pub(super) fn metadata_condition(written: &str) -> Value {
    match written.split_once('=') {
        Some((key, value)) if !written.trim_start().starts_with('{') => {
            let value = value.trim();
            // Other words are a text.
            let value = match serde_json::from_str(value) {
                Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::String(_))) => value,
                _ => Value::String(value.to_owned()),
            };
            json!({ key.trim(): value })
        }
        _ => Value::String(written.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(query: &str) -> Result<Given, String> {
        let uri = format!("/console/queries?{query}").parse().expect("a URI");
        Given::of(&uri).map_err(|error| error.to_string())
    }

    #[test]
    fn parameters_are_decoded_and_empty_ones_are_absent() {
        let read =
            given("q=a+b%20c&category=&x&where=%7B%22%C3%A4%22%3A1%7D&format=json&&q=2").expect("it reads");
        assert_eq!(read.format, Format::Json);
        let pairs = [("q", "a b c"), ("where", "{\"ä\":1}"), ("q", "2")];
        assert_eq!(read.parameters, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((read.parameter("q"), read.parameter("none")), (Some("a b c"), None));
        assert_eq!(given("format=html").expect("it reads").format, Format::Html);
    }

    #[test]
    fn errors_name_the_parameter() {
        for query in ["q=%FF", "q=%zz", "q=a%2", "q=%", "q=%C3", "category=a&q=%ED%A0%80&x=1"] {
            assert_eq!(given(query).expect_err(query), "`q`: expected percent-encoded UTF-8", "{query}");
        }
        assert_eq!(given("%FF=1").expect_err("the name"), "`%FF`: expected percent-encoded UTF-8");
        assert_eq!(given("format=xml").expect_err("unknown"), "`format`: expected `json` or `html`");
    }

    #[test]
    fn metadata_conditions_are_json_or_pairs() {
        assert_eq!(metadata_condition("level=2"), json!({ "level": 2 }));
        assert_eq!(metadata_condition(" lang = en "), json!({ "lang": "en" }));
        assert_eq!(metadata_condition("a=b=c"), json!({ "a": "b=c" }));
        assert_eq!(metadata_condition("a=null"), json!({ "a": "null" }));
        let json = "{\"a\": {\"$gte\": 1}, \"b\": \"x=y\"}";
        assert_eq!(metadata_condition(json), Value::String(json.to_owned()));
    }
}
