//! SQL for tables whose names are only known at run time. All such statements are built here from quoted identifiers;
//! the tests compare each with a golden file.

use records::DistanceSpace;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::table::{AddedColumn, BOOKKEEPING_COLUMNS, DefaultValue, Presence, Table};

pub(crate) mod collections;
mod condition;
pub(crate) mod databases;
pub(crate) mod distribution;
pub(crate) mod embedding_health;
pub(crate) mod encoded_rows;
pub(crate) mod maintenance;
pub(crate) mod odd_values;
mod pattern;
pub(crate) mod results;
#[cfg(test)]
mod rules;
pub(crate) mod service;
pub(crate) mod service_indexes;
mod sized_rows;
pub(crate) mod statement;
pub(crate) mod transaction;
pub(crate) mod update;
pub(crate) mod vector_index;

pub(crate) use condition::{Bind, NOT_AN_OBJECT};

/// A statement that was built from quoted identifiers only.
pub(crate) type Sql = AssertSqlSafe<String>;

/// pgvector's dimension limit for indexes on `vector`; that for `halfvec` is twice as high.
pub(crate) const MAX_INDEXED_DIMENSION: usize = 2_000;

/// Staging table of a copy; temporary, so each session has its own.
pub(crate) const STAGING: &str = "panopticon_staging";

/// The only place that marks a statement as safe: the modules here only insert quoted identifiers, placeholders and
/// numbers.
fn trusted(sql: String) -> Sql {
    AssertSqlSafe(sql)
}

/// An identifier in double quotes, with those in the name escaped.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn list(columns: &[&str]) -> String {
    columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
}

/// Statements without parameters that are sent together.
pub(crate) fn in_one_message(statements: &[Sql]) -> Sql {
    trusted(statements.iter().map(|statement| statement.0.as_str()).collect::<Vec<_>>().join(";\n"))
}

/// A table for a collection of any dimension.
pub(crate) fn create_table(table: &Table) -> Sql {
    let mut columns = Vec::new();
    for (name, column_type) in table.column_types() {
        let is_required = match name {
            "id" => "primary key",
            "source_id" | "created_at" | "embedding" => "not null",
            name if table.shared.as_ref().is_some_and(|shared| shared.column == name) => "not null",
            name if name == table.text_column && table.text == Presence::Required => "not null",
            name if table.columns.iter().any(|column| column.name == name && column.default.is_some()) => {
                "not null"
            }
            _ => "",
        };
        columns.push(format!("{} {column_type} {is_required}", quoted(name)).trim_end().to_owned());
    }
    for (name, column_type) in BOOKKEEPING_COLUMNS {
        columns.push(format!("{} {column_type}", quoted(name)));
    }
    trusted(format!("create table {} (\n    {}\n)", quoted(&table.name), columns.join(",\n    ")))
}

/// Indexes to find the rows of one collection in a shared table: by its name for searches, by its run for migrations.
pub(crate) fn index_collections(table: &Table, column: &str) -> Sql {
    let name = quoted(&table.name);
    trusted(format!(
        "create index on {name} ({});
create index on {name} (migration_run)",
        quoted(column)
    ))
}

/// Stores vectors inline and moves long texts out of line instead, as in the services' tables. PostgreSQL before 16
/// does not support this in CREATE TABLE.
pub(crate) fn keep_vectors_in_rows(table: &Table) -> Sql {
    trusted(format!("alter table {} alter column embedding set storage main", quoted(&table.name)))
}

/// Drops a table that nothing depends on.
pub(crate) fn drop_table(name: &str) -> Sql {
    trusted(format!("drop table {}", quoted(name)))
}

/// Drops a table if it exists.
pub(crate) fn drop_table_if_exists(name: &str) -> Sql {
    trusted(format!("drop table if exists {}", quoted(name)))
}

/// Adds the migration's columns to a table that another program created.
pub(crate) fn add_bookkeeping_columns(table: &Table) -> Sql {
    let columns = BOOKKEEPING_COLUMNS
        .map(|(name, column_type)| format!("add column if not exists {} {column_type}", quoted(name)));
    trusted(format!("alter table {} {}", quoted(&table.name), columns.join(", ")))
}

