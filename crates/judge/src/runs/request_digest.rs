//! The digest of a request for a run. Stored with the run, it tells a retry from another request with the same key.
//!
//! A digest is `1:` and the SHA-256, hexadecimal, of JSON without spaces whose keys are ordered by their bytes. The
//! JSON is written by hand here, so that it does not depend on our names. Stored data depends on it: after a change,
//! retries of stored runs would be rejected; a new form needs a new number.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use store::storage::{Comparison, DocumentFilter, DocumentTest, Filter, Scalar, Selection, Test};
use time::PrimitiveDateTime;

use super::{
    legacy_request,
    plan::{RunBudget, RunMode},
    request::{NamedModel, RunQueries, RunRequest},
};

const FORM: &str = "1:";

/// The digest of `wanted`, to be stored.
pub(super) fn digest(wanted: &RunRequest) -> String {
    format!("{FORM}{}", sha256(&text(wanted)))
}

/// Whether the stored `digest` is that of `wanted`.
pub(super) fn is_of(digest: &str, wanted: &RunRequest) -> bool {
    match digest.starts_with(FORM) {
        true => digest == self::digest(wanted),
        // Runs of versions without a number.
        false => digest == sha256(&legacy_request::text(wanted)),
    }
}

pub(super) fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(wanted: &RunRequest) -> String {
    let mut text = String::new();
    write(&request(wanted), &mut text);
    text
}

fn request(wanted: &RunRequest) -> Value {
    let RunRequest {
        // The run is identified by it.
        id: _,
        name,
        queries,
        mode,
        models,
        judges,
        evaluation_prompt_ids,
        repeats,
        uses_cache,
        temperature,
        metadata,
        budget,
    } = wanted;
    let RunBudget { requests, tokens, cost_usd, wall_time_s } = budget;
    json!({
        "name": name,
        "queries": match queries {
            RunQueries::Ids(ids) => json!({ "ids": ids }),
            RunQueries::Selected { selection, limit } => json!({ "selected": selected(selection), "limit": limit }),
        },
        "mode": match mode {
            RunMode::Pointwise => "pointwise",
            RunMode::Pairwise => "pairwise",
        },
        "models": named(models),
        "judges": named(judges),
        "metrics": evaluation_prompt_ids,
        "repeats": repeats,
        "cache": uses_cache,
        "temperature": temperature,
        "metadata": metadata,
        "budget": { "requests": requests, "tokens": tokens, "cost_usd": cost_usd, "wall_time_s": wall_time_s },
    })
}

fn named(models: &[NamedModel]) -> Value {
    models.iter().map(|NamedModel { id, provider }| json!([id, provider])).collect()
}

fn selected(selection: &Selection) -> Value {
    let Selection { category, model_id, filter, document, from, before } = selection;
    let time = |time: &PrimitiveDateTime| time.assume_utc().unix_timestamp_nanos().to_string();
    json!({
        "category": category,
        "model_id": model_id,
        "where": filter.as_ref().map(filter_json),
        "where_document": document.as_ref().map(document_json),
        "from": from.as_ref().map(time),
        "before": before.as_ref().map(time),
    })
}

/// As ChromaDB's `where`.
fn filter_json(filter: &Filter) -> Value {
    let all = |filters: &[Filter]| filters.iter().map(filter_json).collect::<Value>();
    match filter {
        Filter::And(filters) => json!({ "$and": all(filters) }),
        Filter::Or(filters) => json!({ "$or": all(filters) }),
        Filter::Key { key, test } => {
            let (operator, value) = match test {
                Test::Equal(value) => ("$eq", scalar_json(value)),
                Test::NotEqual(value) => ("$ne", scalar_json(value)),
                Test::Compare(comparison, number) => (comparison_name(*comparison), json!(number)),
                Test::In(values) => ("$in", values.iter().map(scalar_json).collect()),
                Test::NotIn(values) => ("$nin", values.iter().map(scalar_json).collect()),
                Test::Contains(value) => ("$contains", scalar_json(value)),
                Test::NotContains(value) => ("$not_contains", scalar_json(value)),
            };
            json!({ key: { operator: value } })
        }
    }
}

fn comparison_name(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Greater => "$gt",
        Comparison::GreaterOrEqual => "$gte",
        Comparison::Less => "$lt",
        Comparison::LessOrEqual => "$lte",
    }
}

fn scalar_json(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Bool(value) => json!(value),
        Scalar::Number(number) => json!(number),
        Scalar::Text(text) => json!(text),
    }
}

/// As ChromaDB's `where_document`.
fn document_json(filter: &DocumentFilter) -> Value {
    let all = |filters: &[DocumentFilter]| filters.iter().map(document_json).collect::<Value>();
    match filter {
        DocumentFilter::And(filters) => json!({ "$and": all(filters) }),
        DocumentFilter::Or(filters) => json!({ "$or": all(filters) }),
        DocumentFilter::Test(test) => match test {
            DocumentTest::Contains(part) => json!({ "$contains": part }),
            DocumentTest::NotContains(part) => json!({ "$not_contains": part }),
            DocumentTest::Regex(pattern) => json!({ "$regex": pattern.as_str() }),
            DocumentTest::NotRegex(pattern) => json!({ "$not_regex": pattern.as_str() }),
        },
    }
}

