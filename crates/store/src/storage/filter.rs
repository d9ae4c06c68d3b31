//! What metadata and texts have to satisfy: ChromaDB's `where` and `where_document`, read strictly.
//!
//! They mean what ChromaDB 1.5 means by them: numbers compare as numbers, whether whole or not; true is no number; a
//! record without the key satisfies `$ne`, `$nin` and `$not_contains`, as one with a value of another type does.

use serde_json::{Map, Number, Value};

/// A condition on metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Every one of them; two or more.
    And(Vec<Filter>),
    /// One of them at least; two or more.
    Or(Vec<Filter>),
    /// A test of one key's value.
    Key {
        /// The metadata key.
        key: String,
        /// What its value has to be.
        test: Test,
    },
}

/// What the value of a metadata key has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `$eq`: this value.
    Equal(Scalar),
    /// `$ne`: not this value.
    NotEqual(Scalar),
    /// `$gt`, `$gte`, `$lt`, `$lte`: a number on that side of this one.
    Compare(Comparison, Number),
    /// `$in`: one of these, which are of one type and one at least.
    In(Vec<Scalar>),
    /// `$nin`: none of these, which are of one type and one at least.
    NotIn(Vec<Scalar>),
    /// `$contains`: a list with this value in it.
    Contains(Scalar),
    /// `$not_contains`: no list with this value in it.
    NotContains(Scalar),
}

/// How two numbers lie.
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
    /// A number: finite, and if whole, an i64.
    Number(Number),
    /// A text.
    Text(String),
}

/// A condition on the text.
#[derive(Clone, Debug, PartialEq)]
pub enum DocumentFilter {
    /// Every one of them; two or more.
    And(Vec<DocumentFilter>),
    /// One of them at least; two or more.
    Or(Vec<DocumentFilter>),
    /// One test.
    Test(DocumentTest),
}

/// What the text has to be.
#[derive(Clone, Debug, PartialEq)]
pub enum DocumentTest {
    /// `$contains`: it has this in it, by code points.
    Contains(String),
    /// `$not_contains`
    NotContains(String),
    /// `$regex`: the pattern matches somewhere.
    Regex(Pattern),
    /// `$not_regex`
    NotRegex(Pattern),
}

/// A regular expression that was checked, in Rust's syntax, which is ChromaDB's.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    text: String,
    parsed: regex_syntax::hir::Hir,
}

/// A condition that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{place}`: {reason}")]
pub struct FilterError {
    /// Where in the condition, such as `where.$and[1].year`.
    pub place: String,
    /// What is wrong there, and what is expected.
    pub reason: String,
}

/// Conditions nest no deeper: each level costs both ChromaDB and PostgreSQL stack.
const MAX_DEPTH: usize = 32;
/// More tests, and values in lists, than anybody writes; fewer than make a statement too long.
const MAX_TESTS: usize = 1_000;
/// Longer patterns compile to programs of megabytes.
const MAX_PATTERN_BYTES: usize = 1_000;

const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin, $contains, $not_contains";
const DOCUMENT_OPERATORS: &str = "$and, $or, $contains, $not_contains, $regex, $not_regex";

impl Filter {
    /// Reads ChromaDB's `where`.
    ///
    /// # Errors
    /// When it is none that ChromaDB takes; the error's place begins with `where`.
    pub fn from_json(json: &Value) -> Result<Self, FilterError> {
        Reader::default().filter("where", json, 0)
    }
}

impl DocumentFilter {
    /// Reads ChromaDB's `where_document`.
    ///
    /// # Errors
    /// When it is none that ChromaDB takes; the error's place begins with `where_document`.
    pub fn from_json(json: &Value) -> Result<Self, FilterError> {
        Reader::default().document_filter("where_document", json, 0)
    }
}

