//! Statements for the records of collections that Chroma clients see.

use std::borrow::Cow;

use records::{DistanceSpace, Embedding, Service, timestamp};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    Sql,
    condition::{Bind, Binds, MetadataSource, record_condition},
    encoded_rows::RowTarget,
    quoted,
    statement::{Statement, statement},
    trusted,
    vector_index::order,
};
use crate::{
    postgres::{Table, index_definition::Precision},
    row::ColumnValue,
    storage::{RecordFilter, StorageError},
};

/// The column with the order in which records were added; null in rows from before it was added.
const POSITION: &str = "position";
/// The column that is true if the texts of the row are escaped.
pub(crate) const ESCAPED: &str = "is_escaped";
/// The columns that only the tables of collections have.
pub(crate) const COLLECTION_COLUMNS: [&str; 2] = [POSITION, ESCAPED];
/// First the records from before there was a position.
pub(crate) const INSERTION_ORDER: &str = "position nulls first, created_at, id";

/// A row to store.
pub(crate) struct CollectionRow<'a> {
    /// Primary key.
    pub(crate) key: Uuid,
    pub(crate) source_id: Option<Cow<'a, str>>,
    pub(crate) text: Option<Cow<'a, str>>,
    /// The value of the column with the collection, if the table is shared.
    pub(crate) collection: Option<&'a str>,
    /// Values of the columns that repeat a metadata key, in the table's order.
    pub(crate) columns: Vec<ColumnValue>,
    /// A JSON object.
    pub(crate) metadata: Option<String>,
    pub(crate) uri: Option<Cow<'a, str>>,
    pub(crate) created_at: PrimitiveDateTime,
    /// `[dimension]` of the table.
    pub(crate) embedding: &'a Embedding,
    pub(crate) is_escaped: bool,
}

/// The new content of an existing row.
pub(crate) struct ChangedRow<'a> {
    pub(crate) key: Uuid,
    pub(crate) text: Option<String>,
    /// As texts that PostgreSQL reads as values of the columns' types.
    pub(crate) columns: Vec<Option<String>>,
    pub(crate) metadata: Option<String>,
    pub(crate) uri: Option<String>,
    /// `None` keeps the stored one.
    pub(crate) embedding: Option<&'a Embedding>,
    pub(crate) is_escaped: bool,
}

/// Which records are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a> {
    /// Only these keys.
    pub(crate) keys: Option<&'a [Uuid]>,
    pub(crate) filter: Option<&'a RecordFilter>,
}

/// Which parts of records are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordParts {
    /// Documents.
    pub document: bool,
    /// Metadata.
    pub metadata: bool,
    /// URIs.
    pub uri: bool,
    /// Embeddings.
    pub embedding: bool,
}

/// How the nearest records are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NearestBy {
    /// All are compared.
    Exact,
    /// So many are compared, and the column `matching` shows whether more match.
    ExactUpTo(u32),
    /// The vector index of this precision.
    Index(Precision),
}

/// One row with the column `version`: that of the registry's row of a collection, or null if there is none.
pub(crate) fn collection_version(id: Uuid) -> Statement {
    let mut binds = Binds::default();
    let id = binds.add(Bind::Key(id));
    statement(format!("select (select xmin::text from chroma_collections where id = {id}) as version"), binds)
}

/// Adds the columns that only collections have to their tables, without rewriting them.
pub(crate) fn add_collection_columns(tables: &[String]) -> Sql {
    let statements = tables.iter().flat_map(|table| collection_columns(table)).map(|statement| statement.0);
    trusted(statements.collect::<Vec<_>>().join(";\n"))
}

/// The same for a table that may be distributed: Citus sends the whole text of a message to its workers, which take one
/// statement.
pub(crate) fn collection_columns(table: &str) -> [Sql; 2] {
    let name = quoted(table);
    [
        format!(
            "alter table {name}
    add column if not exists {POSITION} bigint,
    add column if not exists {ESCAPED} boolean"
        ),
        format!("alter table {name} alter column {POSITION} set default nextval('chroma_positions')"),
    ]
    .map(trusted)
}

/// Makes statements wait for other writers until their own time-out.
pub(crate) fn wait_for_writers() -> Sql {
    trusted("set local lock_timeout = 0".to_owned())
}

