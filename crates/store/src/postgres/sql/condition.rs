//! Translates a selection of records to SQL conditions.
//!
//! A record shows the service's columns in its metadata if the stored metadata lack them, as those of the old
//! services may; so a condition on such a key also tests the column. JSONB compares numbers by value (`1` equals
//! `1.0`); values of different types are never equal, and a scalar never equals a list.

use records::Service;
use serde_json::Number;
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    pattern::{self, translate},
    quoted,
};
use crate::{
    StoredTime,
    postgres::Table,
    storage::{
        Comparison, DocumentFilter, DocumentTest, Filter, RecordFilter, Scalar, Selection, StorageError, Test,
    },
};

/// Characters of a text in a B-tree index, whose entries are limited to 2,704 bytes.
pub(super) const INDEXED_CHARACTERS: usize = 200;

/// The value of a placeholder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bind {
    Text(String),
    Texts(Vec<String>),
    /// JSON of objects that metadata are compared with, one by one.
    Objects(Vec<String>),
    OptionalTexts(Vec<Option<String>>),
    Key(Uuid),
    Keys(Vec<Uuid>),
    Time(StoredTime),
    Times(Vec<PrimitiveDateTime>),
    Whole(i64),
    Real(f64),
    Reals(Vec<f32>),
}

/// The values of a statement's placeholders, in order.
#[derive(Debug, Default)]
pub(super) struct Binds(pub(super) Vec<Bind>);

impl Binds {
    /// The placeholder of `bind`.
    pub(super) fn add(&mut self, bind: Bind) -> String {
        self.0.push(bind);
        format!("${}", self.0.len())
    }
}

/// The location of a row's metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetadataSource {
    /// An expression of type JSONB.
    column: &'static str,
    /// The service whose columns the row shows in its metadata; `None` if it only shows its metadata.
    service: Option<Service>,
}

impl MetadataSource {
    /// Of a record of a service.
    pub(super) fn of(service: Service) -> Self {
        Self { column: "metadata", service: Some(service) }
    }

    /// Of a row that only shows the metadata in `column`.
    pub(super) fn alone(column: &'static str) -> Self {
        Self { column, service: None }
    }

    /// Whether a record shows metadata that are not an object under this key.
    fn is_for_others(self, key: &str) -> bool {
        self.service.is_some() && key == NOT_AN_OBJECT
    }
}

/// The conditions that the rows of `selection` satisfy.
///
/// # Errors
/// [`StorageError::Unsupported`] for a regular expression that PostgreSQL cannot run.
pub(super) fn conditions(
    service: Service,
    selection: &Selection,
    binds: &mut Binds,
) -> Result<Vec<String>, StorageError> {
    let Selection { category, model_id, filter, document, from, before } = selection;
    let mut conditions = Vec::new();
    if let Some(category) = category {
        conditions.push(equals(service.category_key(), category, binds));
    }
    if let Some(model_id) = model_id {
        conditions.push(match service {
            Service::Judge => equals("model_id", model_id, binds),
            Service::Query | Service::Evaluation => {
                has_equal(MetadataSource::of(service), "model_id", &Scalar::Text(model_id.clone()), binds)
            }
        });
    }
    if let Some(filter) = filter {
        let first = binds.0.len();
        let condition = metadata_condition(MetadataSource::of(service), filter, binds);
        conditions.push(on_decompressed(condition, &binds.0[first..], &[METADATA]));
    }
    if let Some(document) = document {
        let (text_column, first) = (quoted(&Table::of(service).text_column), binds.0.len());
        let whole_text = decompressed_text(&text_column);
        let mut document_conditions =
            DocumentConditions { text_column, bytes_left: pattern::MAX_BYTES, binds };
        let condition = document_conditions.of(document)?;
        conditions.push(on_decompressed(condition, &binds.0[first..], &[&whole_text]));
    }
    if let Some(from) = from {
        conditions.push(format!("created_at >= {}", binds.add(Bind::Time((*from).into()))));
    }
    if let Some(before) = before {
        conditions.push(format!("created_at < {}", binds.add(Bind::Time((*before).into()))));
    }
    Ok(conditions)
}

