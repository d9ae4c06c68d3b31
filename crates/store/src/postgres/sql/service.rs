//! Statements of a service's storage.

use records::{Embedding, Service};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    collections::noted_deletion,
    condition::{Bind, Binds, conditions},
    encoded_rows::RowTarget,
    list, operator, quoted,
    sized_rows::{Rows, kept_columns},
    statement::{Statement, statement},
    vector_index::{exact_distance, order},
};
use crate::{
    postgres::{Table, index_definition::Precision},
    storage::{Selection, Start, StorageError},
};

/// Characters of a text that full text search uses. A `tsvector` is limited to a megabyte, and a text with more words
/// could not be stored; this many characters fit even if each has four bytes and all words are compound words, which
/// count twice.
const SEARCHED_CHARACTERS: usize = 65_536;

/// A row to store.
pub(crate) struct NewRow<'a> {
    /// Primary key.
    pub(crate) key: Uuid,
    /// The id, if it is not a canonical UUID.
    pub(crate) source_id: Option<&'a str>,
    pub(crate) text: &'a str,
    /// Values of the columns that repeat a metadata key, in the table's order.
    pub(crate) columns: Vec<&'a str>,
    /// A JSON object.
    pub(crate) metadata: String,
    pub(crate) created_at: PrimitiveDateTime,
    /// `[dimension]` of the table.
    pub(crate) embedding: &'a Embedding,
}

/// How many of the selected records an exact search compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Every one.
    All,
    /// Up to this many; the column `matching` shows whether there are more.
    UpTo(u32),
}

/// The use of vectors in a search by words.
#[derive(Clone, Debug)]
pub(crate) struct Distances<'a> {
    pub(crate) embedding: &'a Embedding,
    /// Only rows within this distance.
    pub(crate) up_to: Option<f64>,
}

/// The columns of a new row, in the order in which they are written.
fn stored_columns(table: &Table) -> Vec<&str> {
    let mut columns = vec!["id", "source_id", table.text_column.as_str()];
    columns.extend(table.columns.iter().map(|column| column.name.as_str()));
    columns.extend(["metadata", "created_at", "embedding"]);
    columns
}

/// New rows of the table.
pub(crate) fn record_rows(table: &Table) -> RowTarget<'_> {
    RowTarget { table: &table.name, columns: stored_columns(table) }
}