/// New rows of the table.
pub(crate) fn collection_rows(table: &Table) -> RowTarget<'_> {
    let mut columns = table.content_columns();
    columns.push(ESCAPED);
    RowTarget { table: &table.name, columns }
}

/// Whole rows of the table, and their positions.
pub(crate) fn positioned_rows(table: &Table) -> RowTarget<'_> {
    let mut columns = table.all_columns();
    columns.push(POSITION);
    RowTarget { table: &table.name, columns }
}

/// The rows `keys` with all but their embeddings, locked until the end of the transaction.
pub(crate) fn lock_collection_records(table: &Table, keys: Vec<Uuid>) -> Statement {
    let mut binds = Binds::default();
    let keys = binds.add(Bind::Keys(keys));
    let parts = RecordParts { document: true, metadata: true, uri: true, embedding: false };
    let (shown, name) = (shown(table, parts), quoted(&table.name));
    statement(format!("select {shown}\nfrom {name}\nwhere id = any({keys})\norder by id\nfor update"), binds)
}

/// Replaces the content of rows.
pub(crate) fn change_collection_records(table: &Table, rows: &[ChangedRow<'_>]) -> Statement {
    let mut binds = Binds::default();
    let texts = |part: &dyn Fn(&ChangedRow<'_>) -> Option<String>| {
        Bind::OptionalTexts(rows.iter().map(part).collect())
    };
    let (mut components, mut places, mut next) = (Vec::new(), Vec::new(), 0_usize);
    for row in rows {
        places.push(row.embedding.map(|embedding| {
            components.extend_from_slice(embedding.as_slice());
            next += 1;
            (next - 1).to_string()
        }));
    }
    let mut given = vec!["id".to_owned(), "text".to_owned(), "metadata".to_owned(), "uri".to_owned()];
    let mut lists = vec![
        format!("{}::uuid[]", binds.add(Bind::Keys(rows.iter().map(|row| row.key).collect()))),
        format!("{}::text[]", binds.add(texts(&|row| row.text.clone()))),
        format!("{}::text[]", binds.add(texts(&|row| row.metadata.clone()))),
        format!("{}::text[]", binds.add(texts(&|row| row.uri.clone()))),
    ];
    let mut assignments = vec![
        format!("{} = given.text", quoted(&table.text_column)),
        "metadata = given.metadata::jsonb".to_owned(),
        "uri = given.uri".to_owned(),
    ];
    for (place, column) in table.columns.iter().enumerate() {
        lists.push(format!("{}::text[]", binds.add(texts(&|row| row.columns[place].clone()))));
        given.push(format!("column_{place}"));
        let (name, column_type) = (quoted(&column.name), column.column_type.sql_name());
        assignments.push(format!("{name} = given.column_{place}::{column_type}"));
    }
    lists.push(format!("{}::text[]", binds.add(texts(&|row| row.is_escaped.then(|| "true".to_owned())))));
    given.push("is_escaped".to_owned());
    assignments.push(format!("{ESCAPED} = given.is_escaped::boolean"));
    lists.push(format!("{}::text[]", binds.add(Bind::OptionalTexts(places))));
    given.push("place".to_owned());
    if !components.is_empty() {
        let dimension = table.dimension;
        let components = binds.add(Bind::Reals(components));
        assignments.push(format!(
            "embedding = case when given.place is null then kept.embedding else ({components}::real[])[given.place::int * {dimension} + 1 : (given.place::int + 1) * {dimension}]::vector end"
        ));
    }
    statement(
        format!(
            "update {} kept
set {}
from unnest({}) as given ({})
where kept.id = given.id",
            quoted(&table.name),
            assignments.join(",\n    "),
            lists.join(", "),
            given.join(", ")
        ),
        binds,
    )
}

/// Records in the order of their insertion: `limit` of them after the first `offset`.
pub(crate) fn list_collection_records(
    table: &Table,
    rows: Rows<'_>,
    parts: RecordParts,
    (limit, offset): (Option<u32>, u32),
) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let (shown, name) = (shown(table, parts), quoted(&table.name));
    let filter = filter(table, rows, &mut binds)?;
    if (limit, offset) == (None, 0) {
        return Ok(statement(
            format!("select {shown}\nfrom {name}{filter}\norder by {INSERTION_ORDER}"),
            binds,
        ));
    }
    let limit =
        limit.map_or(String::new(), |limit| format!("\nlimit {}", binds.add(Bind::Whole(limit.into()))));
    let offset = match offset {
        0 => String::new(),
        offset => format!("\noffset {}", binds.add(Bind::Whole(offset.into()))),
    };
    // The index on the order has the keys, so that records before the page are not read.
    let page =
        format!("select id as page_id\nfrom {name}{filter}\norder by {INSERTION_ORDER}{limit}{offset}");
    let page = page.replace('\n', "\n    ");
    let sql = format!(
        "select {shown}\nfrom (\n    {page}\n) page\njoin {name} on id = page_id\norder by {INSERTION_ORDER}"
    );
    Ok(statement(sql, binds))
}

