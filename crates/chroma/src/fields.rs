//! Assembles the fields of a record from typed cells and from log rows (FORMAT §3, §4).

use rusqlite::types::ValueRef;

use records::{Metadata, MetadataValue};

use crate::{
    json::{self, Json},
    record::{CreatedAt, Field, Problem, ProblemKind},
    text::{self, Decoded},
};

const DOCUMENT: &str = "chroma:document";
const URI: &str = "chroma:uri";

/// A record without its id and vector.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields {
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: Metadata,
    pub(crate) created_at: Option<CreatedAt>,
    pub(crate) problems: Vec<Problem>,
    /// Number of keys without a value: NaN, which SQLite stores as NULL.
    pub(crate) lost_values: u32,
}

/// The value of four typed cells.
enum Cell {
    Null,
    Text(Decoded),
    Value(MetadataValue),
    /// A cell whose type is not its column's, as text.
    Misplaced(String),
}

impl Fields {
    /// Sets a key from its row of `embedding_metadata`: string, int, float, bool.
    pub(crate) fn set_cells<'c>(&mut self, key: &[u8], cells: impl Fn(usize) -> ValueRef<'c>) {
        let key = self.key(text::decode(key));
        match read_cells(cells) {
            Cell::Null => self.lost_values += 1,
            Cell::Text(decoded) => self.set_text(key, decoded),
            Cell::Value(value) => drop(self.metadata.insert(key, value)),
            Cell::Misplaced(original) => self.not_representable(key, original.into_bytes()),
        }
    }

    /// Appends to the list of a key from a row of `embedding_metadata_array`.
    pub(crate) fn push_element<'c>(&mut self, key: &[u8], cells: impl Fn(usize) -> ValueRef<'c>) {
        let key = self.key(text::decode(key));
        let element = match read_cells(cells) {
            Cell::Null => return self.lost_values += 1,
            Cell::Value(value) => value,
            Cell::Text(decoded) => {
                self.report_not_unicode(Field::Metadata(key.clone()), decoded.original);
                MetadataValue::Text(decoded.text)
            }
            Cell::Misplaced(original) => return self.not_representable(key, original.into_bytes()),
        };
        match self.metadata.get_mut(&key) {
            Some(MetadataValue::List(list)) => list.push(element),
            _ => drop(self.metadata.insert(key, MetadataValue::List(vec![element]))),
        }
    }

    /// Merges the metadata of a log row, key by key; `null` removes a key.
    pub(crate) fn merge_log_row(&mut self, seq_id: i64, row: &[u8]) {
        let Ok(Json::Object(entries)) = json::parse(row) else {
            let problem =
                Problem { field: Field::LogRow(seq_id), kind: ProblemKind::NotJson, original: row.into() };
            return self.problems.push(problem);
        };
        for (key, value) in entries {
            self.forget(&key.text);
            let key = self.key(key);
            match value {
                Json::Null => {}
                Json::Float(number) if number.is_nan() => self.lost_values += 1,
                Json::Text(decoded) => self.set_text(key, decoded),
                Json::List(elements) if elements.is_empty() => {}
                value => match metadata_value(value).map(as_sqlite_stores) {
                    Some(value) => drop(self.metadata.insert(key, value)),
                    None => self.not_representable(key, row.to_vec()),
                },
            }
        }
    }

    /// Sets the metadata of Chroma 0.3 from the JSON that Python wrote. All keys are the user's. Values that SQLite
    /// cannot store (NaN, −0.0, an empty list) are possible; only null is not a value.
    pub(crate) fn set_user_metadata(&mut self, text: &[u8]) {
        // Chroma treats an empty text as no metadata.
        if text.is_empty() {
            return;
        }
        let entries = match json::parse(text) {
            Ok(Json::Object(entries)) => entries,
            Ok(Json::Null) => return,
            Ok(_) | Err(_) => {
                let (field, kind) = (Field::AllMetadata, ProblemKind::NotJson);
                return self.problems.push(Problem { field, kind, original: text.into() });
            }
        };
        for (key, value) in entries {
            let key = self.key(key);
            // The last duplicate wins, as in Python.
            self.metadata.remove(&key);
            let value = match value {
                Json::Null => {
                    self.lost_values += 1;
                    continue;
                }
                Json::Text(decoded) => {
                    self.report_not_unicode(Field::Metadata(key.clone()), decoded.original);
                    Some(MetadataValue::Text(decoded.text))
                }
                Json::List(elements) if elements.is_empty() => Some(MetadataValue::List(Vec::new())),
                value => metadata_value(value),
            };
            match value {
                Some(value) => drop(self.metadata.insert(key, value)),
                None => self.not_representable(key, text.to_vec()),
            }
        }
    }

    fn key(&mut self, key: Decoded) -> String {
        self.report_not_unicode(Field::MetadataKey(key.text.clone()), key.original);
        key.text
    }

    fn set_text(&mut self, key: String, decoded: Decoded) {
        match key.as_str() {
            DOCUMENT => {
                self.report_not_unicode(Field::Document, decoded.original);
                self.document = Some(decoded.text);
            }
            URI => {
                self.report_not_unicode(Field::Uri, decoded.original);
                self.uri = Some(decoded.text);
            }
            _ => {
                if decoded.original.is_some() {
                    self.report_not_unicode(Field::Metadata(key.clone()), decoded.original);
                }
                self.metadata.insert(key, MetadataValue::Text(decoded.text));
            }
        }
    }

    /// Removes the value of a key and its problems.
    fn forget(&mut self, key: &str) {
        match key {
            DOCUMENT => self.document = None,
            URI => self.uri = None,
            _ => {}
        }
        self.metadata.remove(key);
        self.problems.retain(|problem| match &problem.field {
            Field::Document => key != DOCUMENT,
            Field::Uri => key != URI,
            Field::Metadata(name) | Field::MetadataKey(name) => name != key,
            Field::Id | Field::LogRow(_) | Field::AllMetadata => true,
        });
    }

    fn report_not_unicode(&mut self, field: Field, original: Option<Box<[u8]>>) {
        if let Some(original) = original {
            self.problems.push(Problem { field, kind: ProblemKind::NotUnicode, original });
        }
    }

    fn not_representable(&mut self, key: String, original: Vec<u8>) {
        let kind = ProblemKind::NotRepresentable;
        self.problems.push(Problem { field: Field::Metadata(key), kind, original: original.into() });
    }
}