/// A comparison for which the index on the column's first characters can be used. Shorter texts are equal if those
/// are; in this case the planner drops the second test, which it would otherwise count as independent.
pub(super) fn equals(column: &str, text: &str, binds: &mut Binds) -> String {
    if has_nul(text) {
        return "false".to_owned();
    }
    let (column, value) = (quoted(column), binds.add(Bind::Text(text.to_owned())));
    format!(
        "left({column}, {INDEXED_CHARACTERS}) = left({value}, {INDEXED_CHARACTERS}) and (length({value}) < {INDEXED_CHARACTERS} or {column} = {value})"
    )
}

/// A condition on the records of a collection, whose documents are in `text_column`.
///
/// # Errors
/// As for [`conditions`].
pub(super) fn record_condition(
    place: MetadataSource,
    text_column: &str,
    filter: &RecordFilter,
    binds: &mut Binds,
) -> Result<String, StorageError> {
    let (text_column, first) = (quoted(text_column), binds.0.len());
    let whole_text = decompressed_text(&text_column);
    let mut room = pattern::MAX_BYTES;
    let condition = RecordConditions { place, text_column, room: &mut room, binds }.of(filter)?;
    Ok(on_decompressed(condition, &binds.0[first..], &[METADATA, &whole_text]))
}

/// With this number of tests or more, a condition tests decompressed columns, and a list of values is compared by hashes.
/// Each test of a compressed column makes a copy, which PostgreSQL keeps until it is done with the row: with large rows, a
/// thousand tests would take all memory. An index on the metadata is not used then.
const MANY_TESTS: usize = 32;

/// The metadata, decompressed.
const METADATA: &str = "metadata #> '{}' as metadata";

fn decompressed_text(column: &str) -> String {
    format!("{column} || '' as {column}")
}

/// The condition, on columns that are decompressed once for each row if it has many tests.
fn on_decompressed(condition: String, binds: &[Bind], columns: &[&str]) -> String {
    let tests = |bind: &Bind| match bind {
        Bind::Objects(objects) => objects.len(),
        _ => 1,
    };
    if binds.iter().map(tests).sum::<usize>() < MANY_TESTS {
        return condition;
    }
    let columns = columns.join(", ");
    format!("exists (select 1 from (select {columns} offset 0) as decompressed where {condition})")
}

struct RecordConditions<'b> {
    place: MetadataSource,
    text_column: String,
    room: &'b mut usize,
    binds: &'b mut Binds,
}

/// PostgreSQL compares a list of this many values by hashes.
const HASHED_VALUES: usize = 9;

impl RecordConditions<'_> {
    fn of(&mut self, filter: &RecordFilter) -> Result<String, StorageError> {
        match filter {
            RecordFilter::And(filters) => self.all(filters, (" and ", "true")),
            RecordFilter::Or(filters) => self.all(filters, (" or ", "false")),
            RecordFilter::Key { key, test: Test::In(scalars) } if self.is_hashed(scalars) => {
                Ok(self.one_of(key, scalars))
            }
            RecordFilter::Key { key, test: Test::NotIn(scalars) } if self.is_hashed(scalars) => {
                Ok(format!("({}) is not true", self.one_of(key, scalars)))
            }
            RecordFilter::Key { key, test: Test::Contains(Scalar::Number(number)) } => {
                Ok(self.list_with(key, number))
            }
            RecordFilter::Key { key, test: Test::NotContains(Scalar::Number(number)) } => {
                Ok(format!("({}) is not true", self.list_with(key, number)))
            }
            RecordFilter::Key { key, test } => Ok(key_condition(self.place, key, test, self.binds)),
            RecordFilter::Document(test) => {
                let text_column = self.text_column.clone();
                let mut documents =
                    DocumentConditions { text_column, bytes_left: *self.room, binds: self.binds };
                let condition = documents.of(&DocumentFilter::Test(test.clone()))?;
                *self.room = documents.bytes_left;
                Ok(match test {
                    DocumentTest::Contains(_) | DocumentTest::Regex(_) => condition,
                    // A record without a document does not contain anything.
                    DocumentTest::NotContains(_) | DocumentTest::NotRegex(_) => {
                        format!("({condition}) is not false")
                    }
                })
            }
        }
    }

    fn all(
        &mut self,
        filters: &[RecordFilter],
        (conjunction, of_none): (&str, &str),
    ) -> Result<String, StorageError> {
        if filters.is_empty() {
            return Ok(of_none.to_owned());
        }
        let conditions: Vec<String> =
            filters.iter().map(|filter| self.of(filter)).collect::<Result<_, _>>()?;
        Ok(format!("({})", conditions.join(conjunction)))
    }

    /// A list of integers contains no float, and the other way round: those of floats have a point in each number.
    fn list_with(&mut self, key: &str, number: &Number) -> String {
        let contained = has_element(self.place, key, &Scalar::Number(number.clone()), self.binds);
        let first =
            format!("({} -> {} ->> 0)", self.place.column, self.binds.add(Bind::Text(key.to_owned())));
        let relation = if number.is_f64() { '>' } else { '=' };
        format!("({contained} and strpos({first}, '.') {relation} 0)")
    }

    fn is_hashed(&self, scalars: &[Scalar]) -> bool {
        self.place.service.is_none() && scalars.len() >= HASHED_VALUES
    }

    fn one_of(&mut self, key: &str, scalars: &[Scalar]) -> String {
        let value = value(self.place, key, self.binds);
        format!("{value} = any({}::jsonb[])", self.binds.add(Bind::Texts(scalars.iter().map(json).collect())))
    }
}