/// Up to `limit` records with the first `characters` of their texts, in the order of a hash of their keys, which is that of
/// nothing else.
pub(crate) fn sample_collection_records(table: &Table, (limit, characters): (u32, u32)) -> Statement {
    let mut binds = Binds::default();
    let name = quoted(&table.name);
    let filter = of_collection(table, &mut binds).replace('\n', "\n    ");
    let limit = binds.add(Bind::Whole(limit.into()));
    let characters = binds.add(Bind::Whole(characters.into()));
    let beginning = |column: &str| format!("left({}::text, {characters}::int)", quoted(column));
    let category = table.category_column().map_or_else(|| "null::text".to_owned(), beginning);
    let is_of_service = Service::ALL.iter().any(|service| service.collection() == table.name);
    // Those of services get the column when Chroma clients see them first, and no text of theirs is escaped.
    let escaped = if is_of_service { format!("null::boolean as {ESCAPED}") } else { ESCAPED.to_owned() };
    statement(
        format!(
            "select id, source_id, {escaped}, {} as text, {category} as category,
    encode(vector_send(embedding), 'hex') as embedding
from (
    select id as page_id
    from {name}{filter}
    order by uuid_hash(id), id
    limit {limit}
) page
join {name} on id = page_id
order by uuid_hash(id), id",
            beginning(&table.text_column)
        ),
        binds,
    )
}

/// The records with these keys, in no particular order.
pub(crate) fn collection_records(table: &Table, keys: Vec<Uuid>, parts: RecordParts) -> Statement {
    let mut binds = Binds::default();
    let keys = binds.add(Bind::Keys(keys));
    statement(
        format!("select {}\nfrom {}\nwhere id = any({keys})", shown(table, parts), quoted(&table.name)),
        binds,
    )
}

/// How many records there are.
pub(crate) fn count_collection_records(table: &Table) -> Statement {
    let mut binds = Binds::default();
    let filter = of_collection(table, &mut binds);
    statement(format!("select count(*)\nfrom {}{filter}", quoted(&table.name)), binds)
}

/// The keys of the collection's rows that no migration has written.
pub(crate) fn rows_of_clients(table: &Table) -> Statement {
    let mut binds = Binds::default();
    let of = collection_condition(table, &mut binds)
        .map_or(String::new(), |condition| format!(" and {condition}"));
    statement(format!("select id from {} where migration_run is null{of}", quoted(&table.name)), binds)
}

/// Whether a migration other than `runs` has written rows that have the collection's name.
pub(crate) fn has_rows_of_others(table: &Table, runs: Vec<Uuid>) -> Statement {
    let mut binds = Binds::default();
    let of = collection_condition(table, &mut binds)
        .map_or(String::new(), |condition| format!(" and {condition}"));
    let runs = binds.add(Bind::Keys(runs));
    let name = quoted(&table.name);
    statement(format!("select exists (select 1 from {name} where migration_run <> all({runs}){of})"), binds)
}

/// Deletes all records.
pub(crate) fn delete_collection(table: &Table) -> Statement {
    let mut binds = Binds::default();
    let filter = of_collection(table, &mut binds);
    statement(format!("delete from {}{filter}", quoted(&table.name)), binds)
}

/// Deletes records: the first `limit` of them in the order of their insertion, if there is a limit. Returns their number,
/// and keeps in mind those that a migration has written.
pub(crate) fn delete_collection_records(
    table: &Table,
    rows: Rows<'_>,
    limit: Option<u32>,
) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let name = quoted(&table.name);
    let filter = filter(table, rows, &mut binds)?;
    let Some(limit) = limit else {
        return Ok(counted_deletion(table, format!("delete from {name}{filter}"), binds));
    };
    let limit = binds.add(Bind::Whole(limit.into()));
    let first =
        format!("select id from {name}{filter}\norder by {INSERTION_ORDER}\nlimit {limit}\nfor update");
    let first = first.replace('\n', "\n    ");
    Ok(counted_deletion(table, format!("delete from {name}\nwhere id in (\n    {first}\n)"), binds))
}