/// An empty temporary table with the copied columns, dropped at the end of the transaction.
pub(crate) fn create_staging(table: &Table) -> Sql {
    trusted(format!(
        "create temporary table {STAGING} on commit drop as
select {}
from {}
with no data",
        list(&table.all_columns()),
        quoted(&table.name)
    ))
}

/// Drops the staging table, so that the same transaction can create another.
pub(crate) fn drop_staging() -> Sql {
    trusted(format!("drop table {STAGING}"))
}

/// Inserts the staged rows into the table unless they exist. Returns the ids of the inserted ones.
pub(crate) fn insert_staged(table: &Table) -> Sql {
    let columns = list(&table.all_columns());
    trusted(format!(
        "insert into {} ({columns})
select {columns}
from {STAGING}
on conflict (id) do nothing
returning id",
        quoted(&table.name)
    ))
}

/// Updates the rows `$1` from the staged ones, whose texts are not escaped; `is_served` if Chroma clients see the table. The run
/// that copied the rows is not changed.
pub(crate) fn update_from_staging(table: &Table, is_served: bool) -> Sql {
    let mut assignments: Vec<String> = table
        .all_columns()
        .into_iter()
        .filter(|column| !matches!(*column, "id" | "migration_run"))
        .map(|column| format!("{column} = staged.{column}", column = quoted(column)))
        .collect();
    if is_served {
        assignments.push(format!("{} = null", collections::ESCAPED));
    }
    trusted(format!(
        "update {} kept
set {}
from {STAGING} staged
where kept.id = staged.id and kept.id = any($1)",
        quoted(&table.name),
        assignments.join(",\n    ")
    ))
}

/// Stores the current rows `$4` with the coming change `$3`, so that run `$1` can be undone; `$2` is the table's
/// name. The first image of a run and its last change are kept: a run that was killed and resumed may delete what it
/// had updated. Rows that the run itself copied are not stored, since undoing deletes them.
pub(crate) fn keep_replaced(table: &Table) -> Sql {
    trusted(format!(
        "insert into migration_replaced (run_id, table_name, id, change, row)
select $1, $2, kept.id, $3, to_jsonb(kept)
from {} kept
where kept.id = any($4) and kept.migration_run is distinct from $1
on conflict (run_id, table_name, id) do update
set change = excluded.change",
        quoted(&table.name)
    ))
}

/// Locks the rows `$1` until the end of the transaction. Not for distributed tables: Citus locks rows of one shard at most.
pub(crate) fn lock_rows(table: &Table) -> Sql {
    trusted(format!("select 1 from {} where id = any($1) order by id for update", quoted(&table.name)))
}

/// Locks the rows `ids`, each by a statement of its own, as rows of several shards require.
pub(crate) fn lock_each_row(table: &Table, ids: &[Uuid]) -> Sql {
    let name = quoted(&table.name);
    let locks = ids.iter().map(|id| format!("select 1 from {name} where id = '{id}' for update"));
    trusted(locks.collect::<Vec<_>>().join(";\n"))
}

/// Locks the table against writes until the end of the transaction.
pub(crate) fn lock_table(table: &Table) -> Sql {
    trusted(format!("lock table {} in share row exclusive mode", quoted(&table.name)))
}

/// The existing ones of the rows `$1`.
pub(crate) fn existing_rows(table: &Table) -> Sql {
    trusted(format!("select id from {} where id = any($1)", quoted(&table.name)))
}

/// Deletes rows `$1`.
pub(crate) fn delete_rows(table: &Table) -> Sql {
    trusted(format!("delete from {} where id = any($1)", quoted(&table.name)))
}

/// Deletes the rows that run `$1` copied, except the ids `$2`.
pub(crate) fn delete_migrated(table: &Table) -> Sql {
    trusted(format!("delete from {} where migration_run = $1 and not (id = any($2))", quoted(&table.name)))
}