pub(super) fn metadata_condition(place: MetadataSource, filter: &Filter, binds: &mut Binds) -> String {
    let mut all = |filters: &[Filter], conjunction: &str| {
        let conditions: Vec<String> =
            filters.iter().map(|filter| metadata_condition(place, filter, binds)).collect();
        format!("({})", conditions.join(conjunction))
    };
    match filter {
        Filter::And(filters) => all(filters, " and "),
        Filter::Or(filters) => all(filters, " or "),
        Filter::Key { key, test } => key_condition(place, key, test, binds),
    }
}

/// A condition whose value may be NULL, which counts as false, since it is not negated.
fn key_condition(place: MetadataSource, key: &str, test: &Test, binds: &mut Binds) -> String {
    match test {
        Test::Equal(scalar) => has_equal(place, key, scalar, binds),
        Test::NotEqual(scalar) => format!("({}) is not true", has_equal(place, key, scalar, binds)),
        Test::Compare(comparison, number) => {
            let value = value(place, key, binds);
            let operator = match comparison {
                Comparison::Greater => ">",
                Comparison::GreaterOrEqual => ">=",
                Comparison::Less => "<",
                Comparison::LessOrEqual => "<=",
            };
            let bound = binds.add(Bind::Text(number.to_string()));
            format!("({value} {operator} {bound}::jsonb and jsonb_typeof({value}) = 'number')")
        }
        Test::In(scalars) => is_one_of(place, key, scalars, binds),
        Test::NotIn(scalars) => format!("({}) is not true", is_one_of(place, key, scalars, binds)),
        Test::Contains(scalar) => has_element(place, key, scalar, binds),
        Test::NotContains(scalar) => format!("({}) is not true", has_element(place, key, scalar, binds)),
    }
}

/// Containment, for which the index on `metadata` can be used; an object contains another only if the scalars are
/// equal.
fn has_equal(place: MetadataSource, key: &str, scalar: &Scalar, binds: &mut Binds) -> String {
    if has_nul(key) || is_nul_text(scalar) {
        return "false".to_owned();
    }
    let stored = contains(place, key, &json(scalar), binds);
    let stored = if place.is_for_others(key) {
        format!("({stored} or {} = {}::jsonb)", value(place, key, binds), binds.add(Bind::Text(json(scalar))))
    } else {
        stored
    };
    let Scalar::Text(text) = scalar else { return stored };
    let in_column = match own_key(place, key) {
        None => return stored,
        Some(OwnKey::Column) => equals(key, text, binds),
        Some(OwnKey::Time) => format!("{SHOWN_TIME} = {}", binds.add(Bind::Text(text.clone()))),
    };
    let name = binds.add(Bind::Text(key.to_owned()));
    format!("({stored} or ({} -> {name}) is null and {in_column})", place.column)
}