fn counted_deletion(table: &Table, deletion: String, mut binds: Binds) -> Statement {
    let gone = noted_deletion(table, &format!("{deletion}\nreturning id, migration_run"), &mut binds);
    statement(format!("{gone}\nselect count(*)\nfrom gone"), binds)
}

/// The beginning of a statement that deletes rows, as `gone`, and keeps in mind those that a migration has written; `deletion`
/// returns `id` and `migration_run`.
pub(super) fn noted_deletion(table: &Table, deletion: &str, binds: &mut Binds) -> String {
    let name = binds.add(Bind::Text(table.name.clone()));
    let deleted_at = binds.add(Bind::Time(timestamp::now().into()));
    let deletion = deletion.replace('\n', "\n    ");
    format!(
        "with gone as (
    {deletion}
), noted as (
    insert into chroma_deleted_records (table_name, id, migration_run, deleted_at)
    select {name}, id, migration_run, {deleted_at}::timestamp
    from gone
    where migration_run is not null
    on conflict (table_name, id) do update
    set migration_run = excluded.migration_run, deleted_at = excluded.deleted_at
)"
    )
}

/// The records nearest to `embedding`, the search `number`, with their distances.
pub(crate) fn nearest_records(
    table: &Table,
    filter: Option<&RecordFilter>,
    (number, embedding, limit): (usize, &Embedding, u32),
    parts: RecordParts,
    by: NearestBy,
) -> Result<Statement, StorageError> {
    let all = Rows { keys: None, filter };
    let mut nearest = match by {
        NearestBy::Exact => nearest_collection_records(table, all, (embedding, limit), None)?,
        NearestBy::ExactUpTo(most) => nearest_collection_records(table, all, (embedding, limit), Some(most))?,
        NearestBy::Index(precision) => {
            nearest_collection_records_by_index(table, filter, (embedding, limit), precision)?
        }
    };
    let (matching, shown_matching) = match by {
        NearestBy::ExactUpTo(_) => (", hit_matching", ", panopticon_nearest.hit_matching as matching"),
        NearestBy::Exact | NearestBy::Index(_) => ("", ""),
    };
    let distance = match by {
        NearestBy::Index(_) => "panopticon_nearest.hit_distance".to_owned(),
        NearestBy::Exact | NearestBy::ExactUpTo(_) => {
            without_nan(table.space).replace("distance", "panopticon_nearest.hit_distance")
        }
    };
    nearest.sql = trusted(format!(
        "with panopticon_nearest (hit, hit_distance{matching}) as materialized (
{}
)
select {}, {number}::bigint as search, panopticon_nearest.hit_distance as distance{shown_matching}
from panopticon_nearest
join {} on id = panopticon_nearest.hit
order by {distance}, {INSERTION_ORDER}",
        nearest.sql.0,
        shown(table, parts),
        quoted(&table.name),
    ));
    Ok(nearest)
}

/// The keys of the records nearest to `embedding`, and their distances, by comparing all of them; with `up_to`,
/// only that number is compared, and the column `matching` shows whether more match.
pub(crate) fn nearest_collection_records(
    table: &Table,
    rows: Rows<'_>,
    (embedding, limit): (&Embedding, u32),
    up_to: Option<u32>,
) -> Result<Statement, StorageError> {
    let (matching, counted) = match up_to {
        Some(_) => (", matching", ", count(*) over () as matching"),
        None => ("", ""),
    };
    let mut binds = Binds::default();
    let embedding = binds.add(Bind::Reals(embedding.as_slice().to_vec()));
    let filter = filter(table, rows, &mut binds)?;
    let filter = match filter.is_empty() {
        true => "\nwhere embedding is not null".to_owned(),
        false => format!("{filter}\n    and embedding is not null"),
    };
    let most = up_to.map_or(String::new(), |most| format!("\nlimit {}", binds.add(Bind::Whole(most.into()))));
    let limit = binds.add(Bind::Whole(limit.into()));
    let (name, distance) = (quoted(&table.name), order(table, Precision::Full, &embedding));
    let measured = format!("select id, position, created_at, embedding\nfrom {name}{filter}{most}");
    let measured = measured.replace('\n', "\n        ");
    Ok(statement(
        format!(
            "select id, distance{matching}
from (
    select id, {POSITION}, created_at, {distance} as distance{counted}
    from (
        {measured}
    ) matches
) measured
order by {}, {INSERTION_ORDER}
limit {limit}",
            without_nan(table.space)
        ),
        binds,
    ))
}

