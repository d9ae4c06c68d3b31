//! Deserialization that records unknown fields and the path of an error.

use records::shortened;
use schemars::JsonSchema;
use serde::{Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::Object;
use crate::answer::{ApiError, SHOWN_CHARACTERS};

/// How unknown fields are handled.
pub(crate) trait UnknownFields: Send + Sync + 'static {
    /// Handles the `unknown` fields of a `T`, and returns those to name in the response.
    ///
    /// # Errors
    /// When there are unknown fields and they are rejected.
    fn judge<T: JsonSchema>(unknown: Vec<String>) -> Result<Vec<String>, ApiError>;
}

/// On the contract's routes: they are ignored and named in a header.
pub(crate) enum Ignored {}

/// On new routes: they are rejected.
pub(crate) enum Rejected {}

impl UnknownFields for Ignored {
    fn judge<T: JsonSchema>(unknown: Vec<String>) -> Result<Vec<String>, ApiError> {
        Ok(unknown)
    }
}

impl UnknownFields for Rejected {
    fn judge<T: JsonSchema>(unknown: Vec<String>) -> Result<Vec<String>, ApiError> {
        let Some(field) = unknown.into_iter().next() else { return Ok(Vec::new()) };
        let known = known_fields::<T>();
        let name = field.rsplit('.').next().expect("splitting gives one part at least");
        let reason = match nearest(name, &known) {
            Some(nearest) => format!("unknown field: did you mean `{nearest}`?"),
            None => format!("unknown field: expected one of {}", known.join(", ")),
        };
        Err(ApiError::invalid(field, reason))
    }
}

/// Maximum unknown fields that are recorded, each truncated to [`SHOWN_CHARACTERS`]: a body may have a million of
/// them, or one with a million characters.
const MAX_UNKNOWN: usize = 1_000;

/// A value, and the unknown fields.
pub(crate) struct Known<T> {
    pub(crate) value: T,
    pub(crate) unknown: Vec<String>,
}

/// A field that cannot be read.
pub(crate) struct InvalidField<E> {
    /// Its path; empty for the root.
    pub(crate) field: String,
    pub(crate) source: E,
    /// The unknown fields before it.
    pub(crate) unknown: Vec<String>,
}

/// Reads a `T`.
pub(crate) fn read<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Known<T>, InvalidField<D::Error>> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let read = serde_ignored::deserialize(tracked, |path| {
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(place(&path));
        }
    });
    match read {
        Ok(Object(value)) => Ok(Known { value, unknown }),
        Err(source) => {
            let field = track.path().to_string();
            Err(InvalidField { field: if field == "." { String::new() } else { field }, source, unknown })
        }
    }
}

/// The `T` that `value` is, without unknown fields.
pub(crate) fn read_value<T: DeserializeOwned + JsonSchema>(value: Value) -> Result<T, ApiError> {
    let Known { value, unknown } = read::<T, _>(value).map_err(InvalidField::into_error::<T, Rejected>)?;
    Rejected::judge::<T>(unknown)?;
    Ok(value)
}

impl<E: std::fmt::Display> InvalidField<E> {
    /// The error with field and reason. A missing field is often misspelt, so unknown fields are reported first.
    pub(crate) fn into_error<T: JsonSchema, U: UnknownFields>(self) -> ApiError {
        let Self { mut field, source, unknown } = self;
        if let Err(error) = U::judge::<T>(unknown) {
            return error;
        }
        let reason = source.to_string();
        // serde reports these at the field's parent, and names the field only in the text.
        for (start, reason_of_field) in [
            ("missing field `", "expected a value, found none"),
            ("duplicate field `", "expected one value, found two"),
        ] {
            if let Some(name) = reason.strip_prefix(start).and_then(|rest| rest.split('`').next()) {
                field.push_str(if field.is_empty() { "" } else { "." });
                field.push_str(name);
                return ApiError::invalid(field, reason_of_field);
            }
        }
        // A path inside an object, as `store::json` writes it.
        if let Some((place, reason)) = reason.strip_prefix("at `").and_then(|rest| rest.split_once("`: ")) {
            let reason = reason.split(" at line ").next().expect("splitting gives one part at least");
            return ApiError::invalid(format!("{field}.{place}"), reason);
        }
        let field = if field.is_empty() { "body".to_owned() } else { field };
        // The field is more useful than the position in the text.
        let reason = reason.split(" at line ").next().expect("splitting gives one part at least");
        ApiError::invalid(field, reason)
    }
}

