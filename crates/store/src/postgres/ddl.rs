//! SQL for tables whose names are known at run time only. Each statement is built here, from quoted identifiers,
//! and nowhere else; the tests compare each with a golden file, and the users of this module run it for real.

use sqlx::AssertSqlSafe;

use super::ServiceTable;

/// A statement that was built from quoted identifiers only.
pub(crate) type Sql = AssertSqlSafe<String>;

/// Staging table of a copy; temporary, so each session has its own.
const STAGING: &str = "panopticon_staging";

/// An identifier in double quotes: no name, however odd, ends the quotation.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn column_list(table: &ServiceTable, prefix: &str) -> String {
    let columns: Vec<String> =
        table.columns().into_iter().map(|column| format!("{prefix}{}", quoted(column))).collect();
    columns.join(", ")
}

/// An empty temporary table with the columns that are copied, gone at the end of the transaction.
pub(crate) fn create_staging(table: &ServiceTable) -> Sql {
    AssertSqlSafe(format!(
        "create temporary table {STAGING} on commit drop as\nselect {}\nfrom {}\nwith no data",
        column_list(table, ""),
        quoted(table.name)
    ))
}

/// Opens a binary COPY into the staging table.
pub(crate) fn copy_into_staging() -> String {
    format!("copy {STAGING} from stdin with (format binary)")
}

/// The staged rows that the table holds already with another content, by id: `(id, source_id)`. JSONB and vectors
/// are compared by their own text and bytes, since `=` finds 1 and 1.0, or 0 and −0, equal.
pub(crate) fn select_conflicts(table: &ServiceTable) -> Sql {
    let comparisons: Vec<String> = table
        .columns()
        .into_iter()
        .filter(|column| *column != "id")
        .map(|column| {
            let column = quoted(column);
            match column.as_str() {
                "\"metadata\"" => format!("kept.{column}::text is distinct from staged.{column}::text"),
                "\"embedding\"" => {
                    format!("vector_send(kept.{column}) is distinct from vector_send(staged.{column})")
                }
                _ => format!("kept.{column} is distinct from staged.{column}"),
            }
        })
        .collect();
    AssertSqlSafe(format!(
        "select staged.id, staged.source_id\nfrom {STAGING} staged\njoin {} kept on kept.id = staged.id\nwhere {}",
        quoted(table.name),
        comparisons.join("\n    or ")
    ))
}

/// Moves the staged rows into the table; a row that is there already stays as it is.
pub(crate) fn merge_staging(table: &ServiceTable) -> Sql {
    let columns = column_list(table, "");
    AssertSqlSafe(format!(
        "insert into {} ({columns})\nselect {columns}\nfrom {STAGING}\non conflict (id) do nothing",
        quoted(table.name)
    ))
}

/// All rows that a migration brought, in the order of the columns of [`crate::StoredRecord`], metadata as text
/// and the embedding as the bytes of `vector_send`.
pub(crate) fn select_migrated(table: &ServiceTable) -> Sql {
    let columns: Vec<String> = table
        .columns()
        .into_iter()
        .map(|column| match column {
            "metadata" => "\"metadata\"::text".to_owned(),
            "embedding" => "vector_send(\"embedding\")".to_owned(),
            column => quoted(column),
        })
        .collect();
    AssertSqlSafe(format!(
        "select {}\nfrom {}\nwhere source_id is not null",
        columns.join(", "),
        quoted(table.name)
    ))
}

