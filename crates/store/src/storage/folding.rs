//! Metadata values that ChromaDB cannot store: folded into one JSON text under a reserved key, and returned in their
//! places. A migration copies that text to PostgreSQL unchanged.

use serde_json::{Map, Value};

use crate::json::exact_object;

/// The key of the text: a JSON object of the folded keys and values.
pub(crate) const FOLDED_KEY: &str = "panopticon:json";

/// `metadata` with every entry that is not `held` moved into the text.
pub(crate) fn fold(metadata: Map<String, Value>, held: impl Fn(&str, &Value) -> bool) -> Map<String, Value> {
    let (mut kept, folded): (Map<_, _>, Map<_, _>) =
        metadata.into_iter().partition(|(key, value)| held(key, value));
    if !folded.is_empty() {
        kept.insert(FOLDED_KEY.to_owned(), Value::String(Value::Object(folded).to_string()));
    }
    kept
}

/// `metadata` with the text's entries restored. A text of another format stays unchanged.
pub(crate) fn unfold(mut metadata: Map<String, Value>) -> Map<String, Value> {
    let text = metadata.get(FOLDED_KEY).and_then(Value::as_str);
    if let Some(Ok(folded)) = text.map(exact_object) {
        metadata.remove(FOLDED_KEY);
        metadata.extend(folded);
    }
    metadata
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folded_metadata_are_restored_exactly() {
        let Value::Object(metadata) =
            json!({"a": 1, "b": null, "": "x", "c": {"d": [1, 1.0, 1e16, u64::MAX, "\u{1f600}"]}})
        else {
            panic!("an object")
        };
        let folded = fold(metadata.clone(), |key, value| !key.is_empty() && value.is_i64());
        assert_eq!(folded.keys().collect::<Vec<_>>(), ["a", FOLDED_KEY]);
        assert_eq!(unfold(folded), metadata);
        let held = fold(metadata.clone(), |_, _| true);
        assert_eq!(held, metadata);
    }

    #[test]
    fn text_of_another_format_stays() {
        for value in [json!("no JSON"), json!("[1]"), json!(5)] {
            let metadata = Map::from_iter([(FOLDED_KEY.to_owned(), value)]);
            assert_eq!(unfold(metadata.clone()), metadata);
        }
    }
}