/// Writes canonical JSON, independent of the order of our maps.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(entries) => {
            text.push('{');
            write_entries(entries, text);
            text.push('}');
        }
        Value::Array(values) => {
            text.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(value, text);
            }
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn write_entries(entries: &Map<String, Value>, text: &mut String) {
    let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| *key);
    for (index, (key, value)) in entries.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&Value::from(key.as_str()).to_string());
        text.push(':');
        write(value, text);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;
    use uuid::Uuid;

    use super::*;

    fn model(id: &str, provider: Option<&str>) -> NamedModel {
        NamedModel { id: id.to_owned(), provider: provider.map(str::to_owned) }
    }

    /// A request with all optional fields.
    pub(in crate::runs) fn full() -> RunRequest {
        let filter = json!({"$and": [
            {"a": "x"}, {"b": {"$ne": true}}, {"$or": [{"c": {"$gt": 1}}, {"c": {"$lte": -0.5}}]},
            {"d": {"$in": ["p", "q\"\u{e9}"]}}, {"e": {"$nin": [1, 2]}}, {"f": {"$contains": 3.0}},
            {"g": {"$not_contains": "z"}}, {"h": {"$gte": 2}}, {"i": {"$lt": 1e300}},
        ]});
        let document = json!({"$or": [
            {"$contains": "sky"}, {"$not_contains": "sea"},
            {"$and": [{"$regex": "^a[bc]+\\d{2}|x$"}, {"$not_regex": "(?i)q.?"}]},
        ]});
        let selection = Selection {
            category: Some("physics".to_owned()),
            model_id: None,
            filter: Some(Filter::from_json(&filter).expect("a filter")),
            document: Some(DocumentFilter::from_json(&document).expect("a filter")),
            from: Some(time::macros::datetime!(2026-01-31 12:00:00.5)),
            before: Some(time::macros::datetime!(2026-02-01 00:00)),
        };
        let metadata = json!({"z": {"n": null, "l": [1, 2.5, "t", true]}, "a\n": -7});
        RunRequest {
            id: Uuid::from_u128(7),
            name: Some("spring".to_owned()),
            queries: RunQueries::Selected { selection, limit: 25 },
            mode: RunMode::Pairwise,
            models: vec![model("gpt-4o", None), model("mine", Some("openai"))],
            judges: vec![model("gpt-4", None)],
            evaluation_prompt_ids: vec!["m1".to_owned(), "m2".to_owned()],
            repeats: 3,
            uses_cache: false,
            temperature: Some(0.25),
            metadata: metadata.as_object().expect("an object").clone(),
            budget: RunBudget {
                requests: Some(100),
                tokens: None,
                cost_usd: Some(1.5),
                wall_time_s: Some(60),
            },
        }
    }

    /// A request without optional fields.
    pub(in crate::runs) fn least() -> RunRequest {
        RunRequest {
            id: Uuid::from_u128(7),
            name: None,
            queries: RunQueries::Ids(vec!["q1".to_owned(), "q2".to_owned()]),
            mode: RunMode::Pointwise,
            models: vec![model("gpt-4o", None)],
            judges: vec![model("gpt-4", None)],
            evaluation_prompt_ids: vec!["m1".to_owned()],
            repeats: 1,
            uses_cache: true,
            temperature: None,
            metadata: Map::new(),
            budget: RunBudget::default(),
        }
    }

    #[test]
    fn hashed_bytes_never_change() {
        expect![[r#"{"budget":{"cost_usd":null,"requests":null,"tokens":null,"wall_time_s":null},"cache":true,"judges":[["gpt-4",null]],"metadata":{},"metrics":["m1"],"mode":"pointwise","models":[["gpt-4o",null]],"name":null,"queries":{"ids":["q1","q2"]},"repeats":1,"temperature":null}"#]].assert_eq(&text(&least()));
        expect![[r#"{"budget":{"cost_usd":1.5,"requests":100,"tokens":null,"wall_time_s":60},"cache":false,"judges":[["gpt-4",null]],"metadata":{"a\n":-7,"z":{"l":[1,2.5,"t",true],"n":null}},"metrics":["m1","m2"],"mode":"pairwise","models":[["gpt-4o",null],["mine","openai"]],"name":"spring","queries":{"limit":25,"selected":{"before":"1769904000000000000","category":"physics","from":"1769860800500000000","model_id":null,"where":{"$and":[{"a":{"$eq":"x"}},{"b":{"$ne":true}},{"$or":[{"c":{"$gt":1}},{"c":{"$lte":-0.5}}]},{"d":{"$in":["p","q\"é"]}},{"e":{"$nin":[1,2]}},{"f":{"$contains":3.0}},{"g":{"$not_contains":"z"}},{"h":{"$gte":2}},{"i":{"$lt":1e+300}}]},"where_document":{"$or":[{"$contains":"sky"},{"$not_contains":"sea"},{"$and":[{"$regex":"^a[bc]+\\d{2}|x$"},{"$not_regex":"(?i)q.?"}]}]}}},"repeats":3,"temperature":0.25}"#]].assert_eq(&text(&full()));
        expect!["1:21dda1390979f7afdad3cc0f9854367ea65239abf947752ba36b08318c193722"]
            .assert_eq(&digest(&least()));
        expect!["1:bd97afcfaf7c02a3c267230ed42fb6fee5b8a8a0ff330e66f4a0c554a09c5396"]
            .assert_eq(&digest(&full()));
    }

    #[test]
    fn digests_of_both_forms_match_their_request_only() {
        for wanted in [least(), full()] {
            let stored = [digest(&wanted), sha256(&legacy_request::text(&wanted))];
            let other = RunRequest { repeats: wanted.repeats + 1, ..wanted.clone() };
            for stored in stored {
                assert!(is_of(&stored, &wanted), "{stored}");
                assert!(!is_of(&stored, &other), "{stored}");
            }
        }
        assert!(!is_of("", &least()));
    }
}