/// Containment too, so that the index can be used for each of the scalars, unless there are [`MANY_TESTS`].
fn is_one_of(place: MetadataSource, key: &str, scalars: &[Scalar], binds: &mut Binds) -> String {
    if has_nul(key) {
        return "false".to_owned();
    }
    let possible = scalars.iter().filter(|scalar| !is_nul_text(scalar));
    if place.is_for_others(key) || scalars.len() >= MANY_TESTS {
        let value = value(place, key, binds);
        return format!("{value} = any({}::jsonb[])", binds.add(Bind::Texts(possible.map(json).collect())));
    }
    let objects = possible.clone().map(|scalar| object(key, &json(scalar))).collect();
    let stored = format!("{} @> any({}::jsonb[])", place.column, binds.add(Bind::Objects(objects)));
    let texts: Vec<&String> = possible
        .filter_map(|scalar| match scalar {
            Scalar::Text(text) => Some(text),
            Scalar::Bool(_) | Scalar::Number(_) => None,
        })
        .collect();
    let whole = |binds: &mut Binds| binds.add(Bind::Texts(texts.iter().copied().cloned().collect()));
    let in_column = match own_key(place, key) {
        None => return stored,
        Some(_) if texts.is_empty() => return stored,
        Some(OwnKey::Column) => {
            let beginning = |text: &&String| text.chars().take(INDEXED_CHARACTERS).collect();
            let beginnings = binds.add(Bind::Texts(texts.iter().map(beginning).collect()));
            let (column, whole) = (quoted(key), whole(binds));
            format!("left({column}, {INDEXED_CHARACTERS}) = any({beginnings}) and {column} = any({whole})")
        }
        Some(OwnKey::Time) => format!("{SHOWN_TIME} = any({})", whole(binds)),
    };
    let name = binds.add(Bind::Text(key.to_owned()));
    format!("({stored} or ({} -> {name}) is null and {in_column})", place.column)
}

/// The columns are no lists, so only the stored metadata matter.
fn has_element(place: MetadataSource, key: &str, scalar: &Scalar, binds: &mut Binds) -> String {
    if has_nul(key) || is_nul_text(scalar) {
        return "false".to_owned();
    }
    let element = json(scalar);
    let stored = contains(place, key, &format!("[{element}]"), binds);
    if !place.is_for_others(key) {
        return stored;
    }
    let element = binds.add(Bind::Text(format!("[{element}]")));
    let column = place.column;
    format!("({stored} or jsonb_typeof({column}) = 'array' and {column} @> {element}::jsonb)")
}

fn contains(place: MetadataSource, key: &str, json: &str, binds: &mut Binds) -> String {
    format!("{} @> {}::jsonb", place.column, binds.add(Bind::Text(object(key, json))))
}

/// The object with only `json` under `key`.
fn object(key: &str, json: &str) -> String {
    format!("{{{}: {json}}}", serde_json::Value::from(key))
}

/// The value that a record shows for `key`, as JSONB; NULL if it shows none.
fn value(place: MetadataSource, key: &str, binds: &mut Binds) -> String {
    if has_nul(key) {
        return "null::jsonb".to_owned();
    }
    let name = binds.add(Bind::Text(key.to_owned()));
    let column = place.column;
    let stored = format!("{column} -> {name}");
    match own_key(place, key) {
        Some(OwnKey::Column) => format!("coalesce({stored}, to_jsonb({}))", quoted(key)),
        Some(OwnKey::Time) => format!("coalesce({stored}, to_jsonb({SHOWN_TIME}))"),
        None if place.is_for_others(key) => {
            format!("case when jsonb_typeof({column}) = 'object' then {stored} else {column} end")
        }
        None => format!("({stored})"),
    }
}

/// Metadata of the old services that are no object are shown under this key.
pub(crate) const NOT_AN_OBJECT: &str = "metadata";

/// A time in the format of the API.
const SHOWN_TIME: &str = r#"to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US')"#;

/// Keys that every record shows.
enum OwnKey {
    /// Of the column of that name.
    Column,
    /// Of `created_at`.
    Time,
}

fn own_key(place: MetadataSource, key: &str) -> Option<OwnKey> {
    let service = place.service?;
    if key == "timestamp" {
        return Some(OwnKey::Time);
    }
    Table::of(service).columns.iter().any(|column| column.name == key).then_some(OwnKey::Column)
}