impl Pattern {
    /// Checks the pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(format!("expected up to {MAX_PATTERN_BYTES} bytes, found {}", text.len()));
        }
        let parsed = regex_syntax::parse(text).map_err(|error| match error {
            // Their texts draw the place over several lines.
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        })?;
        Ok(Self { text: text.to_owned(), parsed })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it matches.
    pub fn parsed(&self) -> &regex_syntax::hir::Hir {
        &self.parsed
    }
}

/// Counts what it has read.
#[derive(Default)]
struct Reader {
    tests: usize,
}

impl Reader {
    fn filter(&mut self, place: &str, json: &Value, depth: usize) -> Result<Filter, FilterError> {
        let (key, value) = single_entry(place, json, depth, "a metadata key, $and or $or")?;
        let inner = format!("{place}.{key}");
        match key {
            "$and" => Ok(Filter::And(self.filters(&inner, value, depth)?)),
            "$or" => Ok(Filter::Or(self.filters(&inner, value, depth)?)),
            _ if key.starts_with('$') => {
                Err(wrong(place, format!("expected a metadata key, $and or $or, found `{key}`")))
            }
            key => Ok(Filter::Key { key: text_without_nul(place, key)?, test: self.test(&inner, value)? }),
        }
    }

    fn filters(&mut self, place: &str, json: &Value, depth: usize) -> Result<Vec<Filter>, FilterError> {
        let conditions = conditions(place, json)?.iter().enumerate();
        conditions.map(|(index, one)| self.filter(&format!("{place}[{index}]"), one, depth + 1)).collect()
    }

    fn test(&mut self, place: &str, json: &Value) -> Result<Test, FilterError> {
        self.count(place, 1)?;
        let Value::Object(operation) = json else { return Ok(Test::Equal(scalar(place, json)?)) };
        let Some((operator, value)) = only_entry(operation) else {
            return Err(wrong(place, format!("expected a value, or exactly one of {OPERATORS}")));
        };
        let inner = format!("{place}.{operator}");
        let compare = |comparison| Ok(Test::Compare(comparison, number(&inner, value)?));
        match operator {
            "$eq" => Ok(Test::Equal(scalar(&inner, value)?)),
            "$ne" => Ok(Test::NotEqual(scalar(&inner, value)?)),
            "$gt" => compare(Comparison::Greater),
            "$gte" => compare(Comparison::GreaterOrEqual),
            "$lt" => compare(Comparison::Less),
            "$lte" => compare(Comparison::LessOrEqual),
            "$in" => Ok(Test::In(self.scalars(&inner, value)?)),
            "$nin" => Ok(Test::NotIn(self.scalars(&inner, value)?)),
            "$contains" => Ok(Test::Contains(scalar(&inner, value)?)),
            "$not_contains" => Ok(Test::NotContains(scalar(&inner, value)?)),
            other => Err(wrong(place, format!("expected one of {OPERATORS}, found `{other}`"))),
        }
    }

    fn scalars(&mut self, place: &str, json: &Value) -> Result<Vec<Scalar>, FilterError> {
        let expected = || wrong(place, "expected a list of one value or more, all of one type");
        let Value::Array(values) = json else { return Err(expected()) };
        self.count(place, values.len())?;
        let scalars: Vec<Scalar> = values
            .iter()
            .enumerate()
            .map(|(index, value)| scalar(&format!("{place}[{index}]"), value))
            .collect::<Result<_, _>>()?;
        let first = scalars.first().ok_or_else(expected)?;
        if scalars.iter().any(|other| std::mem::discriminant(other) != std::mem::discriminant(first)) {
            return Err(expected());
        }
        Ok(scalars)
    }