/// One metadata value of a collection.
pub(crate) fn collection_value(cells: [ValueRef<'_>; 4]) -> Option<MetadataValue> {
    match read_cells(|column| cells.get(column).copied().unwrap_or(ValueRef::Null)) {
        Cell::Null => None,
        Cell::Text(decoded) => Some(MetadataValue::Text(decoded.text)),
        Cell::Value(value) => Some(value),
        Cell::Misplaced(text) => Some(MetadataValue::Text(text)),
    }
}

/// The first of string, int, float, bool that is not NULL, as in Chroma. Ignores the cells after it.
fn read_cells<'c>(cell: impl Fn(usize) -> ValueRef<'c>) -> Cell {
    match cell(0) {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => return Cell::Text(text::decode(bytes)),
        ValueRef::Integer(number) => return Cell::Misplaced(number.to_string()),
        ValueRef::Real(number) => return Cell::Misplaced(number.to_string()),
        ValueRef::Null => {}
    }
    let Some((column, number)) =
        (1..4).map(|column| (column, cell(column))).find(|(_, value)| *value != ValueRef::Null)
    else {
        return Cell::Null;
    };
    match number {
        ValueRef::Integer(number) if column == 3 => Cell::Value(MetadataValue::Bool(number != 0)),
        ValueRef::Integer(number) => Cell::Value(MetadataValue::Int(number)),
        ValueRef::Real(number) => Cell::Value(MetadataValue::Float(number)),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Cell::Misplaced(String::from_utf8_lossy(bytes).into_owned())
        }
        ValueRef::Null => Cell::Null,
    }
}

/// Converts a JSON value to a metadata value; `None` if that is impossible.
fn metadata_value(json: Json) -> Option<MetadataValue> {
    match json {
        Json::Bool(value) => Some(MetadataValue::Bool(value)),
        Json::Int(number) => Some(MetadataValue::Int(number)),
        Json::Float(number) => Some(MetadataValue::Float(number)),
        Json::Text(Decoded { text, original: None }) => Some(MetadataValue::Text(text)),
        Json::List(elements) => {
            let is_flat = elements.iter().all(|element| !matches!(element, Json::List(_)));
            let elements: Option<Vec<_>> = elements.into_iter().map(metadata_value).collect();
            let elements = elements.filter(|_| is_flat)?;
            let kinds: std::collections::HashSet<_> = elements.iter().map(std::mem::discriminant).collect();
            (kinds.len() == 1).then_some(MetadataValue::List(elements))
        }
        Json::Text(_) | Json::Null | Json::BigInt(_) | Json::Object(_) => None,
    }
}