/// Writes conditions on a text.
struct DocumentConditions<'b> {
    /// The quoted column.
    text_column: String,
    /// Remaining bytes for regular expressions.
    bytes_left: usize,
    binds: &'b mut Binds,
}

impl DocumentConditions<'_> {
    fn of(&mut self, filter: &DocumentFilter) -> Result<String, StorageError> {
        match filter {
            DocumentFilter::And(filters) => self.all(filters, " and "),
            DocumentFilter::Or(filters) => self.all(filters, " or "),
            DocumentFilter::Test(DocumentTest::Contains(part)) if has_nul(part) => Ok("false".to_owned()),
            DocumentFilter::Test(DocumentTest::NotContains(part)) if has_nul(part) => Ok("true".to_owned()),
            DocumentFilter::Test(test) => {
                let (bind, [before, between, after]) = match test {
                    DocumentTest::Contains(part) => (part.clone(), ["strpos(", ", ", ") > 0"]),
                    DocumentTest::NotContains(part) => (part.clone(), ["strpos(", ", ", ") = 0"]),
                    DocumentTest::Regex(pattern) => {
                        (translate(pattern, &mut self.bytes_left)?, ["", " ~ ", ""])
                    }
                    DocumentTest::NotRegex(pattern) => {
                        (translate(pattern, &mut self.bytes_left)?, ["", " !~ ", ""])
                    }
                };
                let bind = self.binds.add(Bind::Text(bind));
                Ok(format!("{before}{}{between}{bind}{after}", self.text_column))
            }
        }
    }

    fn all(&mut self, filters: &[DocumentFilter], conjunction: &str) -> Result<String, StorageError> {
        let conditions: Result<Vec<String>, StorageError> =
            filters.iter().map(|filter| self.of(filter)).collect();
        Ok(format!("({})", conditions?.join(conjunction)))
    }
}

fn json(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(number) => number.to_string(),
        Scalar::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
    }
}

/// PostgreSQL's texts cannot contain the character NUL.
fn has_nul(text: &str) -> bool {
    text.contains('\0')
}

