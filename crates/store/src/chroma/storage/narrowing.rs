//! The part of a selection that a server can evaluate. Its result may contain more records than are selected, never
//! fewer: [`Matcher`](super::matching::Matcher) checks each again.
//!
//! The client evaluates tests in which servers are wrong or differ, and those that may depend on folded values (see
//! [`folding`](crate::storage::folding)):
//! - `$ne`, `$nin` and `$not_contains` before 0.5.12 exclude records without the key; they select nearly all records
//!   anyway;
//! - `$lt` and the like in 1.5.9 truncate a float to an integer, so that 1 is not less than 1.5; integers beyond 64
//!   bits are folded;
//! - equality with a number before 0.5.12 distinguishes integers and floats, and floats are truncated as above;
//! - lists before 1.5 are folded;
//! - `$regex` came in the course of 1.0; in texts, `$contains` up to 0.6 does not find some characters beyond ASCII.

use records::Service;
use serde_json::{Value, json};

use crate::{
    chroma::wire::Condition,
    storage::{DocumentFilter, DocumentTest, Filter, Scalar, Selection, Test},
};

/// The condition, and whether it is equivalent to the selection.
#[derive(Debug, PartialEq)]
pub(super) struct Narrowed {
    pub(super) condition: Condition,
    pub(super) is_exact: bool,
}

/// The narrowest condition with the same meaning on every server.
pub(super) fn narrow(service: Service, selection: &Selection) -> Narrowed {
    let Selection { category, model_id, filter, document, from, before } = selection;
    let mut is_exact = filter.is_none() && document.is_none() && from.is_none() && before.is_none();
    let mut conditions = Vec::new();
    for (key, wanted) in [(service.category_key(), category), ("model_id", model_id)] {
        let Some(wanted) = wanted else { continue };
        // Records without the key match the default, and values of other types match their JSON text.
        let is_written_otherwise = service
            .own_key(key)
            .is_some_and(|own| own.default == wanted || serde_json::from_str::<Value>(wanted).is_ok());
        match is_written_otherwise {
            true => is_exact = false,
            false => conditions.push(json!({ key: wanted })),
        }
    }
    conditions.extend(filter.as_ref().and_then(|filter| metadata_condition(service, filter)));
    let condition =
        Condition { metadata: all_of(conditions), document: document.as_ref().and_then(document_condition) };
    Narrowed { condition, is_exact }
}

fn metadata_condition(service: Service, filter: &Filter) -> Option<Value> {
    let condition_of = |filter| metadata_condition(service, filter);
    match filter {
        Filter::And(filters) => all_of(filters.iter().filter_map(condition_of).collect()),
        Filter::Or(filters) => {
            let conditions: Option<Vec<Value>> = filters.iter().map(condition_of).collect();
            conditions.map(|conditions| json!({ "$or": conditions }))
        }
        Filter::Key { key, test } => {
            // Reserved keys are folded.
            let is_free_key = !key.is_empty() && !key.starts_with(['#', '$']) && !key.starts_with("chroma:");
            // Records without the key match its default.
            let default = service.own_key(key).map(|own| own.default);
            let asked = |scalar| asked(scalar).filter(|value| default.is_none() || value.as_str() != default);
            let value = match test {
                Test::Equal(scalar) => json!({ "$eq": asked(scalar)? }),
                Test::In(scalars) => {
                    let values: Option<Vec<Value>> = scalars.iter().map(asked).collect();
                    json!({ "$in": values? })
                }
                Test::NotEqual(_)
                | Test::NotIn(_)
                | Test::Compare(..)
                | Test::Contains(_)
                | Test::NotContains(_) => return None,
            };
            is_free_key.then(|| json!({ key: value }))
        }
    }
}

fn asked(scalar: &Scalar) -> Option<Value> {
    match scalar {
        Scalar::Bool(value) => Some(Value::Bool(*value)),
        Scalar::Text(text) => Some(Value::String(text.clone())),
        Scalar::Number(_) => None,
    }
}

fn document_condition(filter: &DocumentFilter) -> Option<Value> {
    match filter {
        DocumentFilter::And(filters) => all_of(filters.iter().filter_map(document_condition).collect()),
        DocumentFilter::Or(filters) => {
            let conditions: Option<Vec<Value>> = filters.iter().map(document_condition).collect();
            conditions.map(|conditions| json!({ "$or": conditions }))
        }
        DocumentFilter::Test(DocumentTest::Contains(part)) if part.is_ascii() => {
            Some(json!({ "$contains": part }))
        }
        DocumentFilter::Test(_) => None,
    }
}

/// `$and` requires at least two conditions.
fn all_of(mut conditions: Vec<Value>) -> Option<Value> {
    match conditions.len() {
        0 | 1 => conditions.pop(),
        _ => Some(json!({ "$and": conditions })),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(selection: Selection, expected: Expect) {
        let Narrowed { condition, is_exact } = narrow(Service::Judge, &selection);
        let condition = serde_json::to_string(&condition).expect("conditions are JSON");
        expected.assert_eq(&format!("{condition}{}", if is_exact { " exactly" } else { "" }));
    }

    fn filter(json: Value) -> Selection {
        Selection { filter: Some(Filter::from_json(&json).expect("a filter")), ..Selection::default() }
    }

    fn document(json: Value) -> Selection {
        let document = DocumentFilter::from_json(&json).expect("a filter");
        Selection { document: Some(document), ..Selection::default() }
    }

    #[test]
    fn columns_are_narrowed_unless_other_records_match_them_too() {
        let of = |category: &str, model_id: Option<&str>| Selection {
            category: Some(category.into()),
            model_id: model_id.map(Into::into),
            ..Selection::default()
        };
        check(Selection::default(), expect!["{} exactly"]);
        check(
            of("physics", Some("gpt-4")),
            expect![[r#"{"where":{"$and":[{"theme":"physics"},{"model_id":"gpt-4"}]}} exactly"#]],
        );
        check(of("unknown", Some("gpt-4")), expect![[r#"{"where":{"model_id":"gpt-4"}}"#]]);
        check(of("5", None), expect!["{}"]);
    }

    #[test]
    fn condition_is_never_narrower_than_the_filter() {
        check(
            filter(json!({"$and": [{"a": "x"}, {"b": {"$ne": "y"}}, {"c": {"$in": [true, false]}}]})),
            expect![[r#"{"where":{"$and":[{"a":{"$eq":"x"}},{"c":{"$in":[true,false]}}]}}"#]],
        );
        check(filter(json!({"$or": [{"a": "x"}, {"b": {"$gt": 1}}]})), expect!["{}"]);
        check(filter(json!({"$and": [{"a": 1}, {"b": "y"}]})), expect![[r#"{"where":{"b":{"$eq":"y"}}}"#]]);
        check(filter(json!({"#a": "x"})), expect!["{}"]);
        check(filter(json!({"theme": {"$in": ["physics", "unknown"]}})), expect!["{}"]);
        check(
            document(json!({"$or": [{"$contains": "a"}, {"$contains": "b"}]})),
            expect![[r#"{"where_document":{"$or":[{"$contains":"a"},{"$contains":"b"}]}}"#]],
        );
        check(
            document(json!({"$and": [{"$contains": "a"}, {"$contains": "\u{1f600}"}, {"$regex": "b"}]})),
            expect![[r#"{"where_document":{"$contains":"a"}}"#]],
        );
    }
}