/// Inserts rows whose keys do not exist; returns the inserted keys.
pub(crate) fn insert_records(table: &Table, rows: &[NewRow<'_>]) -> Statement {
    let texts = |part: &dyn Fn(&NewRow<'_>) -> String| Bind::Texts(rows.iter().map(part).collect());
    let mut binds = Binds::default();
    let source_ids = rows.iter().map(|row| row.source_id.map(str::to_owned)).collect();
    let mut lists = vec![
        format!("{}::uuid[]", binds.add(Bind::Keys(rows.iter().map(|row| row.key).collect()))),
        format!("{}::text[]", binds.add(Bind::OptionalTexts(source_ids))),
        format!("{}::text[]", binds.add(texts(&|row| row.text.to_owned()))),
    ];
    for column in 0..table.columns.len() {
        lists.push(format!("{}::text[]", binds.add(texts(&|row| row.columns[column].to_owned()))));
    }
    lists.push(format!("{}::text[]::jsonb[]", binds.add(texts(&|row| row.metadata.clone()))));
    let times = rows.iter().map(|row| row.created_at).collect();
    lists.push(format!("{}::timestamp[]", binds.add(Bind::Times(times))));
    // `[rows, dimension]`, row-major: PostgreSQL has no list of lists.
    let embeddings = rows.iter().flat_map(|row| row.embedding.as_slice()).copied().collect();
    let embeddings = binds.add(Bind::Reals(embeddings));
    let columns = stored_columns(table);
    let given = list(&columns[..columns.len() - 1]);
    let dimension = table.dimension;
    statement(
        format!(
            "insert into {name} ({columns})
select {given},
    ({embeddings}::real[])[(position::int - 1) * {dimension} + 1 : position::int * {dimension}]::vector
from unnest({lists}) with ordinality as given ({given}, position)
on conflict (id) do nothing
returning id",
            name = quoted(&table.name),
            columns = list(&columns),
            lists = lists.join(", "),
        ),
        binds,
    )
}

/// The records with these keys.
pub(crate) fn select_records(table: &Table, keys: Vec<Uuid>) -> Statement {
    let mut binds = Binds::default();
    let keys = binds.add(Bind::Keys(keys));
    let from = format!(
        "from {}
where id = any({keys})",
        quoted(&table.name)
    );
    Rows { table, with: String::new(), from, others: &[], order: "id" }.or_none(binds)
}

/// The record with this key, locked until the end of the transaction.
pub(crate) fn lock_record(table: &Table, key: Uuid) -> Statement {
    let mut binds = Binds::default();
    let key = binds.add(Bind::Key(key));
    let (name, shown) = (quoted(&table.name), shown_columns(table));
    statement(
        format!(
            "select {shown}
from {name}
where id = {key}
for update"
        ),
        binds,
    )
}

/// Deletes the rows with these keys and ids, keeps in mind those that a migration has written, and returns the ids.
pub(crate) fn delete_records(table: &Table, keys: Vec<Uuid>, ids: Vec<String>) -> Statement {
    let mut binds = Binds::default();
    let (keys, ids) = (binds.add(Bind::Keys(keys)), binds.add(Bind::Texts(ids)));
    let deletion = format!(
        "delete from {} kept
using unnest({keys}::uuid[], {ids}::text[]) as asked (id, shown)
where kept.id = asked.id and coalesce(kept.source_id, kept.id::text) = asked.shown
returning kept.id, kept.migration_run, asked.shown",
        quoted(&table.name)
    );
    let gone = noted_deletion(table, &deletion, &mut binds);
    statement(format!("{gone}\nselect shown\nfrom gone"), binds)
}

const NEWEST_FIRST: &str = "created_at desc, id desc";

/// Up to `limit` of the selected records from `start` on, newest first.
pub(crate) fn list_records(
    service: Service,
    selection: &Selection,
    start: Start,
    limit: u32,
) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let from = newest(service, selection, (start, limit), &mut binds)?;
    let table = &Table::of(service);
    Ok(Rows { table, with: String::new(), from, others: &[], order: NEWEST_FIRST }.or_none(binds))
}

/// The first of these records.
pub(crate) fn export_records(
    service: Service,
    selection: &Selection,
    start: Start,
    limit: u32,
) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let from = newest(service, selection, (start, limit), &mut binds)?;
    let table = &Table::of(service);
    Ok(Rows { table, with: String::new(), from, others: &[], order: NEWEST_FIRST }.first(binds))
}

/// The part of the statement after `select …` for up to `limit` of the selected records from `start` on, newest
/// first.
fn newest(
    service: Service,
    selection: &Selection,
    (start, limit): (Start, u32),
    binds: &mut Binds,
) -> Result<String, StorageError> {
    let table = &Table::of(service);
    let mut conditions = conditions(service, selection, binds)?;
    let mut offset = String::new();
    match start {
        Start::Offset(0) => {}
        Start::Offset(records) => {
            // More than any table has.
            let records = i64::try_from(records).unwrap_or(i64::MAX);
            offset = format!("\noffset {}", binds.add(Bind::Whole(records)));
        }
        Start::After(cursor) => conditions.push(match cursor.created_at {
            Some(created_at) => format!(
                "(created_at, id) < ({}, {})",
                binds.add(Bind::Time(created_at)),
                binds.add(Bind::Key(cursor.key))
            ),
            // PostgreSQL sorts NULL before all times when the latest come first.
            None => format!(
                "(created_at is null and id < {} or created_at is not null)",
                binds.add(Bind::Key(cursor.key))
            ),
        }),
    }
    let filter = filter(&conditions);
    let limit = binds.add(Bind::Whole(limit.into()));
    Ok(format!(
        "from {}{filter}
order by {NEWEST_FIRST}
limit {limit}{offset}",
        quoted(&table.name)
    ))
}

/// How many records are selected.
pub(crate) fn count_records(service: Service, selection: &Selection) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let filter = filter(&conditions(service, selection, &mut binds)?);
    let name = quoted(&Table::of(service).name);
    Ok(statement(format!("select count(*)\nfrom {name}{filter}"), binds))
}