    fn document_filter(
        &mut self,
        place: &str,
        json: &Value,
        depth: usize,
    ) -> Result<DocumentFilter, FilterError> {
        let (operator, value) = single_entry(place, json, depth, DOCUMENT_OPERATORS)?;
        let inner = format!("{place}.{operator}");
        let mut all = || {
            let conditions = conditions(&inner, value)?.iter().enumerate();
            conditions
                .map(|(index, one)| self.document_filter(&format!("{inner}[{index}]"), one, depth + 1))
                .collect::<Result<Vec<_>, _>>()
        };
        let test = match operator {
            "$and" => return Ok(DocumentFilter::And(all()?)),
            "$or" => return Ok(DocumentFilter::Or(all()?)),
            "$contains" => DocumentTest::Contains(some_text(&inner, value)?),
            "$not_contains" => DocumentTest::NotContains(some_text(&inner, value)?),
            "$regex" => DocumentTest::Regex(pattern(&inner, value)?),
            "$not_regex" => DocumentTest::NotRegex(pattern(&inner, value)?),
            other => {
                return Err(wrong(place, format!("expected one of {DOCUMENT_OPERATORS}, found `{other}`")));
            }
        };
        self.count(place, 1)?;
        Ok(DocumentFilter::Test(test))
    }

    fn count(&mut self, place: &str, tests: usize) -> Result<(), FilterError> {
        self.tests += tests;
        if self.tests > MAX_TESTS {
            return Err(wrong(place, format!("expected up to {MAX_TESTS} tests and values in all")));
        }
        Ok(())
    }
}

fn single_entry<'j>(
    place: &str,
    json: &'j Value,
    depth: usize,
    expected: &str,
) -> Result<(&'j str, &'j Value), FilterError> {
    if depth > MAX_DEPTH {
        return Err(wrong(place, format!("expected conditions nested up to {MAX_DEPTH} deep")));
    }
    let entry = json.as_object().and_then(only_entry);
    entry.ok_or_else(|| wrong(place, format!("expected an object with exactly one entry: {expected}")))
}

fn only_entry(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let mut entries = object.iter();
    let (key, value) = entries.next()?;
    entries.next().is_none().then_some((key, value))
}

fn conditions<'j>(place: &str, json: &'j Value) -> Result<&'j [Value], FilterError> {
    match json {
        Value::Array(conditions) if conditions.len() >= 2 => Ok(conditions),
        _ => Err(wrong(place, "expected a list of two conditions or more")),
    }
}

fn scalar(place: &str, json: &Value) -> Result<Scalar, FilterError> {
    match json {
        Value::Bool(value) => Ok(Scalar::Bool(*value)),
        Value::Number(_) => Ok(Scalar::Number(number(place, json)?)),
        Value::String(text) => Ok(Scalar::Text(text_without_nul(place, text)?)),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(wrong(place, "expected a text, a number, true or false"))
        }
    }
}

fn number(place: &str, json: &Value) -> Result<Number, FilterError> {
    let number = json.as_number().ok_or_else(|| wrong(place, "expected a number"))?;
    if number.is_u64() && !number.is_i64() {
        return Err(wrong(place, format!("expected a whole number up to {}", i64::MAX)));
    }
    Ok(number.clone())
}

fn some_text(place: &str, json: &Value) -> Result<String, FilterError> {
    match json.as_str() {
        Some(text) if !text.is_empty() => text_without_nul(place, text),
        _ => Err(wrong(place, "expected a text of one character or more")),
    }
}

fn text_without_nul(place: &str, text: &str) -> Result<String, FilterError> {
    match text.contains('\0') {
        true => Err(wrong(place, "contains the character NUL, which no record has: remove it")),
        false => Ok(text.to_owned()),
    }
}

fn pattern(place: &str, json: &Value) -> Result<Pattern, FilterError> {
    Pattern::new(&some_text(place, json)?).map_err(|reason| wrong(place, reason))
}

fn wrong(place: &str, reason: impl Into<String>) -> FilterError {
    FilterError { place: place.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_conditions_are_named_by_their_place() {
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
            expect!["`where`: contains the character NUL, which no record has: remove it"],
        );
        check(
            json!({"a": u64::MAX}),
            expect!["`where.a`: expected a whole number up to 9223372036854775807"],
        );
    }

    #[test]
    fn wrong_document_conditions_are_named_by_their_place() {
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
    }
}