/// Restores the rows that run `$1` deleted, with `columns`, which are all except the generated ones; `$2` is the
/// table's name.
pub(crate) fn restore_deleted(table: &Table, columns: &[String]) -> Sql {
    let name = quoted(&table.name);
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let former: Vec<String> = columns.iter().map(|column| format!("former.{}", quoted(column))).collect();
    trusted(format!(
        "insert into {name} ({columns})
overriding system value
select {former}
from migration_replaced replaced
cross join lateral jsonb_populate_record(null::{name}, replaced.row) former
where replaced.run_id = $1 and replaced.table_name = $2 and replaced.change = 'deleted'
on conflict (id) do nothing",
        columns = list(&columns),
        former = former.join(", ")
    ))
}

/// The runs that copied rows again that run `$1` had deleted from the table `$2`, which is `name`.
pub(crate) fn runs_that_copied_again(name: &str) -> Sql {
    trusted(format!(
        "select distinct migration_run
from {}
where migration_run is not null and id in (
    select id
    from migration_replaced
    where run_id = $1 and table_name = $2 and change = 'deleted'
)",
        quoted(name)
    ))
}

/// Restores the content of the rows that run `$1` changed, except the ids `$3`; `$2` is the table's name.
pub(crate) fn restore_updated(table: &Table) -> Sql {
    let name = quoted(&table.name);
    let assignments: Vec<String> = table
        .all_columns()
        .into_iter()
        .filter(|column| *column != "id")
        .map(|column| format!("{column} = former.{column}", column = quoted(column)))
        .collect();
    trusted(format!(
        "update {name} kept
set {}
from migration_replaced replaced
cross join lateral jsonb_populate_record(null::{name}, replaced.row) former
where replaced.run_id = $1 and replaced.table_name = $2 and replaced.change = 'updated'
    and kept.id = replaced.id and not (kept.id = any($3))",
        assignments.join(",\n    ")
    ))
}

/// The rows that run `$1` copied and that still exist, except the ids `$2`.
pub(crate) fn still_migrated(table: &Table) -> Sql {
    let name = quoted(&table.name);
    trusted(format!("select id from {name} where migration_run = $1 and not (id = any($2)) order by id"))
}

/// The rows that run `$1` copied and whose `added` columns have values other than their defaults.
pub(crate) fn rows_with_values(table: &Table, added: &[AddedColumn]) -> Sql {
    let has_value = |AddedColumn { name, column_type, default_value }: &AddedColumn| match default_value {
        DefaultValue::Null => Some(format!("{} is not null", quoted(name))),
        // Some types have no equality.
        DefaultValue::Constant(default) => Some(format!(
            "({name} is not null and to_jsonb({name}) is distinct from to_jsonb(({default})::{column_type}))",
            name = quoted(name)
        )),
        DefaultValue::Computed => None,
    };
    let have_values: Vec<String> = added.iter().filter_map(has_value).collect();
    trusted(format!(
        "select id
from {}
where migration_run = $1
    and ({})
order by id",
        quoted(&table.name),
        have_values.join("\n        or ")
    ))
}

/// The rows that run `$1` changed or deleted and that differ from before, except the ids `$3`; `$2` is the table's
/// name. A row that the run changed and that no longer exists cannot be restored.
pub(crate) fn not_restored(table: &Table) -> Sql {
    let name = quoted(&table.name);
    let columns = table.all_columns();
    let of = |row: &str| columns.iter().map(|column| format!("{row}.{}", quoted(column))).collect::<Vec<_>>();
    trusted(format!(
        "select replaced.id
from migration_replaced replaced
cross join lateral jsonb_populate_record(null::{name}, replaced.row) former
left join {name} found on found.id = replaced.id
where replaced.run_id = $1 and replaced.table_name = $2 and not (replaced.id = any($3))
    and (replaced.change = 'deleted' or found.id is not null)
    and ({}) is distinct from ({})
order by replaced.id",
        of("found").join(", "),
        of("former").join(", ")
    ))
}

