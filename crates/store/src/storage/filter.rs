//! Conditions on metadata and texts: ChromaDB's `where` and `where_document`, parsed strictly.
//!
//! They have the meaning of ChromaDB 1.5: integers and floats compare as numbers; true is not a number; a record
//! without the key, or with a value of another type, satisfies `$ne`, `$nin` and `$not_contains`.

use std::fmt;

use records::{shortened, without_nul};
use serde_json::{Map, Number, Value};

use super::pattern::{self, Pattern};
use crate::json::{Unstorable, check_number};

/// A condition on metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// All of them; two or more.
    And(Vec<Filter>),
    /// At least one of them; two or more.
    Or(Vec<Filter>),
    /// A test of one key's value.
    Key {
        /// The metadata key.
        key: String,
        /// The test of its value.
        test: Test,
    },
}

/// A test of the value of a metadata key.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `$eq`: this value.
    Equal(Scalar),
    /// `$ne`: not this value.
    NotEqual(Scalar),
    /// `$gt`, `$gte`, `$lt`, `$lte`: a number in this relation to this one.
    Compare(Comparison, Number),
    /// `$in`: one of these, which are not empty and of one type.
    In(Vec<Scalar>),
    /// `$nin`: none of these, which are not empty and of one type.
    NotIn(Vec<Scalar>),
    /// `$contains`: a list that contains this value.
    Contains(Scalar),
    /// `$not_contains`: not a list that contains this value.
    NotContains(Scalar),
}

/// A comparison of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `$gt`
    Greater,
    /// `$gte`
    GreaterOrEqual,
    /// `$lt`
    Less,
    /// `$lte`
    LessOrEqual,
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A number that JSONB can store.
    Number(Number),
    /// A text.
    Text(String),
}

/// A condition on the text.
#[derive(Clone, Debug, PartialEq)]
pub enum DocumentFilter {
    /// All of them; two or more.
    And(Vec<DocumentFilter>),
    /// At least one of them; two or more.
    Or(Vec<DocumentFilter>),
    /// One test.
    Test(DocumentTest),
}

/// A test of the text.
#[derive(Clone, Debug, PartialEq)]
pub enum DocumentTest {
    /// `$contains`: it contains this, by code points.
    Contains(String),
    /// `$not_contains`
    NotContains(String),
    /// `$regex`: the pattern matches somewhere.
    Regex(Pattern),
    /// `$not_regex`
    NotRegex(Pattern),
}

/// An invalid condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{place}`: {reason}")]
pub struct FilterError {
    /// The path in the condition, such as `where.$and[1].year`.
    pub place: String,
    /// The problem, and what is expected.
    pub reason: String,
}

/// Maximum depth of a condition: each level uses stack in ChromaDB and PostgreSQL.
const MAX_DEPTH: usize = 32;
/// Maximum tests and list values of a condition: ample for users, and few enough for a statement.
const MAX_TESTS: usize = 1_000;
/// Maximum total bytes of a condition's patterns: eight of the longest.
const MAX_PATTERN_BYTES: usize = 8 * pattern::MAX_BYTES;
/// Maximum bytes of the keys of `$in` and `$nin`, times their values: statements repeat the key for each value.
const MAX_REPEATED_KEY_BYTES: usize = 1 << 20;
/// Maximum characters of a name that an error repeats: it may have megabytes.
const SHOWN_CHARACTERS: usize = 100;

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $contains, $not_contains";
const DOCUMENT_OPERATORS: &str = "$and, $or, $contains, $not_contains, $regex, $not_regex";

impl Filter {
    /// Parses ChromaDB's `where`.
    ///
    /// # Errors
    /// When it is invalid in ChromaDB; the error's path begins with `where`.
    pub fn from_json(json: &Value) -> Result<Self, FilterError> {
        Reader::default().filter(json, 0).map_err(within("where"))
    }
}

impl DocumentFilter {
    /// Parses ChromaDB's `where_document`.
    ///
    /// # Errors
    /// When it is invalid in ChromaDB; the error's path begins with `where_document`.
    pub fn from_json(json: &Value) -> Result<Self, FilterError> {
        Reader::default().document_filter(json, 0).map_err(within("where_document"))
    }
}

/// The parser, which counts what it has read to enforce the limits. The path of an error is built on the way back: on
/// the way in, it would be copied for each value of a list.
#[derive(Default)]
struct Reader {
    tests: usize,
    pattern_bytes: usize,
    repeated_key_bytes: usize,
}