/// Each category and its number of records, in no particular order (PostgreSQL would decompress long ones for each
/// comparison). The column `bytes` is the total size of the categories; beyond [`Statement::within`], they are null.
pub(crate) fn count_categories(table: &Table, category: &str) -> Statement {
    let (name, category) = (quoted(&table.name), quoted(category));
    let mut binds = Binds::default();
    let most = binds.add(Bind::Whole(i64::MAX));
    let sql = format!(
        "select case when bytes <= {most} then category end as category, records, bytes
from (
    select category, records, sum(coalesce(octet_length(category), 0)) over () as bytes
    from (select {category} as category, count(*) as records from {name} group by {category}) counted
) weighed"
    );
    Statement { most_bytes: Some(0), ..statement(sql, binds) }
}

/// The nearest of the selected records, found with an exact search.
///
/// No index has the expression of the distance. Where matches are counted, the inner limit ends the search early; on
/// Citus, shards sort their own rows unless there is one.
pub(crate) fn nearest_exact(
    service: Service,
    selection: &Selection,
    embedding: &Embedding,
    limit: u32,
    measured: Measured,
) -> Result<Statement, StorageError> {
    let table = &Table::of(service);
    let mut binds = Binds::default();
    let embedding = binds.add(Bind::Reals(embedding.as_slice().to_vec()));
    let limit = binds.add(Bind::Whole(limit.into()));
    let most = match measured {
        Measured::All => None,
        Measured::UpTo(records) => Some(binds.add(Bind::Whole(records.into()))),
    };
    let mut all = vec!["embedding is not null".to_owned()];
    all.extend(conditions(service, selection, &mut binds)?);
    let (name, distance) = (quoted(&table.name), exact_distance(table, &embedding));
    let (key, conditions) = ("select id as key, distance", all.join("\n            and "));
    let nearest = match &most {
        None => format!(
            "select id as key, {distance} as distance
    from {name}
    where {}",
            all.join("\n        and ")
        ),
        Some(most) => format!(
            "{key}, count(*) over () as matching
    from (
        select id, {distance} as distance
        from {name}
        where {conditions}
        limit {most}
    ) measured"
        ),
    };
    let with = format!(
        "with nearest as materialized (
    {nearest}
    order by distance, id
    limit {limit}
)
"
    );
    let others: &[&str] = if most.is_some() { &["distance", "matching"] } else { &["distance"] };
    let from = format!(
        "from nearest
join {name} on id = key
order by distance, id"
    );
    Ok(Rows { table, with, from, others, order: "distance, id" }.or_none(binds))
}

/// PostgreSQL's plan for finding the selected records that have an embedding, with the estimated number of rows.
pub(crate) fn explain_selected(service: Service, selection: &Selection) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let mut all = vec!["embedding is not null".to_owned()];
    all.extend(conditions(service, selection, &mut binds)?);
    let name = quoted(&Table::of(service).name);
    Ok(statement(
        format!(
            "explain (format json)
select 1 from {name}{}",
            filter(&all)
        ),
        binds,
    ))
}

/// The nearest of the selected records, found with a vector index of `precision`.
///
/// The inner statement has the form for which an index is used. An iterative index scan may return rows slightly out
/// of order, so the outer statement sorts, and makes ties deterministic. It takes whole rows: on Citus, a join by their ids
/// would be a second search of all shards. Half precision may change the order of rows
/// with nearly equal distances, so twice as many are taken from such an index and compared exactly.
pub(crate) fn nearest_by_index(
    service: Service,
    selection: &Selection,
    embedding: &Embedding,
    limit: u32,
    precision: Precision,
) -> Result<Statement, StorageError> {
    let table = &Table::of(service);
    let mut binds = Binds::default();
    let embedding = binds.add(Bind::Reals(embedding.as_slice().to_vec()));
    let taken = binds.add(Bind::Whole(precision.taken(limit).into()));
    let last = match precision {
        Precision::Full => String::new(),
        Precision::Half => format!("\nlimit {}", binds.add(Bind::Whole(limit.into()))),
    };
    let mut all = vec!["embedding is not null".to_owned()];
    all.extend(conditions(service, selection, &mut binds)?);
    let name = quoted(&table.name);
    let from = format!(
        "from (
    select {columns}, {distance} as distance
    from {name}
    where {conditions}
    order by {order}
    limit {taken}
) nearest
order by distance, id{last}",
        columns = kept_columns(table),
        distance = order(table, Precision::Full, &embedding),
        // The expression occurs once, so that a long vector is parsed once.
        order = match precision {
            Precision::Full => "distance".to_owned(),
            Precision::Half => order(table, precision, &embedding),
        },
        conditions = all.join("\n        and "),
    );
    Ok(Rows { table, with: String::new(), from, others: &["distance"], order: "distance, id" }.or_none(binds))
}

