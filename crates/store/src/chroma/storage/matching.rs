//! Evaluates selections on the client: servers differ in the meaning of conditions, and none supports all of them.

use std::cmp::Ordering;

use records::Service;
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::row::{Row, column_text};
use crate::{
    json::order,
    storage::{
        Comparison, DocumentFilter, DocumentTest, Filter, Pattern, Scalar, Selection, StorageError, Test,
    },
};

/// A compiled selection.
#[derive(Debug)]
pub(super) struct Matcher<'s> {
    service: Service,
    selection: &'s Selection,
    document: Option<Document<'s>>,
}

/// [`DocumentFilter`] with its patterns compiled.
#[derive(Debug)]
enum Document<'s> {
    And(Vec<Document<'s>>),
    Or(Vec<Document<'s>>),
    Contains(&'s str),
    NotContains(&'s str),
    Regex(Regex),
    NotRegex(Regex),
}

impl<'s> Matcher<'s> {
    /// # Errors
    /// [`StorageError::Refused`] for patterns whose programs are too large.
    pub(super) fn new(service: Service, selection: &'s Selection) -> Result<Self, StorageError> {
        let document = selection.document.as_ref().map(|filter| {
            let patterns = patterns(filter).max(1);
            document(filter, ProgramLimit(MAX_PROGRAM_BYTES / patterns))
        });
        let document = document.transpose()?;
        Ok(Self { service, selection, document })
    }

    /// Whether it needs the text.
    pub(super) fn needs_document(&self) -> bool {
        self.document.is_some()
    }

    /// Whether a record with these metadata and this text is selected.
    pub(super) fn matches(&self, row: &Row) -> bool {
        let Selection { category, model_id, filter, document: _, from: _, before: _ } = self.selection;
        let has = |key: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| {
                column_text(self.service, key, &row.metadata).is_some_and(|found| found == *wanted)
            })
        };
        has(self.service.category_key(), category)
            && has("model_id", model_id)
            && self.selection.has_time(row.created_at)
            && filter.as_ref().is_none_or(|filter| satisfies(filter, &row.metadata))
            && self.document.as_ref().is_none_or(|document| document.holds(&row.text))
    }
}

impl Document<'_> {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::And(all) => all.iter().all(|one| one.holds(text)),
            Self::Or(any) => any.iter().any(|one| one.holds(text)),
            Self::Contains(part) => text.contains(part),
            Self::NotContains(part) => !text.contains(part),
            Self::Regex(pattern) => has_match(pattern, text),
            Self::NotRegex(pattern) => !has_match(pattern, text),
        }
    }
}

/// `Regex::is_match` (regex 1.x) misses matches of patterns that also match emptily between the bytes of one character:
/// `ß|(?-u:\B)` in `Bßa`. `find` does not.
fn has_match(pattern: &Regex, text: &str) -> bool {
    pattern.find(text).is_some()
}

/// Maximum bytes of the compiled patterns of a request, and also of a pattern's cache at run time.
const MAX_PROGRAM_BYTES: usize = 10 << 20;

/// Maximum bytes of each program.
#[derive(Clone, Copy)]
struct ProgramLimit(usize);

impl ProgramLimit {
    fn compile(self, pattern: &Pattern) -> Result<Regex, StorageError> {
        let Self(limit) = self;
        let compiled = RegexBuilder::new(pattern.as_str()).size_limit(limit).dfa_size_limit(limit).build();
        // The pattern was validated before, so only its size can be an error.
        compiled.map_err(|error| StorageError::Refused {
            field: "where_document".to_owned(),
            reason: match error {
                regex::Error::CompiledTooBig(_) => format!(
                    "a pattern compiles to more than {limit} bytes, and the limit of all patterns is \
                        {MAX_PROGRAM_BYTES}: use fewer patterns or smaller repetitions"
                ),
                other => other.to_string(),
            },
        })
    }
}

/// The number of patterns in `filter`.
fn patterns(filter: &DocumentFilter) -> usize {
    match filter {
        DocumentFilter::And(filters) | DocumentFilter::Or(filters) => filters.iter().map(patterns).sum(),
        DocumentFilter::Test(test) => {
            matches!(test, DocumentTest::Regex(_) | DocumentTest::NotRegex(_)).into()
        }
    }
}