/// The nearest rows to `$1` (a `real[]`), at most `$2`, whose `equal_columns` equal `$3`, `$4`, ….
///
/// The inner statement is the plain one that an index serves; an index scan that goes on past a filter may give
/// rows slightly out of order, so the outer one sorts, and makes ties deterministic.
pub(crate) fn search(table: &ServiceTable, equal_columns: &[&str]) -> Sql {
    let mut filter = String::from("embedding is not null");
    for (position, column) in equal_columns.iter().enumerate() {
        filter.push_str(&format!("\n        and {} = ${}", quoted(column), position + 3));
    }
    let attributes: String =
        table.attribute_columns.iter().map(|column| format!(", {}", quoted(column))).collect();
    AssertSqlSafe(format!(
        "with nearest as materialized (
    select id, source_id, {text}, {category}{attributes}, metadata, created_at,
        embedding <=> $1::real[]::vector as distance
    from {name}
    where {filter}
    order by embedding <=> $1::real[]::vector
    limit $2
)
select id, source_id, {text} as text, {category} as category, metadata::text as metadata, created_at, distance
from nearest
order by distance, id",
        text = quoted(table.text_column),
        category = quoted(table.category_column),
        name = quoted(table.name),
    ))
}

/// Name of the IVFFLAT index of `table` with `lists` lists.
pub(crate) fn ivfflat_name(table: &ServiceTable, lists: u32) -> String {
    format!("{}_embedding_ivfflat_{lists}", table.name)
}

/// Builds the IVFFLAT index without blocking writers.
pub(crate) fn create_ivfflat(table: &ServiceTable, lists: u32) -> Sql {
    AssertSqlSafe(format!(
        "create index concurrently {}\non {} using ivfflat (embedding vector_cosine_ops)\nwith (lists = {lists})",
        quoted(&ivfflat_name(table, lists)),
        quoted(table.name)
    ))
}

/// Drops an index without blocking readers.
pub(crate) fn drop_index(name: &str) -> Sql {
    AssertSqlSafe(format!("drop index concurrently if exists {}", quoted(name)))
}

/// Counts the rows of `table`.
pub(crate) fn count_rows(table: &ServiceTable) -> Sql {
    AssertSqlSafe(format!("select count(*) from {}", quoted(table.name)))
}

/// Refreshes the planner's statistics of `table`.
pub(crate) fn analyze(table: &ServiceTable) -> Sql {
    AssertSqlSafe(format!("analyze {}", quoted(table.name)))
}

/// How many lists of an IVFFLAT index a search of this transaction looks into.
pub(crate) fn set_probes(probes: u32) -> Sql {
    AssertSqlSafe(format!("set local ivfflat.probes = {probes}"))
}

/// Drops a database, whoever is connected to it.
pub(crate) fn drop_database(name: &str) -> Sql {
    AssertSqlSafe(format!("drop database if exists {} with (force)", quoted(name)))
}

/// Makes an empty database.
pub(crate) fn create_database(name: &str) -> Sql {
    AssertSqlSafe(format!("create database {}", quoted(name)))
}

/// Lets an index scan of this transaction go on until a filter has left enough rows.
pub(crate) fn set_iterative_scan(method: &str) -> Sql {
    AssertSqlSafe(format!("set local {method}.iterative_scan = relaxed_order"))
}

#[cfg(test)]
mod tests {
    use expect_test::{ExpectFile, expect_file};
    use records::Service;

    use super::*;

    fn check(sql: &Sql, expected: &ExpectFile) {
        expected.assert_eq(&format!("{};\n", sql.0));
    }

    #[test]
    fn statements_are_the_golden_ones() {
        let outputs = ServiceTable::of(Service::Judge);
        let queries = ServiceTable::of(Service::Query);
        check(&create_staging(outputs), &expect_file!["golden/create_staging.sql"]);
        check(&select_conflicts(outputs), &expect_file!["golden/select_conflicts.sql"]);
        check(&merge_staging(outputs), &expect_file!["golden/merge_staging.sql"]);
        check(&select_migrated(outputs), &expect_file!["golden/select_migrated.sql"]);
        check(&search(queries, &[]), &expect_file!["golden/search.sql"]);
        check(&search(outputs, &["theme", "model_id"]), &expect_file!["golden/search_filtered.sql"]);
        check(&create_ivfflat(queries, 20), &expect_file!["golden/create_ivfflat.sql"]);
        check(&drop_index("odd \"name\""), &expect_file!["golden/drop_index.sql"]);
    }
}