fn is_nul_text(scalar: &Scalar) -> bool {
    matches!(scalar, Scalar::Text(text) if has_nul(text))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    fn written(selection: &Selection) -> String {
        let mut binds = Binds::default();
        let conditions = conditions(Service::Query, selection, &mut binds).expect("it can be asked");
        format!("{}\n{:?}", conditions.join("\nand "), binds.0)
    }

    #[test]
    fn metadata_conditions_test_the_stored_value_or_the_column() {
        let check = |filter: Value, expected: Expect| {
            let filter = Filter::from_json(&filter).expect("it is a filter");
            expected.assert_eq(&written(&Selection { filter: Some(filter), ..Selection::default() }));
        };
        check(
            json!({"n": 1}),
            expect![[r#"
            metadata @> $1::jsonb
            [Text("{\"n\": 1}")]"#]],
        );
        check(
            json!({"n": {"$ne": "x"}}),
            expect![[r#"
            (metadata @> $1::jsonb) is not true
            [Text("{\"n\": \"x\"}")]"#]],
        );
        check(
            json!({"n": {"$gte": 1.5}}),
            expect![[r#"
            ((metadata -> $1) >= $2::jsonb and jsonb_typeof((metadata -> $1)) = 'number')
            [Text("n"), Text("1.5")]"#]],
        );
        check(
            json!({"n": {"$nin": [1, 2]}}),
            expect![[r#"
                (metadata @> any($1::jsonb[])) is not true
                [Objects(["{\"n\": 1}", "{\"n\": 2}"])]"#]],
        );
        check(
            json!({"n": {"$contains": "x"}}),
            expect![[r#"
            metadata @> $1::jsonb
            [Text("{\"n\": [\"x\"]}")]"#]],
        );
        check(
            json!({"theme": "x"}),
            expect![[r#"
                (metadata @> $1::jsonb or (metadata -> $3) is null and left("theme", 200) = left($2, 200) and (length($2) < 200 or "theme" = $2))
                [Text("{\"theme\": \"x\"}"), Text("x"), Text("theme")]"#]],
        );
        check(
            json!({"theme": {"$in": ["x", "y"]}}),
            expect![[r#"
                (metadata @> any($1::jsonb[]) or (metadata -> $4) is null and left("theme", 200) = any($2) and "theme" = any($3))
                [Objects(["{\"theme\": \"x\"}", "{\"theme\": \"y\"}"]), Texts(["x", "y"]), Texts(["x", "y"]), Text("theme")]"#]],
        );
        check(
            json!({"timestamp": "x"}),
            expect![[r#"
            (metadata @> $1::jsonb or (metadata -> $3) is null and to_char(created_at, 'YYYY-MM-DD"T"HH24:MI:SS.US') = $2)
            [Text("{\"timestamp\": \"x\"}"), Text("x"), Text("timestamp")]"#]],
        );
        check(
            json!({"metadata": 1}),
            expect![[r#"
            (metadata @> $1::jsonb or case when jsonb_typeof(metadata) = 'object' then metadata -> $2 else metadata end = $3::jsonb)
            [Text("{\"metadata\": 1}"), Text("metadata"), Text("1")]"#]],
        );
        check(
            json!({"$or": [{"a": true}, {"$and": [{"b": 1}, {"c": 2}]}]}),
            expect![[r#"
            (metadata @> $1::jsonb or (metadata @> $2::jsonb and metadata @> $3::jsonb))
            [Text("{\"a\": true}"), Text("{\"b\": 1}"), Text("{\"c\": 2}")]"#]],
        );
    }

    #[test]
    fn many_values_never_copy_compressed_metadata_for_each_value() {
        let check = |filter: Value, is_decompressed: bool, compared: &str| {
            let filter = Some(Filter::from_json(&filter).expect("it is a filter"));
            let text = written(&Selection { filter, ..Selection::default() });
            let found = [text.contains("as decompressed where"), text.contains(compared)];
            assert_eq!(found, [is_decompressed, true], "{text}");
        };
        let few = json!({"n": {"$in": (1..MANY_TESTS).collect::<Vec<_>>()}});
        check(few.clone(), false, "metadata @> any($1::jsonb[])");
        let most: Vec<usize> = (0..999).collect(); // And the test itself: as many as a filter may have.
        let texts: Vec<String> = most.iter().map(ToString::to_string).collect();
        for test in ["$in", "$nin"] {
            check(json!({"n": {test: most}}), false, "(metadata -> $1) = any($2::jsonb[])");
            check(json!({"theme": {test: texts}}), false, r#"to_jsonb("theme")) = any($2::jsonb[])"#);
            let short = |lists| json!({"$and": vec![json!({"n": {test: [1, 2, 3, 4, 5, 6, 7, 8]}}); lists]});
            check(short(3), false, "");
            check(short(4), true, "");
        }
        check(json!({"$or": [few, {"m": 1}]}), true, "");
    }

    #[test]
    fn all_conditions_of_a_selection_are_combined() {
        let document = DocumentFilter::from_json(
            &json!({"$or": [{"$not_contains": "50%_"}, {"$regex": "a{300}|^[0-9]$"}]}),
        );
        let selection = Selection {
            category: Some("physics".to_owned()),
            model_id: Some("gpt-4".to_owned()),
            filter: None,
            document: Some(document.expect("it is a filter")),
            from: Some(datetime!(2026-01-01 0:00)),
            before: Some(datetime!(2026-02-01 0:00)),
        };
        expect![[r#"
            left("theme", 200) = left($1, 200) and (length($1) < 200 or "theme" = $1)
            and metadata @> $2::jsonb
            and (strpos("query_text", $3) = 0 or "query_text" ~ $4)
            and created_at >= $5
            and created_at < $6
            [Text("physics"), Text("{\"model_id\": \"gpt-4\"}"), Text("50%_"), Text("***:(?:(?:(?:a){255}){1}(?:a){45}|(?:\\A)(?:[0-9])(?:\\Z))"), Time(2026-01-01T00:00:00.000000), Time(2026-02-01T00:00:00.000000)]"#]].assert_eq(&written(&selection));
        let nothing = Selection { category: Some("nul\0".to_owned()), ..Selection::default() };
        expect![[r#"
            false
            []"#]]
        .assert_eq(&written(&nothing));
    }
}