/// Converts a value of the log as the metadata segment would store it.
fn as_sqlite_stores(value: MetadataValue) -> MetadataValue {
    match value {
        // SQLite stores -0.0 as 0 (FORMAT §3); adding 0.0 does the same.
        MetadataValue::Float(number) => MetadataValue::Float(number + 0.0),
        MetadataValue::List(elements) => {
            MetadataValue::List(elements.into_iter().map(as_sqlite_stores).collect())
        }
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(rows: &[&str], expected: Expect) {
        let mut fields = Fields::default();
        for (row, seq_id) in rows.iter().zip(1..) {
            fields.merge_log_row(seq_id, row.as_bytes());
        }
        let Fields { document, uri, metadata, problems, lost_values, .. } = fields;
        let problems: Vec<_> = problems
            .iter()
            .map(|p| format!("{:?} {:?} {}", p.field, p.kind, p.original.escape_ascii()))
            .collect();
        expected.assert_eq(&format!("{document:?} {uri:?} {metadata:?} {problems:?} {lost_values}"));
    }

    #[test]
    fn list_element_without_a_value_is_counted_and_the_others_are_kept() {
        let mut fields = Fields::default();
        for value in [ValueRef::Integer(1), ValueRef::Null, ValueRef::Integer(2)] {
            fields.push_element(b"l", |cell| if cell == 1 { value } else { ValueRef::Null });
        }
        let list = MetadataValue::List(vec![MetadataValue::Int(1), MetadataValue::Int(2)]);
        assert_eq!((fields.metadata.get("l"), fields.lost_values), (Some(&list), 1));
    }

    #[test]
    fn log_rows_merge_key_by_key() {
        check(
            &[
                r#"{"chroma:document":"d","chroma:uri":"u","a":1,"b":2.0,"c":true,"s":"","l":[1,2]}"#,
                r#"{"chroma:uri":null,"a":null,"b":-0.0,"l":["x"],"nan":NaN,"inf":-Infinity}"#,
            ],
            expect![[
                r#"Some("d") None {"b": Float(0.0), "c": Bool(true), "inf": Float(-inf), "l": List([Text("x")]), "s": Text("")} [] 1"#
            ]],
        );
    }

    #[test]
    fn values_that_cannot_be_represented_are_problems() {
        check(
            &[r#"{"big":9223372036854775808,"o":{"x":1},"mixed":[1,"a"],"nested":[[1]],"ok":1}"#],
            expect![[
                r#"None None {"ok": Int(1)} ["Metadata(\"big\") NotRepresentable {\\\"big\\\":9223372036854775808,\\\"o\\\":{\\\"x\\\":1},\\\"mixed\\\":[1,\\\"a\\\"],\\\"nested\\\":[[1]],\\\"ok\\\":1}", "Metadata(\"o\") NotRepresentable {\\\"big\\\":9223372036854775808,\\\"o\\\":{\\\"x\\\":1},\\\"mixed\\\":[1,\\\"a\\\"],\\\"nested\\\":[[1]],\\\"ok\\\":1}", "Metadata(\"mixed\") NotRepresentable {\\\"big\\\":9223372036854775808,\\\"o\\\":{\\\"x\\\":1},\\\"mixed\\\":[1,\\\"a\\\"],\\\"nested\\\":[[1]],\\\"ok\\\":1}", "Metadata(\"nested\") NotRepresentable {\\\"big\\\":9223372036854775808,\\\"o\\\":{\\\"x\\\":1},\\\"mixed\\\":[1,\\\"a\\\"],\\\"nested\\\":[[1]],\\\"ok\\\":1}"] 0"#
            ]],
        );
        check(
            &[r#"{"chroma:document":"a\ud800b"}"#],
            expect![[r#"Some("a���b") None {} ["Document NotUnicode a\\xed\\xa0\\x80b"] 0"#]],
        );
        check(&["{", "[]"], expect![[r#"None None {} ["LogRow(1) NotJson {", "LogRow(2) NotJson []"] 0"#]]);
    }

    #[test]
    fn metadata_of_chroma_0_3_keeps_values_that_sqlite_cannot_store() {
        let check = |text: &str, expected: Expect| {
            let mut fields = Fields::default();
            fields.set_user_metadata(text.as_bytes());
            let Fields { document, metadata, problems, lost_values, .. } = fields;
            let problems: Vec<_> = problems
                .iter()
                .map(|p| format!("{:?} {:?} {}", p.field, p.kind, p.original.escape_ascii()))
                .collect();
            expected.assert_eq(&format!("{document:?} {metadata:?} {problems:?} {lost_values}"));
        };
        check("null", expect!["None {} [] 0"]);
        check(
            r#"{"nan":NaN,"zero":-0.0,"n":null,"chroma:document":"k","e":[],"twice":1,"twice":"x"}"#,
            expect![[
                r#"None {"chroma:document": Text("k"), "e": List([]), "nan": Float(NaN), "twice": Text("x"), "zero": Float(-0.0)} [] 1"#
            ]],
        );
        check(r#"{"o":{}}"#, expect![[r#"None {} ["Metadata(\"o\") NotRepresentable {\\\"o\\\":{}}"] 0"#]]);
        check("{'a': 1}", expect![[r#"None {} ["AllMetadata NotJson {\\'a\\': 1}"] 0"#]]);
    }

    #[test]
    fn problem_disappears_when_its_key_is_overwritten() {
        check(
            &[r#"{"chroma:document":"\ud800","o":{}}"#, r#"{"chroma:document":"fine","o":null}"#],
            expect![[r#"Some("fine") None {} [] 0"#]],
        );
    }
}