/// The same by the vector index, which has the precision `precision`.
pub(crate) fn nearest_collection_records_by_index(
    table: &Table,
    filter: Option<&RecordFilter>,
    (embedding, limit): (&Embedding, u32),
    precision: Precision,
) -> Result<Statement, StorageError> {
    let mut binds = Binds::default();
    let embedding = binds.add(Bind::Reals(embedding.as_slice().to_vec()));
    let taken = binds.add(Bind::Whole(precision.taken(limit).into()));
    let filter = self::filter(table, Rows { keys: None, filter }, &mut binds)?;
    let filter = match filter.is_empty() {
        true => "\n    where embedding is not null".to_owned(),
        false => format!("{filter}\n    and embedding is not null"),
    };
    let limit = binds.add(Bind::Whole(limit.into()));
    let name = quoted(&table.name);
    Ok(statement(
        format!(
            "with nearest as materialized (
    select id, {POSITION}, created_at, {distance} as distance
    from {name}{filter}
    order by {order}
    limit {taken}
)
select id, distance
from nearest
order by distance, {INSERTION_ORDER}
limit {limit}",
            distance = order(table, Precision::Full, &embedding),
            order = match precision {
                Precision::Full => "distance".to_owned(),
                Precision::Half => order(table, precision, &embedding),
            },
        ),
        binds,
    ))
}

/// The distance by which records are sorted: that of a zero vector, which is not a number, counts as 1.
fn without_nan(space: DistanceSpace) -> &'static str {
    match space {
        DistanceSpace::Cosine => "case when distance = 'NaN' then 1 else distance end",
        DistanceSpace::L2 | DistanceSpace::InnerProduct => "distance",
    }
}

/// The part of a statement from `where` on; empty for all rows. The only rows of a shared table are those of the collection.
fn filter(table: &Table, rows: Rows<'_>, binds: &mut Binds) -> Result<String, StorageError> {
    let mut conditions: Vec<String> = collection_condition(table, binds).into_iter().collect();
    if let Some(keys) = rows.keys {
        conditions.push(format!("id = any({})", binds.add(Bind::Keys(keys.to_vec()))));
    }
    if let Some(filter) = rows.filter {
        conditions.push(record_condition(place(table), &table.text_column, filter, binds)?);
    }
    Ok(if conditions.is_empty() {
        String::new()
    } else {
        format!("\nwhere {}", conditions.join("\n    and "))
    })
}

/// The same for all records of the collection.
fn of_collection(table: &Table, binds: &mut Binds) -> String {
    collection_condition(table, binds).map_or(String::new(), |condition| format!("\nwhere {condition}"))
}

/// What is true of the rows of the collection, if its table is shared.
fn collection_condition(table: &Table, binds: &mut Binds) -> Option<String> {
    let shared = table.shared.as_ref()?;
    let name = binds.add(Bind::Text(shared.name.clone()));
    Some(format!("{} = {name}", quoted(&shared.column)))
}

fn place(table: &Table) -> MetadataSource {
    match Service::ALL.into_iter().find(|service| service.collection() == table.name) {
        Some(service) => MetadataSource::of(service),
        None => MetadataSource::alone("metadata"),
    }
}

/// The columns of a record.
fn shown(table: &Table, parts: RecordParts) -> String {
    let mut shown = format!("id, source_id, {ESCAPED}");
    if parts.document {
        shown.push_str(&format!(", {} as text", quoted(&table.text_column)));
    }
    if parts.metadata {
        shown.push_str(", metadata::text as metadata, uri is not null as has_uri");
    }
    if parts.uri {
        shown.push_str(", uri");
    }
    if parts.embedding {
        // To the bit, whatever the settings of the role, and faster than as numbers.
        shown.push_str(", encode(vector_send(embedding), 'hex') as embedding");
    }
    shown
}

#[cfg(test)]
mod tests;
