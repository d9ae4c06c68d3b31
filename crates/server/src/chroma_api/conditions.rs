//! `where` and `where_document`, as Chroma 1.5 reads them.

use serde_json::{Map, Number, Value};
use store::storage::{Comparison, DocumentTest, Pattern, RecordFilter, Scalar, Test};

use super::{
    error::{Answered, Refusal},
    metadata::normalized_number,
};

/// Maximum depth of a condition: each level uses stack in PostgreSQL.
const MAX_DEPTH: usize = 64;
/// Maximum tests of a condition: a statement takes this many values.
const MAX_TESTS: usize = 8_000;

/// The key by which `where` tests documents.
const DOCUMENT: &str = "#document";

/// The condition of a request; `None` if it has none.
pub(super) fn read(metadata: Option<&Value>, document: Option<&Value>) -> Answered<Option<RecordFilter>> {
    let given = |condition: Option<&Value>| condition.is_some_and(|condition| !condition.is_null());
    let mut reader = Reader { tests: 0 };
    let metadata = match metadata {
        Some(condition) if given(metadata) => Some(reader.metadata(condition, 0)?),
        _ => None,
    };
    let document = match document {
        Some(condition) if given(document) => Some(reader.document(condition, 0)?),
        _ => None,
    };
    Ok(match (metadata, document) {
        (Some(metadata), Some(document)) => Some(RecordFilter::And(vec![metadata, document])),
        (one, other) => one.or(other),
    })
}

/// Whether a condition matches every record because it is an empty conjunction.
pub(super) fn is_empty_conjunction(filter: &RecordFilter) -> bool {
    match filter {
        RecordFilter::And(filters) => filters.iter().all(is_empty_conjunction),
        RecordFilter::Or(filters) => filters.iter().any(is_empty_conjunction),
        RecordFilter::Key { .. } | RecordFilter::Document(_) => false,
    }
}

/// Rejects tests of keys whose index `schema` disables, as Chroma does although none is needed here.
pub(super) fn check_indexed(filter: &RecordFilter, schema: &Value) -> Answered<()> {
    match filter {
        RecordFilter::And(filters) | RecordFilter::Or(filters) => {
            filters.iter().try_for_each(|filter| check_indexed(filter, schema))
        }
        RecordFilter::Key { key, test } => {
            let (value_type, shown) = value_type(test);
            let index = format!("/{value_type}/{value_type}_inverted_index/enabled");
            let of_key = schema["keys"].get(key).and_then(|types| types.pointer(&index));
            let is_enabled = of_key.or_else(|| schema["defaults"].pointer(&index)).and_then(Value::as_bool);
            if is_enabled == Some(false) {
                return Err(Refusal::invalid(format!(
                    "Cannot filter using metadata key '{key}' with type '{shown}' because indexing is disabled"
                )));
            }
            Ok(())
        }
        RecordFilter::Document(_) => Ok(()),
    }
}

/// The type that a test compares with, as schemas and Chroma's errors name it.
fn value_type(test: &Test) -> (&'static str, &'static str) {
    let of_number = |number: &Number| if number.is_f64() { ("float", "Float") } else { ("int", "Int") };
    let scalar = match test {
        Test::Compare(_, number) => return of_number(number),
        Test::Equal(scalar) | Test::NotEqual(scalar) | Test::Contains(scalar) | Test::NotContains(scalar) => {
            Some(scalar)
        }
        Test::In(scalars) | Test::NotIn(scalars) => scalars.first(),
    };
    match scalar {
        Some(Scalar::Bool(_)) => ("bool", "Bool"),
        Some(Scalar::Number(number)) => of_number(number),
        Some(Scalar::Text(_)) | None => ("string", "Str"),
    }
}

struct Reader {
    tests: usize,
}

fn invalid() -> Refusal {
    Refusal::invalid("Invalid where clause")
}

fn invalid_document() -> Refusal {
    Refusal::invalid("Invalid where document clause")
}

impl Reader {
    fn metadata(&mut self, condition: &Value, depth: usize) -> Answered<RecordFilter> {
        let (key, value) = only_entry(condition).ok_or_else(invalid)?;
        self.count(1, depth)?;
        match key {
            "$and" | "$or" => {
                let conditions = value.as_array().ok_or_else(invalid)?;
                let conditions = conditions.iter().map(|one| self.metadata(one, depth + 1));
                all(key, conditions.collect::<Answered<_>>()?)
            }
            key if key.starts_with('$') => Err(invalid()),
            key => {
                let document = if key == DOCUMENT { Self::document_test(value)? } else { None };
                match document {
                    Some(filter) => Ok(filter),
                    None => Ok(RecordFilter::Key { key: key.to_owned(), test: self.test(value)? }),
                }
            }
        }
    }

