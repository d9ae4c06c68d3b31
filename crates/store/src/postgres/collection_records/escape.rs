//! Texts with the character NUL, which Chroma stores and PostgreSQL does not. All texts of such a record are escaped,
//! and the row says so; other rows have their texts as they are, so that other programs read them.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::RecordWrite;
use crate::storage::{DocumentTest, RecordFilter, Scalar, Test};

/// Stands for NUL: one character, so that regular expressions match it as they match NUL. A noncharacter, which texts hardly
/// ever contain.
const NUL: char = '\u{10fffe}';
/// Begins the sequence that stands for one of these two characters.
const ESCAPE: char = '\u{10ffff}';

/// `text` without NUL.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['\0', NUL, ESCAPE]) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => escaped.push(NUL),
            NUL => escaped.extend([ESCAPE, '0']),
            ESCAPE => escaped.extend([ESCAPE, '1']),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

/// The text that was [`escaped`].
pub(super) fn unescaped(text: &str) -> String {
    let mut unescaped = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            NUL => unescaped.push('\0'),
            ESCAPE => match chars.next() {
                Some('0') => unescaped.push(NUL),
                Some('1') => unescaped.push(ESCAPE),
                other => unescaped.extend(std::iter::once(c).chain(other)),
            },
            c => unescaped.push(c),
        }
    }
    unescaped
}

/// `metadata` with `change` applied to each text and key.
pub(super) fn mapped(metadata: Map<String, Value>, change: &impl Fn(&str) -> String) -> Map<String, Value> {
    metadata.into_iter().map(|(key, value)| (change(&key), mapped_value(value, change))).collect()
}

fn mapped_value(value: Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(values) => values.into_iter().map(|value| mapped_value(value, change)).collect(),
        Value::Object(object) => Value::Object(mapped(object, change)),
        value => value,
    }
}

/// Whether the row of a record must be escaped.
pub(super) fn has_nul(record: &RecordWrite) -> bool {
    let texts = [Some(&record.id), record.document.as_ref(), record.uri.as_ref()];
    texts.into_iter().flatten().any(|text| text.contains('\0'))
        || record.metadata.as_ref().is_some_and(metadata_has_nul)
}

/// Whether metadata have a NUL.
pub(super) fn metadata_has_nul(metadata: &Map<String, Value>) -> bool {
    metadata.iter().any(|(key, value)| key.contains('\0') || value_has_nul(value))
}

fn value_has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(value_has_nul),
        Value::Object(object) => metadata_has_nul(object),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The condition that finds escaped texts, if it has a NUL. Without one, it finds those that are not escaped; the two
/// differ only for a condition with the escape character.
pub(super) fn escaped_filter(filter: &RecordFilter) -> RecordFilter {
    let all = |filters: &[RecordFilter]| filters.iter().map(escaped_filter).collect();
    match filter {
        RecordFilter::And(filters) => RecordFilter::And(all(filters)),
        RecordFilter::Or(filters) => RecordFilter::Or(all(filters)),
        RecordFilter::Key { key, test } => RecordFilter::Key { key: if_nul(key), test: escaped_test(test) },
        RecordFilter::Document(test) => RecordFilter::Document(match test {
            DocumentTest::Contains(part) => DocumentTest::Contains(if_nul(part)),
            DocumentTest::NotContains(part) => DocumentTest::NotContains(if_nul(part)),
            DocumentTest::Regex(pattern) => DocumentTest::Regex(pattern.clone().with_nul(NUL)),
            DocumentTest::NotRegex(pattern) => DocumentTest::NotRegex(pattern.clone().with_nul(NUL)),
        }),
    }
}

fn escaped_test(test: &Test) -> Test {
    let scalar = |scalar: &Scalar| match scalar {
        Scalar::Text(text) => Scalar::Text(if_nul(text)),
        scalar => scalar.clone(),
    };
    match test {
        Test::Equal(value) => Test::Equal(scalar(value)),
        Test::NotEqual(value) => Test::NotEqual(scalar(value)),
        Test::Compare(comparison, number) => Test::Compare(*comparison, number.clone()),
        Test::In(values) => Test::In(values.iter().map(scalar).collect()),
        Test::NotIn(values) => Test::NotIn(values.iter().map(scalar).collect()),
        Test::Contains(value) => Test::Contains(scalar(value)),
        Test::NotContains(value) => Test::NotContains(scalar(value)),
    }
}

fn if_nul(text: &str) -> String {
    if text.contains('\0') { escaped(text).into_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_texts_are_read_back_and_have_no_nul() {
        for text in
            ["", "plain", "\0", "a\0b\0\0", "\u{10fffe}", "\u{10fffe}0\0\u{10ffff}1", "\u{10ffff}", "é\0é"]
        {
            let stored = escaped(text);
            assert!(!stored.contains('\0'), "{text:?}");
            assert_eq!(unescaped(&stored), text);
        }
    }
}