/// Sends the rows that one of `runs` copied: the content columns, run and digest.
pub(crate) fn copy_migrated_out(table: &Table, runs: &[Uuid]) -> String {
    format!(
        "copy (
    select {}
    from {}
    where migration_run = {}
) to stdout with (format binary)",
        list(&table.all_columns()),
        quoted(&table.name),
        any_of(runs)
    )
}

/// Sends the rows `ids`, with the same columns.
pub(crate) fn copy_rows_out(table: &Table, ids: &[Uuid]) -> String {
    format!(
        "copy (
    select {}
    from {}
    where id = {}
) to stdout with (format binary)",
        list(&table.all_columns()),
        quoted(&table.name),
        any_of(ids)
    )
}

/// Sends the ids of all other rows, and the runs that copied them.
pub(crate) fn copy_other_ids_out(table: &Table, runs: &[Uuid]) -> String {
    format!(
        "copy (
    select id, migration_run
    from {}
    where (migration_run = {}) is not true
) to stdout with (format binary)",
        quoted(&table.name),
        any_of(runs)
    )
}

/// Sends the ids of all rows of a table that does not have the migration's columns yet.
pub(crate) fn copy_all_ids_out(table: &Table) -> String {
    format!("copy (select id from {}) to stdout with (format binary)", quoted(&table.name))
}

/// COPY takes no parameters.
fn any_of(ids: &[Uuid]) -> String {
    let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    format!("any('{{{}}}'::uuid[])", ids.join(","))
}

/// Whether the table has rows that run `$1` did not copy.
pub(crate) fn has_other_rows(table: &Table) -> Sql {
    trusted(format!(
        "select exists (select 1 from {} where migration_run is distinct from $1)",
        quoted(&table.name)
    ))
}

/// The embeddings of the rows `$1`.
pub(crate) fn select_embeddings(table: &Table) -> Sql {
    trusted(format!(
        "select embedding::real[]
from {}
where id = any($1) and embedding is not null",
        quoted(&table.name)
    ))
}

/// Sets the search path of the transaction to `schemas`.
pub(crate) fn set_search_path<'a>(schemas: impl Iterator<Item = &'a String>) -> Sql {
    let schemas: Vec<String> = schemas.map(|schema| quoted(schema)).collect();
    trusted(format!("set local search_path to {}", schemas.join(", ")))
}

fn operator(space: DistanceSpace) -> &'static str {
    match space {
        DistanceSpace::L2 => "<->",
        DistanceSpace::Cosine => "<=>",
        DistanceSpace::InnerProduct => "<#>",
    }
}

/// Whether an index is built while the table is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// In one transaction; writers are blocked.
    Alone,
    /// Outside a transaction and slower; writers are not blocked.
    Concurrently,
}

/// Disables the statement time-outs of the session.
pub(crate) fn lift_time_limits() -> Sql {
    trusted(
        "select set_config(name, '0', false)
from unnest(array['statement_timeout', 'transaction_timeout']) as name
where current_setting(name, true) <> '0'"
            .to_owned(),
    )
}

/// Drops an index.
pub(crate) fn drop_index(name: &str, build: Build) -> Sql {
    let concurrently = if build == Build::Concurrently { "concurrently " } else { "" };
    trusted(format!("drop index {concurrently}if exists {}", quoted(name)))
}

/// Whether the table `name` has rows.
pub(crate) fn has_rows(name: &str) -> Sql {
    trusted(format!("select exists (select 1 from {})", quoted(name)))
}

/// Counts the rows of `table`.
pub(crate) fn count_rows(table: &Table) -> Sql {
    trusted(format!("select count(*) from {}", quoted(&table.name)))
}

/// Refreshes the planner's statistics of the table `name`.
pub(crate) fn analyze(name: &str) -> Sql {
    trusted(format!("analyze {}", quoted(name)))
}

/// Number of lists of an IVFFlat index that searches of this transaction probe.
pub(crate) fn set_probes(probes: u32) -> Sql {
    trusted(format!("set local ivfflat.probes = {probes}"))
}