    fn test(&mut self, value: &Value) -> Answered<Test> {
        let Value::Object(operation) = value else { return Ok(Test::Equal(scalar(value)?)) };
        let (operator, value) = only(operation).ok_or_else(invalid)?;
        let compare = |comparison| Ok(Test::Compare(comparison, number(value)?));
        match operator {
            "$eq" => Ok(Test::Equal(scalar(value)?)),
            "$ne" => Ok(Test::NotEqual(scalar(value)?)),
            "$gt" => compare(Comparison::Greater),
            "$gte" => compare(Comparison::GreaterOrEqual),
            "$lt" => compare(Comparison::Less),
            "$lte" => compare(Comparison::LessOrEqual),
            "$in" => Ok(Test::In(scalars(value)?)),
            "$nin" => Ok(Test::NotIn(scalars(value)?)),
            "$contains" => Ok(Test::Contains(scalar(value)?)),
            "$not_contains" => Ok(Test::NotContains(scalar(value)?)),
            _ => Err(invalid()),
        }
    }

    /// A test of `#document` in `where`; `None` if it is one of a metadata key of that name.
    fn document_test(value: &Value) -> Answered<Option<RecordFilter>> {
        match value.as_object().and_then(only) {
            Some((operator @ ("$contains" | "$not_contains" | "$regex" | "$not_regex"), value)) => {
                document(operator, value.as_str().ok_or_else(invalid)?).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn document(&mut self, condition: &Value, depth: usize) -> Answered<RecordFilter> {
        let (operator, value) = only_entry(condition).ok_or_else(invalid_document)?;
        self.count(1, depth)?;
        match operator {
            "$and" | "$or" => {
                let conditions = value.as_array().ok_or_else(invalid_document)?;
                let conditions = conditions.iter().map(|one| self.document(one, depth + 1));
                all(operator, conditions.collect::<Answered<_>>()?)
            }
            "$contains" | "$not_contains" | "$regex" | "$not_regex" => {
                document(operator, value.as_str().ok_or_else(invalid_document)?)
            }
            _ => Err(invalid_document()),
        }
    }

    fn count(&mut self, tests: usize, depth: usize) -> Answered<()> {
        self.tests += tests;
        if depth > MAX_DEPTH || self.tests > MAX_TESTS {
            return Err(Refusal::invalid(format!(
                "The condition is too large: expected up to {MAX_TESTS} tests and {MAX_DEPTH} levels"
            )));
        }
        Ok(())
    }
}

fn all(operator: &str, conditions: Vec<RecordFilter>) -> Answered<RecordFilter> {
    Ok(match operator {
        "$and" => RecordFilter::And(conditions),
        _ => RecordFilter::Or(conditions),
    })
}

fn document(operator: &str, text: &str) -> Answered<RecordFilter> {
    let pattern = |text: &str| {
        Pattern::marked(text).map_err(|reason| Refusal::invalid(format!("Regex syntax errror: {reason}")))
    };
    Ok(RecordFilter::Document(match operator {
        "$contains" => DocumentTest::Contains(text.to_owned()),
        "$not_contains" => DocumentTest::NotContains(text.to_owned()),
        "$regex" => DocumentTest::Regex(pattern(text)?),
        _ => DocumentTest::NotRegex(pattern(text)?),
    }))
}

fn only_entry(condition: &Value) -> Option<(&str, &Value)> {
    only(condition.as_object()?)
}

fn only(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    match (entries.next(), entries.next()) {
        (Some((key, value)), None) => Some((key, value)),
        _ => None,
    }
}

fn scalar(value: &Value) -> Answered<Scalar> {
    match value {
        Value::Bool(value) => Ok(Scalar::Bool(*value)),
        Value::Number(_) => number(value).map(Scalar::Number),
        Value::String(text) => Ok(Scalar::Text(text.clone())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(invalid()),
    }
}

/// JSONB has no negative zero.
fn number(value: &Value) -> Answered<Number> {
    let Value::Number(number) = value else { return Err(invalid()) };
    // As Chroma, which takes no integers beyond 63 bits here unless they are so large that they become floats.
    if number.as_i64().is_none() && number.as_str().parse::<u64>().is_ok() {
        return Err(invalid());
    }
    let number = normalized_number(number).ok_or_else(invalid)?;
    Ok(if number.as_str() == "-0.0" { Number::from_f64(0.0).ok_or_else(invalid)? } else { number })
}

fn scalars(value: &Value) -> Answered<Vec<Scalar>> {
    let values = value.as_array().filter(|values| !values.is_empty()).ok_or_else(invalid)?;
    let scalars: Vec<Scalar> = values.iter().map(scalar).collect::<Answered<_>>()?;
    let kind = |scalar: &Scalar| match scalar {
        Scalar::Bool(_) => 0,
        Scalar::Text(_) => 1,
        Scalar::Number(_) => 2,
    };
    let is_float = |scalar: &Scalar| matches!(scalar, Scalar::Number(number) if number.is_f64());
    // Floats may be followed by integers, integers not by floats.
    let is_alike =
        |scalar: &Scalar| kind(scalar) == kind(&scalars[0]) && (is_float(&scalars[0]) || !is_float(scalar));
    if !scalars.iter().all(is_alike) {
        return Err(invalid());
    }
    Ok(scalars)
}