impl Reader {
    fn filter(&mut self, json: &Value, depth: usize) -> Result<Filter, FilterError> {
        let (key, value) = single_entry(json, depth, "a metadata key, $and or $or")?;
        match key {
            "$and" => Ok(Filter::And(self.filters(value, depth).map_err(within(".$and"))?)),
            "$or" => Ok(Filter::Or(self.filters(value, depth).map_err(within(".$or"))?)),
            _ if key.starts_with('$') => {
                Err(wrong(format!("expected a metadata key, $and or $or, found `{}`", shown(key))))
            }
            key => {
                let test =
                    self.test(key, value).map_err(|error| within(format!(".{}", shown(key)))(error))?;
                Ok(Filter::Key { key: text_without_nul(key)?, test })
            }
        }
    }

    fn filters(&mut self, json: &Value, depth: usize) -> Result<Vec<Filter>, FilterError> {
        let conditions = conditions(json)?.iter().enumerate();
        conditions.map(|(index, one)| self.filter(one, depth + 1).map_err(at(index))).collect()
    }

    fn test(&mut self, key: &str, json: &Value) -> Result<Test, FilterError> {
        self.count(1)?;
        let Value::Object(operation) = json else { return Ok(Test::Equal(scalar(json)?)) };
        let Some((operator, value)) = only_entry(operation) else {
            return Err(wrong(format!("expected a value, or exactly one of {OPERATORS}")));
        };
        let compare = |comparison| Ok(Test::Compare(comparison, number(value)?));
        let test = match operator {
            "$eq" => scalar(value).map(Test::Equal),
            "$ne" => scalar(value).map(Test::NotEqual),
            "$gt" => compare(Comparison::Greater),
            "$gte" => compare(Comparison::GreaterOrEqual),
            "$lt" => compare(Comparison::Less),
            "$lte" => compare(Comparison::LessOrEqual),
            "$in" => self.scalars(key, value).map(Test::In),
            "$nin" => self.scalars(key, value).map(Test::NotIn),
            "$contains" => scalar(value).map(Test::Contains),
            "$not_contains" => scalar(value).map(Test::NotContains),
            other => return Err(wrong(format!("expected one of {OPERATORS}, found `{}`", shown(other)))),
        };
        test.map_err(within(format_args!(".{operator}")))
    }

    fn scalars(&mut self, key: &str, json: &Value) -> Result<Vec<Scalar>, FilterError> {
        let expected = || wrong("expected a list of one value or more, all of one type");
        let Value::Array(values) = json else { return Err(expected()) };
        self.count(values.len())?;
        self.repeated_key_bytes += key.len().saturating_mul(values.len());
        if self.repeated_key_bytes > MAX_REPEATED_KEY_BYTES {
            return Err(wrong(format!(
                "expected up to {MAX_REPEATED_KEY_BYTES} bytes of keys times values in lists: use shorter keys or lists"
            )));
        }
        let scalars: Vec<Scalar> = values
            .iter()
            .enumerate()
            .map(|(index, value)| scalar(value).map_err(at(index)))
            .collect::<Result<_, _>>()?;
        let first = scalars.first().ok_or_else(expected)?;
        if scalars.iter().any(|other| std::mem::discriminant(other) != std::mem::discriminant(first)) {
            return Err(expected());
        }
        Ok(scalars)
    }

    fn document_filter(&mut self, json: &Value, depth: usize) -> Result<DocumentFilter, FilterError> {
        let (operator, value) = single_entry(json, depth, DOCUMENT_OPERATORS)?;
        let is_test = !matches!(operator, "$and" | "$or");
        self.count(is_test.into())?;
        let read = match operator {
            "$and" => self.document_filters(value, depth).map(DocumentFilter::And),
            "$or" => self.document_filters(value, depth).map(DocumentFilter::Or),
            "$contains" => some_text(value).map(DocumentTest::Contains).map(DocumentFilter::Test),
            "$not_contains" => some_text(value).map(DocumentTest::NotContains).map(DocumentFilter::Test),
            "$regex" => self.pattern(value).map(DocumentTest::Regex).map(DocumentFilter::Test),
            "$not_regex" => self.pattern(value).map(DocumentTest::NotRegex).map(DocumentFilter::Test),
            other => {
                return Err(wrong(format!("expected one of {DOCUMENT_OPERATORS}, found `{}`", shown(other))));
            }
        };
        read.map_err(within(format_args!(".{operator}")))
    }