/// The records that have the words of `text`, best first.
pub(crate) fn ranked_by_words(
    service: Service,
    selection: &Selection,
    text: &str,
    distances: Option<Distances<'_>>,
    limit: u32,
) -> Result<Statement, StorageError> {
    let table = &Table::of(service);
    let mut binds = Binds::default();
    let words =
        format!("websearch_to_tsquery('pg_catalog.english', {})", binds.add(Bind::Text(text.to_owned())));
    let limit = binds.add(Bind::Whole(limit.into()));
    let vector = searched_words(table);
    let mut all = vec![format!("{vector} @@ {words}")];
    let mut distance = "null::float8".to_owned();
    if let Some(Distances { embedding, up_to }) = distances {
        let embedding = binds.add(Bind::Reals(embedding.as_slice().to_vec()));
        distance = format!("embedding {} {embedding}::real[]::vector", operator(table.space));
        if let Some(up_to) = up_to {
            all.push(format!("{distance} <= {}", binds.add(Bind::Real(up_to))));
        }
    }
    all.extend(conditions(service, selection, &mut binds)?);
    let name = quoted(&table.name);
    let with = format!(
        "with ranked as materialized (
    select id as key, ts_rank_cd({vector}, {words})::float8 as score, {distance} as distance
    from {name}
    where {conditions}
    order by score desc, id
    limit {limit}
)
",
        conditions = all.join("\n        and "),
    );
    let from = format!(
        "from ranked
join {name} on id = key
order by score desc, id"
    );
    Ok(Rows { table, with, from, others: &["distance", "score"], order: "score desc, id" }.or_none(binds))
}

/// The `tsvector` of a row.
pub(super) fn searched_words(table: &Table) -> String {
    format!("to_tsvector('pg_catalog.english', left({}, {SEARCHED_CHARACTERS}))", quoted(&table.text_column))
}

/// The columns of a record.
pub(super) fn shown_columns(table: &Table) -> String {
    let lifted: String = table.columns.iter().map(|column| format!(", {}", quoted(&column.name))).collect();
    format!(
        "id, source_id, {} as text{lifted}, metadata::text as metadata, created_at",
        quoted(&table.text_column)
    )
}