/// Sets the memory for index builds, for this transaction or for the session.
pub(crate) fn set_build_memory(build: Build, kilobytes: u64) -> Sql {
    let local = if build == Build::Alone { "local " } else { "" };
    trusted(format!("set {local}maintenance_work_mem = '{kilobytes}kB'"))
}

/// Sets the number of parallel workers for index builds, for this transaction or for the session.
pub(crate) fn set_build_workers(build: Build, workers: usize) -> Sql {
    let local = if build == Build::Alone { "local " } else { "" };
    trusted(format!("set {local}max_parallel_maintenance_workers = {workers}"))
}

/// Counts the rows of a table, and adds up their hashes, so that their order makes no difference. Those of tables that
/// inherit from it are not its own.
pub(crate) fn table_contents(schema: &str, table: &str) -> Sql {
    trusted(format!(
        "select count(*) as rows, coalesce(sum(hashtextextended((contents.*)::text, 0)), 0)::text as digest
from only {}.{} contents",
        quoted(schema),
        quoted(table)
    ))
}

/// Whether a table has a row of its own.
pub(crate) fn table_has_rows(schema: &str, table: &str) -> Sql {
    trusted(format!("select exists(select 1 from only {}.{})", quoted(schema), quoted(table)))
}

/// Number of candidates of a search in an HNSW index, for this transaction.
pub(crate) fn set_ef_search(candidates: u32) -> Sql {
    trusted(format!("set local hnsw.ef_search = {candidates}"))
}