    fn document_filters(&mut self, json: &Value, depth: usize) -> Result<Vec<DocumentFilter>, FilterError> {
        let conditions = conditions(json)?.iter().enumerate();
        conditions.map(|(index, one)| self.document_filter(one, depth + 1).map_err(at(index))).collect()
    }

    fn pattern(&mut self, json: &Value) -> Result<Pattern, FilterError> {
        let text = some_text(json)?;
        self.pattern_bytes += text.len();
        if text.len() <= pattern::MAX_BYTES && self.pattern_bytes > MAX_PATTERN_BYTES {
            return Err(wrong(format!("expected up to {MAX_PATTERN_BYTES} bytes of patterns in all")));
        }
        Pattern::new(&text).map_err(wrong)
    }

    fn count(&mut self, tests: usize) -> Result<(), FilterError> {
        self.tests += tests;
        if self.tests > MAX_TESTS {
            return Err(wrong(format!("expected up to {MAX_TESTS} tests and values in all")));
        }
        Ok(())
    }
}

fn single_entry<'j>(
    json: &'j Value,
    depth: usize,
    expected: &str,
) -> Result<(&'j str, &'j Value), FilterError> {
    if depth > MAX_DEPTH {
        return Err(wrong(format!("expected conditions nested up to {MAX_DEPTH} deep")));
    }
    let entry = json.as_object().and_then(only_entry);
    entry.ok_or_else(|| wrong(format!("expected an object with exactly one entry: {expected}")))
}

fn only_entry(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (key, value) = entries.next()?;
    entries.next().is_none().then_some((key, value))
}

fn conditions(json: &Value) -> Result<&[Value], FilterError> {
    match json {
        Value::Array(conditions) if conditions.len() >= 2 => Ok(conditions),
        _ => Err(wrong("expected a list of two conditions or more")),
    }
}

fn scalar(json: &Value) -> Result<Scalar, FilterError> {
    match json {
        Value::Bool(value) => Ok(Scalar::Bool(*value)),
        Value::Number(_) => Ok(Scalar::Number(number(json)?)),
        Value::String(text) => Ok(Scalar::Text(text_without_nul(text)?)),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(wrong("expected a text, a number, true or false"))
        }
    }
}

fn number(json: &Value) -> Result<Number, FilterError> {
    let number = json.as_number().ok_or_else(|| wrong("expected a number"))?;
    match check_number(number) {
        // It compares like 0.0.
        Ok(()) | Err(Unstorable::NegativeZero) => Ok(number.clone()),
        Err(unkept) => Err(wrong(unkept.reason())),
    }
}

fn some_text(json: &Value) -> Result<String, FilterError> {
    match json.as_str() {
        Some(text) if !text.is_empty() => text_without_nul(text),
        _ => Err(wrong("expected a text of one character or more")),
    }
}

fn text_without_nul(text: &str) -> Result<String, FilterError> {
    match text.contains('\0') {
        true => Err(wrong("contains the character NUL, which no record can contain: remove it")),
        false => Ok(text.to_owned()),
    }
}

/// A name, truncated for an error.
fn shown(name: &str) -> String {
    without_nul(&shortened(name, SHOWN_CHARACTERS)).into_owned()
}

fn wrong(reason: impl Into<String>) -> FilterError {
    FilterError { place: String::new(), reason: reason.into() }
}

/// The error with `step` prepended to its path.
fn within(step: impl fmt::Display) -> impl FnOnce(FilterError) -> FilterError {
    move |error| FilterError { place: format!("{step}{}", error.place), ..error }
}