fn document(filter: &DocumentFilter, limit: ProgramLimit) -> Result<Document<'_>, StorageError> {
    let of = |filter| document(filter, limit);
    Ok(match filter {
        DocumentFilter::And(filters) => Document::And(filters.iter().map(of).collect::<Result<_, _>>()?),
        DocumentFilter::Or(filters) => Document::Or(filters.iter().map(of).collect::<Result<_, _>>()?),
        DocumentFilter::Test(DocumentTest::Contains(part)) => Document::Contains(part),
        DocumentFilter::Test(DocumentTest::NotContains(part)) => Document::NotContains(part),
        DocumentFilter::Test(DocumentTest::Regex(pattern)) => Document::Regex(limit.compile(pattern)?),
        DocumentFilter::Test(DocumentTest::NotRegex(pattern)) => Document::NotRegex(limit.compile(pattern)?),
    })
}

/// Whether `metadata` satisfy `filter`.
fn satisfies(filter: &Filter, metadata: &Map<String, Value>) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().all(|filter| satisfies(filter, metadata)),
        Filter::Or(filters) => filters.iter().any(|filter| satisfies(filter, metadata)),
        Filter::Key { key, test } => {
            let value = metadata.get(key);
            let is = |scalar: &Scalar| value.is_some_and(|value| equals(value, scalar));
            let holds = |scalar: &Scalar| match value {
                Some(Value::Array(values)) => values.iter().any(|value| equals(value, scalar)),
                _ => false,
            };
            match test {
                Test::Equal(scalar) => is(scalar),
                Test::NotEqual(scalar) => !is(scalar),
                Test::In(scalars) => scalars.iter().any(is),
                Test::NotIn(scalars) => !scalars.iter().any(is),
                Test::Contains(scalar) => holds(scalar),
                Test::NotContains(scalar) => !holds(scalar),
                Test::Compare(comparison, number) => {
                    let Some(Value::Number(value)) = value else { return false };
                    let order = order(value, number);
                    match comparison {
                        Comparison::Greater => order == Ordering::Greater,
                        Comparison::GreaterOrEqual => order != Ordering::Less,
                        Comparison::Less => order == Ordering::Less,
                        Comparison::LessOrEqual => order != Ordering::Greater,
                    }
                }
            }
        }
    }
}

fn equals(value: &Value, scalar: &Scalar) -> bool {
    match (value, scalar) {
        (Value::Bool(value), Scalar::Bool(scalar)) => value == scalar,
        (Value::String(value), Scalar::Text(scalar)) => value == scalar,
        (Value::Number(value), Scalar::Number(scalar)) => order(value, scalar) == Ordering::Equal,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn match_is_found_where_the_pattern_also_matches_within_a_character() {
        let pattern = Regex::new(r"ß|(?-u:\B)").expect("it is well formed");
        assert!(has_match(&pattern, "Bßa"));
        assert!(!has_match(&pattern, "Bſb"));
    }

    #[test]
    fn compiled_patterns_are_bounded_in_total() {
        let compiled = |patterns: Vec<String>| {
            let tests: Vec<Value> = patterns.iter().map(|pattern| json!({"$regex": pattern})).collect();
            let filter = DocumentFilter::from_json(&json!({"$or": tests})).expect("a filter");
            let selection = Selection { document: Some(filter), ..Selection::default() };
            Matcher::new(Service::Query, &selection).map(drop)
        };
        compiled(vec![r"\w{100}".to_owned(), "a".to_owned()]).expect("it is small");
        compiled(vec![r"\bword\b".to_owned(); 100]).expect("they are small");
        let refused = compiled(vec![r"\w{100}".to_owned(); 100]);
        assert!(matches!(refused, Err(StorageError::Refused { .. })), "{refused:?}");
    }

    #[test]
    fn numbers_compare_by_their_decimals() {
        let ascending = [
            json!(-1e300),
            json!(i64::MIN),
            json!(-1.5),
            json!(-1),
            json!(0),
            json!(1e-300),
            json!(1),
            json!(1.5),
            json!(9_007_199_254_740_992_i64),
            json!(9_007_199_254_740_993_i64),
            json!(i64::MAX),
            // The float is exactly 2^63; its shortest decimal ends in 6000.
            json!(9_223_372_036_854_775_900_u64),
            json!(9_223_372_036_854_775_808.0),
            json!(u64::MAX),
            json!(1e300),
        ];
        let numbers: Vec<&serde_json::Number> =
            ascending.iter().map(|value| value.as_number().expect("a number")).collect();
        for (position, left) in numbers.iter().enumerate() {
            for (other, right) in numbers.iter().enumerate() {
                assert_eq!(order(left, right), position.cmp(&other), "{left} {right}");
            }
        }
        let same = [json!(1), json!(1.0)];
        let [one, float] = same.each_ref().map(|value| value.as_number().expect("a number"));
        assert_eq!(order(one, float), Ordering::Equal);
    }
}