/// The notation of `serde_path_to_error`: `items[3].theme`.
fn place(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", place(parent)),
        Path::Map { parent, key } => {
            let parent = place(parent);
            let key = shortened(key, SHOWN_CHARACTERS);
            if parent.is_empty() { key.into_owned() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            place(parent)
        }
    }
}

/// The names of all fields of a `T`.
fn known_fields<T: JsonSchema>() -> Vec<String> {
    let mut known = Vec::new();
    collect_properties(schemars::schema_for!(T).as_value(), &mut known);
    known
}

fn collect_properties(schema: &Value, known: &mut Vec<String>) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::Object(properties)) = entries.get("properties") {
                known.extend(properties.keys().cloned());
            }
            entries.values().for_each(|value| collect_properties(value, known));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_properties(value, known)),
        _ => {}
    }
}

/// The known name that `name` probably misspells.
fn nearest<'k>(name: &str, known: &'k [String]) -> Option<&'k String> {
    /// Two typos in a short name make another word.
    const MIN_SIMILARITY: f64 = 0.6;
    let similarity = |known: &&String| strsim::normalized_damerau_levenshtein(name, known);
    let best = known.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(&best) >= MIN_SIMILARITY).then_some(best)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Inner {
        #[serde(rename = "metric_type")]
        #[expect(dead_code, reason = "its name is what the test is about")]
        category: Option<u32>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Outer {
        #[expect(dead_code, reason = "its name is what the test is about")]
        items: Vec<Object<Inner>>,
    }

    fn read_json(json: &str) -> Result<Known<Outer>, ApiError> {
        read(&mut serde_json::Deserializer::from_str(json))
            .map_err(InvalidField::into_error::<Outer, Rejected>)
    }

    #[test]
    fn unknown_fields_are_reported_with_their_path_and_the_nearest_known_name() {
        let unknown = read_json(r#"{"items": [{}, {"metric_tpye": 1}], "x": {}}"#).map(|known| known.unknown);
        let unknown = unknown.expect("it reads");
        assert_eq!(unknown, ["items[1].metric_tpye", "x"]);
        let refused = Rejected::judge::<Outer>(unknown).expect_err("unknown fields are refused");
        assert_eq!(refused.to_string(), "`items[1].metric_tpye`: unknown field: did you mean `metric_type`?");
        let refused = Rejected::judge::<Outer>(vec!["x".to_owned()]).expect_err("unknown fields are refused");
        assert_eq!(refused.to_string(), "`x`: unknown field: expected one of items, metric_type");
    }

    #[test]
    fn long_names_are_truncated_before_they_are_compared_or_shown() {
        let name = "metric_tpye".repeat(1 << 17);
        let read = read_json(&format!(r#"{{"items": [{{"{name}": 1}}], "{name}": 2}}"#)).expect("it reads");
        assert!(read.unknown.iter().all(|name| name.len() < 200), "{} bytes", read.unknown[0].len());
        let refused = Rejected::judge::<Outer>(read.unknown).expect_err("unknown fields are refused");
        assert!(refused.to_string().len() < 400, "{refused}");
        let many: String = (0..100_000).map(|n| format!(r#""x{n}": 1,"#)).collect();
        let read = read_json(&format!(r#"{{{many} "items": []}}"#)).expect("it reads");
        assert_eq!(read.unknown.len(), MAX_UNKNOWN);
    }

    #[test]
    fn error_names_the_field() {
        let message = |json: &str| read_json(json).err().map(|error| error.to_string());
        assert_eq!(
            message(r#"{"itmes": []}"#).as_deref(),
            Some("`itmes`: unknown field: did you mean `items`?")
        );
        assert_eq!(message(r#"{}"#).as_deref(), Some("`items`: expected a value, found none"));
        assert_eq!(
            message(r#"{"items": [{"metric_type": "a"}]}"#).as_deref(),
            Some("`items[0].metric_type`: invalid type: string \"a\", expected u32")
        );
        let list = "`body`: invalid type: sequence, expected an object";
        assert_eq!(message("[[]]").as_deref(), Some(list));
        let list = "`items[0]`: invalid type: sequence, expected an object";
        assert_eq!(message(r#"{"items": [[1]]}"#).as_deref(), Some(list));
    }
}