fn at(index: usize) -> impl FnOnce(FilterError) -> FilterError {
    move |error| within(format_args!("[{index}]"))(error)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[test]
    fn invalid_conditions_are_reported_with_their_path() {
        let check = |json: Value, expected: Expect| {
            let error = Filter::from_json(&json).expect_err("a wrong condition");
            expected.assert_eq(&error.to_string());
        };
        check(
            json!({}),
            expect!["`where`: expected an object with exactly one entry: a metadata key, $and or $or"],
        );
        check(
            json!({"a": 1, "b": 2}),
            expect!["`where`: expected an object with exactly one entry: a metadata key, $and or $or"],
        );
        check(
            json!({"$and": [{"a": 1}]}),
            expect!["`where.$and`: expected a list of two conditions or more"],
        );
        check(
            json!({"$or": [{"a": 1}, {"b": {"$gt": "x"}}]}),
            expect!["`where.$or[1].b.$gt`: expected a number"],
        );
        check(
            json!({"a": {"$in": [1, "x"]}}),
            expect!["`where.a.$in`: expected a list of one value or more, all of one type"],
        );
        check(
            json!({"a": {"$in": []}}),
            expect!["`where.a.$in`: expected a list of one value or more, all of one type"],
        );
        check(
            json!({"a": {"$gt": 1, "$lt": 2}}),
            expect![
                "`where.a`: expected a value, or exactly one of $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $contains, $not_contains"
            ],
        );
        check(
            json!({"a": {"$like": 1}}),
            expect![
                "`where.a`: expected one of $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $contains, $not_contains, found `$like`"
            ],
        );
        check(json!({"a": null}), expect!["`where.a`: expected a text, a number, true or false"]);
        check(
            json!({"$not": {"a": 1}}),
            expect!["`where`: expected a metadata key, $and or $or, found `$not`"],
        );
        check(
            json!({"a\u{0}": 1}),
            expect!["`where`: contains the character NUL, which no record can contain: remove it"],
        );
        check(
            serde_json::from_str(r#"{"a": 1e400}"#).expect("it is JSON"),
            expect![
                "`where.a`: exceeds the range of a double: send a smaller number, a whole number with all \
                    its digits, or a text"
            ],
        );
    }

    #[test]
    fn invalid_document_conditions_are_reported_with_their_path() {
        let check = |json: Value, expected: Expect| {
            let error = DocumentFilter::from_json(&json).expect_err("a wrong condition");
            expected.assert_eq(&error.to_string());
        };
        check(
            json!({"$contains": ""}),
            expect!["`where_document.$contains`: expected a text of one character or more"],
        );
        check(
            json!({"$and": [{"$contains": "x"}, {"$regex": "("}]}),
            expect!["`where_document.$and[1].$regex`: unclosed group"],
        );
        check(
            json!({"$contains": 5}),
            expect!["`where_document.$contains`: expected a text of one character or more"],
        );
        check(
            json!({"text": "x"}),
            expect![
                "`where_document`: expected one of $and, $or, $contains, $not_contains, $regex, $not_regex, found `text`"
            ],
        );
    }

    #[test]
    fn conditions_are_bounded() {
        let mut deep = json!({"a": 1});
        for _ in 0..40 {
            deep = json!({"$and": [deep, {"a": 1}]});
        }
        assert!(Filter::from_json(&deep).is_err());
        let many: Vec<u32> = (0..2_000).collect();
        assert!(Filter::from_json(&json!({"a": {"$in": many}})).is_err());
        // The key is repeated for each value.
        let (key, some) = ("k".repeat(100_000), (0..900).collect::<Vec<u32>>());
        let error = Filter::from_json(&json!({key: {"$nin": some}})).expect_err("it is large");
        assert!(error.to_string().len() < 400, "{error}");
        // One limit for all patterns, whose compiled form is much larger.
        let pattern = json!({"$regex": r"\w".repeat(500)});
        assert!(DocumentFilter::from_json(&json!({"$or": vec![pattern.clone(); 8]})).is_ok());
        let nested = json!({"$and": [{"$or": vec![pattern.clone(); 8]}, pattern]});
        let error = DocumentFilter::from_json(&nested).expect_err("it is large");
        assert_eq!(
            error.to_string(),
            "`where_document.$and[1].$regex`: expected up to 8000 bytes of patterns in all"
        );
    }

    #[test]
    fn errors_truncate_long_names() {
        let long = "k".repeat(1 << 20);
        let operator = format!("${long}");
        let wrong = [
            json!({operator.clone(): 1}),
            json!({long.clone(): {operator.clone(): 1}}),
            json!({"$and": [{"a": 1}, {long.clone(): {"$in": [1, "x", null]}}]}),
        ];
        for filter in wrong {
            assert!(Filter::from_json(&filter).expect_err("it is wrong").to_string().len() < 400);
        }
        let error = DocumentFilter::from_json(&json!({operator: 1})).expect_err("it is wrong");
        assert!(error.to_string().len() < 400);
    }
}