/// Enables iterative index scans in this transaction, which continue until enough rows match the filter.
pub(crate) fn set_iterative_scan(method: &str) -> Sql {
    trusted(format!("set local {method}.iterative_scan = relaxed_order"))
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};
    use records::Service;

    use super::*;
    use crate::postgres::{
        index_definition::{IndexDefinition, IndexKind, Precision},
        table::{Column, ColumnType, SharedTable},
    };

    fn check(sql: &Sql, expected: &ExpectFile) {
        expected.assert_eq(&format!("{};\n", sql.0));
    }

    #[test]
    fn statements_are_the_golden_ones() {
        let outputs = &Table::of(Service::Judge);
        let queries = &Table::of(Service::Query);
        let wide = &Table {
            name: "odd \"name\"".to_owned(),
            text_column: "document".to_owned(),
            text: Presence::Optional,
            columns: vec![Column {
                key: "year".to_owned(),
                name: "published".to_owned(),
                column_type: ColumnType::BigInt,
                default: None,
            }],
            dimension: 3_072,
            space: DistanceSpace::L2,
            shared: None,
        };
        let shared = SharedTable { column: "collection".to_owned(), id: Uuid::nil(), name: String::new() };
        let shared = &Table { shared: Some(shared), ..wide.clone() };
        let run = [Uuid::from_u128(1), Uuid::from_u128(2)];
        check(&create_table(wide), &expect_file!["golden/create_table.sql"]);
        check(&create_table(shared), &expect_file!["golden/create_shared_table.sql"]);
        check(&index_collections(shared, "collection"), &expect_file!["golden/index_collections.sql"]);
        check(&keep_vectors_in_rows(wide), &expect_file!["golden/keep_vectors_in_rows.sql"]);
        check(&drop_table(&wide.name), &expect_file!["golden/drop_table.sql"]);
        check(&drop_table_if_exists(&wide.name), &expect_file!["golden/drop_table_if_exists.sql"]);
        check(
            &databases::rename_database("new", "odd \"name\""),
            &expect_file!["golden/rename_database.sql"],
        );
        check(&table_contents("odd \"schema\"", "odd \"name\""), &expect_file!["golden/table_contents.sql"]);
        check(&table_has_rows("odd \"schema\"", "odd \"name\""), &expect_file!["golden/table_has_rows.sql"]);
        let added = [
            ("no \"te", "text", DefaultValue::Null),
            ("state", "character varying(9)", DefaultValue::Constant("'new'::character varying".to_owned())),
            ("number", "bigint", DefaultValue::Computed),
        ]
        .map(|(name, column_type, default_value)| AddedColumn {
            name: name.to_owned(),
            column_type: column_type.to_owned(),
            default_value,
        });
        check(&rows_with_values(wide, &added), &expect_file!["golden/rows_with_values.sql"]);
        check(&add_bookkeeping_columns(queries), &expect_file!["golden/add_bookkeeping_columns.sql"]);
        check(&create_staging(outputs), &expect_file!["golden/create_staging.sql"]);
        check(&insert_staged(outputs), &expect_file!["golden/insert_staged.sql"]);
        check(&update_from_staging(outputs, false), &expect_file!["golden/update_from_staging.sql"]);
        check(&keep_replaced(outputs), &expect_file!["golden/keep_replaced.sql"]);
        check(&lock_rows(outputs), &expect_file!["golden/lock_rows.sql"]);
        check(&lock_each_row(outputs, &run), &expect_file!["golden/lock_each_row.sql"]);
        check(&lock_table(outputs), &expect_file!["golden/lock_table.sql"]);
        check(&AssertSqlSafe(copy_rows_out(queries, &run)), &expect_file!["golden/copy_rows_out.sql"]);
        check(&existing_rows(outputs), &expect_file!["golden/existing_rows.sql"]);
        check(&delete_rows(outputs), &expect_file!["golden/delete_rows.sql"]);
        check(&delete_migrated(outputs), &expect_file!["golden/delete_migrated.sql"]);
        let columns = ["id", "odd \"column\""].map(str::to_owned);
        check(&restore_deleted(outputs, &columns), &expect_file!["golden/restore_deleted.sql"]);
        check(&runs_that_copied_again(&wide.name), &expect_file!["golden/runs_that_copied_again.sql"]);
        check(&restore_updated(outputs), &expect_file!["golden/restore_updated.sql"]);
        check(&still_migrated(outputs), &expect_file!["golden/still_migrated.sql"]);
        check(&not_restored(outputs), &expect_file!["golden/not_restored.sql"]);
        check(
            &AssertSqlSafe(copy_migrated_out(outputs, &run)),
            &expect_file!["golden/copy_migrated_out.sql"],
        );
        check(
            &AssertSqlSafe(copy_other_ids_out(outputs, &run)),
            &expect_file!["golden/copy_other_ids_out.sql"],
        );
        check(&has_other_rows(outputs), &expect_file!["golden/has_other_rows.sql"]);
        let by_half = vector_index::NearestOrder::Index(Precision::Half);
        let nearest = vector_index::nearest_of_runs(wide, by_half);
        check(&nearest, &expect_file!["golden/nearest_of_runs.sql"]);
        let ivfflat = IndexDefinition { kind: IndexKind::Ivfflat { lists: 20 }, precision: Precision::Full };
        let hnsw = IndexDefinition {
            kind: IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert: 64 },
            precision: Precision::Half,
        };
        let created = vector_index::create_vector_index(queries, "new", ivfflat, Build::Concurrently, None);
        check(&created, &expect_file!["golden/create_ivfflat.sql"]);
        let schema = Some("odd \"schema\"");
        let created = vector_index::create_vector_index(wide, "new", hnsw, Build::Alone, schema);
        check(&created, &expect_file!["golden/create_hnsw_half.sql"]);
        check(&vector_index::rename_index("new", "odd \"name\""), &expect_file!["golden/rename_index.sql"]);
        let lowered = vector_index::set_ef_construction("odd \"name\"", 64);
        check(&lowered, &expect_file!["golden/set_ef_construction.sql"]);
        check(&vector_index::sample_embeddings(wide), &expect_file!["golden/sample_embeddings.sql"]);
        let nearest = vector_index::nearest_of_share(queries, vector_index::NearestOrder::Exact);
        check(&nearest, &expect_file!["golden/nearest_of_share.sql"]);
        check(&vector_index::exceeds_half(wide), &expect_file!["golden/exceeds_half.sql"]);
        check(&drop_index("odd \"name\"", Build::Concurrently), &expect_file!["golden/drop_index.sql"]);
    }
}