pub(super) fn filter(conditions: &[String]) -> String {
    if conditions.is_empty() { String::new() } else { format!("\nwhere {}", conditions.join("\n    and ")) }
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};
    use time::macros::datetime;

    use super::*;
    use crate::storage::{Cursor, Filter};

    fn check(statement: &Statement, expected: &ExpectFile) {
        expected.assert_eq(&format!("{};\n", statement.sql.0));
    }

    fn in_category() -> Selection {
        Selection { category: Some("physics".to_owned()), ..Selection::default() }
    }

    fn filtered(filter: serde_json::Value) -> Selection {
        Selection {
            filter: Some(Filter::from_json(&filter).expect("it is a filter")),
            ..Selection::default()
        }
    }

    #[test]
    fn writing_statements_are_the_golden_ones() {
        let outputs = &Table::of(Service::Judge);
        check(&insert_records(outputs, &[]), &expect_file!["golden/insert_records.sql"]);
        expect_file!["golden/copy_records.sql"].assert_eq(&format!("{};\n", record_rows(outputs).copy()));
        check(&delete_records(outputs, vec![], vec![]), &expect_file!["golden/delete_records.sql"]);
        check(&lock_record(outputs, Uuid::nil()), &expect_file!["golden/lock_record.sql"]);
    }

    #[test]
    fn reading_statements_are_the_golden_ones() {
        let queries = &Table::of(Service::Query);
        check(&select_records(queries, vec![]), &expect_file!["golden/select_records.sql"]);
        check(&count_categories(queries, "theme"), &expect_file!["golden/count_categories.sql"]);
        let all = Selection::default();
        let cursor = Cursor { created_at: Some(datetime!(2026-01-31 12:00).into()), key: Uuid::nil() };
        let after = Start::After(cursor);
        let check_list = |service, selection: &Selection, start, expected: &ExpectFile| {
            check(&list_records(service, selection, start, 10).expect("it can be asked"), expected);
        };
        check_list(Service::Query, &all, Start::Offset(0), &expect_file!["golden/list_newest.sql"]);
        check_list(Service::Query, &all, Start::Offset(30), &expect_file!["golden/list_offset.sql"]);
        check_list(Service::Query, &all, after, &expect_file!["golden/list_after.sql"]);
        let exported = export_records(Service::Query, &all, after, 10).expect("it can be asked");
        check(&exported, &expect_file!["golden/export_records.sql"]);
        let category = &in_category();
        check_list(Service::Query, category, Start::Offset(0), &expect_file!["golden/list_category.sql"]);
        check_list(Service::Query, category, after, &expect_file!["golden/list_category_after.sql"]);
        let model = &Selection { model_id: Some("gpt-4".to_owned()), ..Selection::default() };
        check_list(Service::Judge, model, Start::Offset(0), &expect_file!["golden/list_model.sql"]);
        let source = &filtered(serde_json::json!({"source": "exam"}));
        check_list(Service::Query, source, Start::Offset(0), &expect_file!["golden/list_metadata.sql"]);
        let theme = &filtered(serde_json::json!({"theme": "physics"}));
        check_list(Service::Query, theme, Start::Offset(0), &expect_file!["golden/list_theme.sql"]);
        let sources = &filtered(serde_json::json!({"source": {"$in": ["exam", "book"]}}));
        check_list(
            Service::Query,
            sources,
            Start::Offset(0),
            &expect_file!["golden/list_metadata_one_of.sql"],
        );
        let themes = &filtered(serde_json::json!({"theme": {"$in": ["physics", "music"]}}));
        check_list(Service::Query, themes, Start::Offset(0), &expect_file!["golden/list_theme_one_of.sql"]);
        let counted = count_records(Service::Query, category).expect("it can be asked");
        check(&counted, &expect_file!["golden/count_records.sql"]);
    }

    #[test]
    fn searching_statements_are_the_golden_ones() {
        let embedding = &Embedding::from(vec![1.0]);
        let (all, category) = (&Selection::default(), &in_category());
        let check = |statement: Result<Statement, StorageError>, expected: &ExpectFile| {
            check(&statement.expect("it can be asked"), expected);
        };
        let exact = |selection, measured| nearest_exact(Service::Query, selection, embedding, 10, measured);
        check(exact(all, Measured::All), &expect_file!["golden/nearest_exact.sql"]);
        check(exact(category, Measured::UpTo(7)), &expect_file!["golden/nearest_exact_filtered.sql"]);
        check(explain_selected(Service::Query, category), &expect_file!["golden/explain_selected.sql"]);
        let by_index =
            |selection, precision| nearest_by_index(Service::Query, selection, embedding, 10, precision);
        check(by_index(all, Precision::Full), &expect_file!["golden/nearest_by_index.sql"]);
        check(by_index(category, Precision::Full), &expect_file!["golden/nearest_by_index_filtered.sql"]);
        check(by_index(category, Precision::Half), &expect_file!["golden/nearest_by_index_half.sql"]);
        let distances = Distances { embedding, up_to: Some(0.5) };
        let ranked =
            |distances| ranked_by_words(Service::Query, &Selection::default(), "falling", distances, 10);
        check(ranked(None), &expect_file!["golden/ranked_by_words.sql"]);
        check(ranked(Some(distances)), &expect_file!["golden/ranked_by_words_within.sql"]);
    }
}
