//! The names of our tables, derived from the schema migrations, and whether a relation with such a name is ours.

use std::sync::LazyLock;

use records::Service;
use sqlx::{PgConnection, migrate::Migrator};

use super::{
    constraints::{self, Needs},
    relations::has_table,
    schema_migrations::{BOOKKEEPING, SERVICES},
    sql::{
        self,
        service_indexes::{result_indexes, service_indexes},
    },
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

/// The table that records the applied schema migrations.
pub(super) const VERSIONS_TABLE: &str = "_sqlx_migrations";

/// The types of pgvector. A table creates a type of its name, which would hide them.
const TYPES: [&str; 3] = ["vector", "halfvec", "sparsevec"];

/// A table as the schema migrations create it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnTable {
    /// The version of the migration that creates it.
    version: i64,
    name: String,
    columns: Vec<OwnColumn>,
    /// The columns of its primary key.
    key: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OwnColumn {
    /// The version of the migration that creates it.
    version: i64,
    name: String,
    /// As `format_type` writes it.
    column_type: String,
    is_required: bool,
    /// The default value.
    default: Option<String>,
}

/// The reserved names.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tables = [&SERVICES, &BOOKKEEPING].into_iter().flat_map(tables);
    // The index of the primary key, as PostgreSQL names it.
    let mut names: Vec<String> =
        tables.flat_map(|table| [format!("{}_pkey", table.name), table.name]).collect();
    for migration in SERVICES.iter().chain(BOOKKEEPING.iter()) {
        for kind in ["index", "sequence"] {
            names.extend(statements(migration.sql.as_str()).filter_map(|sql| created(sql, kind)));
        }
    }
    let indexes = Service::ALL.into_iter().flat_map(service_indexes).chain(result_indexes());
    names.extend(indexes.map(|index| index.name));
    names.extend([VERSIONS_TABLE, "_sqlx_migrations_pkey", sql::STAGING].map(str::to_owned));
    names.extend(TYPES.map(str::to_owned));
    names
});

/// Whether `name` is the name of a table or index of ours or of a type of pgvector; no collection can have a table of
/// that name.
pub fn is_own_relation(name: &str) -> bool {
    NAMES.iter().any(|own| own == name)
}

/// The names of our tables.
pub(super) fn table_names() -> impl Iterator<Item = String> {
    [&SERVICES, &BOOKKEEPING].into_iter().flat_map(tables).map(|table| table.name)
}

/// The log tables.
fn kept() -> impl Iterator<Item = OwnTable> {
    [&SERVICES, &BOOKKEEPING].into_iter().flat_map(tables).filter(|table| !is_adopted(&table.name))
}

/// The names of the log tables.
pub(super) fn kept_names() -> Vec<String> {
    kept().map(|table| table.name).collect()
}

/// The log tables and their time columns.
pub(super) fn time_columns() -> impl Iterator<Item = (String, Vec<String>)> {
    kept().filter_map(|table| {
        let times = table.columns.into_iter().filter(|column| column.column_type.starts_with("timestamp"));
        let times: Vec<String> = times.map(|column| column.name).collect();
        (!times.is_empty()).then_some((table.name, times))
    })
}

/// The names of the tables that `service` writes; the judge also writes models, runs and results.
pub(super) fn tables_of(service: Service) -> Vec<String> {
    let names = tables(&SERVICES).into_iter().map(|table| table.name);
    let collections = Service::ALL.map(Service::collection);
    names
        .filter(|name| match service {
            Service::Judge => *name == service.collection() || !collections.contains(&&**name),
            Service::Query | Service::Evaluation => *name == service.collection(),
        })
        .collect()
}

/// The columns of the tables that `service` writes, each with its table.
pub(super) fn columns_of(service: Service) -> Vec<(String, String)> {
    let names = tables_of(service);
    let tables = tables(&SERVICES).into_iter().filter(|table| names.contains(&table.name));
    tables
        .flat_map(|table| table.columns.into_iter().map(move |column| (table.name.clone(), column.name)))
        .collect()
}

/// Checks, before anything is changed, that each relation with the name of a table of `migrators` is that table: it
/// needs the columns of the applied migrations or, if none is applied, of the migration that would create it.
///
/// # Errors
/// [`Error::ForeignTable`].
pub(super) async fn check_foreign(
    connection: &mut PgConnection,
    migrators: &[&'static Migrator],
) -> Result<(), Error> {
    let has_versions =
        has_table(connection, VERSIONS_TABLE).await.during("look for the table of schema versions")?;
    let mut applied: Vec<i64> = Vec::new();
    if has_versions {
        let versions = OwnTable {
            version: 0,
            name: VERSIONS_TABLE.to_owned(),
            columns: [
                ("version", "bigint"),
                ("description", "text"),
                ("success", "boolean"),
                ("checksum", "bytea"),
                ("execution_time", "bigint"),
            ]
            .map(|(name, column_type)| OwnColumn {
                version: 0,
                name: name.to_owned(),
                column_type: column_type.to_owned(),
                is_required: true,
                default: None,
            })
            .into(),
            key: vec!["version".to_owned()],
        };
        check(connection, &versions, Lookup::Found, |_| true).await?;
        applied = sqlx::query_scalar("select version from _sqlx_migrations")
            .fetch_all(on(connection))
            .await
            .during("read the schema versions")?;
    }
    for table in migrators.iter().copied().flat_map(tables) {
        if applied.contains(&table.version) {
            check(connection, &table, Lookup::Found, |column| applied.contains(&column.version)).await?;
        } else if is_adopted(&table.name) {
            // Missing columns are added later; here it only has to be a table.
            check(connection, &table, Lookup::Made, |_| false).await?;
        } else {
            check(connection, &table, Lookup::Made, |column| column.version == table.version).await?;
        }
    }
    Ok(())
}

/// Checks that the tables of `migrators`, which are all applied, have the required columns.
///
/// # Errors
/// [`Error::ForeignTable`].
pub(super) async fn check_made(
    connection: &mut PgConnection,
    migrators: &[&'static Migrator],
) -> Result<(), Error> {
    for table in migrators.iter().copied().flat_map(tables) {
        check(connection, &table, Lookup::Found, |_| true).await?;
    }
    Ok(())
}

/// The schemas in which a table is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// The table that its name resolves to.
    Found,
    /// The schema in which a migration would create it.
    Made,
}

/// Checks `table`, if a relation of its name exists, and its columns that are `needed`.
async fn check(
    connection: &mut PgConnection,
    table: &OwnTable,
    place: Lookup,
    needed: impl Fn(&OwnColumn) -> bool,
) -> Result<(), Error> {
    let relation = sqlx::query!(
        r#"
        select
            relation.oid as "oid!",
            relation.relkind::text as "kind!",
            array(
                select attribute.attname::text
                from pg_attribute attribute
                where attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
                order by attribute.attnum
            ) as "names!",
            array(
                select format_type(attribute.atttypid, null)
                from pg_attribute attribute
                where attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
                order by attribute.attnum
            ) as "types!"
        from pg_class relation
        where relation.oid = case
            when $2 then to_regclass(quote_ident($1))
            else to_regclass(quote_ident(current_schema()) || '.' || quote_ident($1))
        end
        "#,
        table.name,
        place == Lookup::Found
    )
    .fetch_optional(on(connection))
    .await
    .during("look for a table of the same name")?;
    let Some(relation) = relation else {
        // An applied migration is not run again, so an existing type does not conflict with it.
        let kind = if place == Lookup::Made { other_type(connection, &table.name).await? } else { None };
        let problem = |kind| vec![format!("it is {kind}, expected a table")];
        let foreign = |kind| Error::ForeignTable { table: table.name.clone(), problems: problem(kind) };
        return kind.map_or(Ok(()), |kind| Err(foreign(kind)));
    };
    let mut problems: Vec<String> = other_kind(&relation.kind)
        .map(|kind| format!("it is {kind}, expected a table"))
        .into_iter()
        .collect();
    if problems.is_empty() {
        for column in table.columns.iter().filter(|column| needed(column)) {
            let OwnColumn { name, column_type, .. } = column;
            match relation.names.iter().position(|found| found == name).map(|at| &relation.types[at]) {
                None => problems.push(format!("column `{name}` is missing")),
                // Another program may have created it with a similar type; the tables of services are checked
                // elsewhere.
                Some(_) if is_adopted(&table.name) => {}
                Some(found) if found != column_type => {
                    problems.push(format!("column `{name}` is {found}, expected {column_type}"));
                }
                Some(_) => {}
            }
        }
    }
    if problems.is_empty() {
        let is_there = |name: &String| relation.names.contains(name);
        return constraints::check(connection, (&table.name, relation.oid), &table.needs(is_there)).await;
    }
    Err(Error::ForeignTable { table: table.name.clone(), problems })
}

impl OwnTable {
    /// The requirements for existing columns. Tables of the old services only need their key: other missing values
    /// are filled in or reported as a problem of the row.
    fn needs(&self, is_there: impl Fn(&String) -> bool) -> Needs {
        let known = self.columns.iter().map(|column| column.name.clone()).collect();
        let columns = || {
            let is_checked = !is_adopted(&self.name);
            self.columns.iter().filter(move |_| is_checked).filter(|column| is_there(&column.name))
        };
        let required = columns().filter(|column| column.is_required).map(|column| column.name.clone());
        let defaulted = columns().filter_map(|column| Some((column.name.clone(), column.default.clone()?)));
        Needs { required: required.collect(), defaulted: defaulted.collect(), key: self.key.clone(), known }
    }
}

/// Whether the old services created a table of this name, which is then adopted.
fn is_adopted(name: &str) -> bool {
    name == "evaluation_results" || Service::ALL.into_iter().any(|service| service.collection() == name)
}

/// The kind of a relation by its `pg_class.relkind`; `None` for an ordinary table.
pub(super) fn other_kind(kind: &str) -> Option<&'static str> {
    match kind {
        "r" => None,
        "v" => Some("a view"),
        "m" => Some("a materialized view"),
        "f" => Some("a foreign table"),
        "p" => Some("a partitioned table"),
        "i" | "I" => Some("an index"),
        "S" => Some("a sequence"),
        "c" => Some("a composite type"),
        _ => Some("something else"),
    }
}

/// The kind of the type `name` in the schema where tables are created, if it exists: each table has a type of its
/// name.
pub(super) async fn other_type(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<&'static str>, Error> {
    let kind = sqlx::query_scalar!(
        r#"select typtype::text as "kind!" from pg_type where typname = $1::text and typnamespace = to_regnamespace(quote_ident(current_schema()))"#,
        name
    )
    .fetch_optional(on(connection))
    .await
    .during("look for a type of the same name")?;
    Ok(kind.map(|kind| match &*kind {
        "d" => "a domain",
        "e" => "an enum type",
        "r" => "a range type",
        _ => "a type",
    }))
}

/// The tables that `migrator` creates, with their columns.
fn tables(migrator: &'static Migrator) -> Vec<OwnTable> {
    let mut tables: Vec<OwnTable> = Vec::new();
    for migration in migrator.iter() {
        let version = migration.version;
        for statement in statements(migration.sql.as_str()) {
            if let Some(name) = created(statement, "table") {
                let columns = parts(statement).filter_map(|part| column(part, version)).collect();
                let key = parts(statement).find_map(key).unwrap_or_default();
                tables.push(OwnTable { version, name, columns, key });
            } else if let Some((name, changes)) = altered(statement) {
                let table = tables.iter_mut().find(|table| table.name == name);
                let table = table.expect("a table is made before it is changed");
                let added = changes.split(',').filter_map(|change| {
                    let added = change.trim().strip_prefix("add column ")?;
                    column(added.strip_prefix("if not exists ").unwrap_or(added), version)
                });
                table.columns.extend(added);
            }
        }
    }
    tables
}

/// The statements of a migration, without the comments before them. Function bodies are split too, but no part of
/// them begins like a statement that creates a relation.
fn statements(sql: &'static str) -> impl Iterator<Item = &'static str> {
    sql.split(";\n").map(|statement| {
        let mut rest = statement.trim();
        while rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
        rest
    })
}

/// The name of the relation of this `kind` that `statement` creates.
fn created(statement: &str, kind: &str) -> Option<String> {
    let rest = statement.strip_prefix("create ")?;
    let rest = rest.strip_prefix("unique ").unwrap_or(rest).strip_prefix(kind)?.strip_prefix(' ')?;
    Some(first_word(rest.strip_prefix("if not exists ").unwrap_or(rest)).to_owned())
}

/// The table that `statement` alters, and the rest of the statement.
fn altered(statement: &str) -> Option<(&str, &str)> {
    let rest = statement.strip_prefix("alter table ")?;
    let name = first_word(rest);
    Some((name, rest[name.len()..].trim_start()))
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| c.is_whitespace() || c == '(').next().expect("splitting gives one part at least")
}

/// The columns and constraints of `create table`, as our migrations write them: one per line, indented by four
/// spaces.
fn parts(statement: &'static str) -> impl Iterator<Item = &'static str> {
    let body = statement.split_once("(\n").map_or("", |(_, body)| body);
    body.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     ")).map(str::trim)
}

/// The column that a part of `create table` or of `add column` defines; `None` for a constraint.
fn column(part: &str, version: i64) -> Option<OwnColumn> {
    const ENDS: [&str; 5] = [" not null", " primary key", " default ", " references ", " constraint "];
    let (name, rest) = part.trim_end_matches(',').split_once(' ')?;
    if matches!(name, "primary" | "constraint" | "unique" | "check" | "foreign") {
        return None;
    }
    let end = ENDS.iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    let column_type = match &rest[..end] {
        "timestamp" => "timestamp without time zone",
        "varchar" => "character varying",
        "float" => "double precision",
        vector if vector.starts_with("vector(") => "vector",
        other => other,
    };
    let default = rest.split_once(" default ").map(|(_, default)| default.to_owned());
    let is_required = rest.contains(" not null") || rest.contains(" primary key");
    Some(OwnColumn {
        version,
        name: name.to_owned(),
        column_type: column_type.to_owned(),
        is_required,
        default,
    })
}

/// The columns of the primary key, if a part of `create table` defines it.
fn key(part: &str) -> Option<Vec<String>> {
    let (before, columns) = part.trim_end_matches(',').split_once("primary key")?;
    let columns = columns.trim_start().strip_prefix('(').and_then(|columns| columns.split_once(')'));
    Some(match columns {
        Some((columns, _)) => columns.split(", ").map(str::to_owned).collect(),
        None => vec![first_word(before).to_owned()],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_indexes_and_types_are_reserved() {
        for name in ["queries", "runs", "models", "migration_jobs", "runs_created_at_idx", "vector"] {
            assert!(is_own_relation(name), "{name}");
        }
        for name in ["Runs", "run", "articles", "migration_", ""] {
            assert!(!is_own_relation(name), "{name}");
        }
    }

    #[test]
    fn times_are_those_of_every_log_table() {
        let times: Vec<String> =
            time_columns().map(|(table, columns)| format!("{table}: {}", columns.join(", "))).collect();
        let expected = [
            "models: created_at",
            "runs: created_at, began_at, ended_at",
            "run_workers: lease_until",
            "run_attempts: began_at, ended_at",
            "labels: labelled_at, withdrawn_at",
            "migration_jobs: started_at, changed_at",
            "migration_rejects: created_at",
            "vector_index_settings: measured_at",
            "vector_index_plans: started_at, ended_at",
            "vector_search_samples: searched_at",
            "vector_search_history: measured_at",
            "maintenance_actions: started_at, ended_at",
            "migration_groups: started_at, changed_at",
            "chroma_tenants: created_at",
            "chroma_databases: created_at",
            "chroma_collections: created_at",
            "chroma_deleted_records: deleted_at",
            "chroma_deleted_collections: deleted_at",
            "chroma_deleted_databases: deleted_at",
        ];
        assert_eq!(times, expected);
    }

    #[test]
    fn keys_and_defaults_are_those_of_every_migration() {
        let tables = [&SERVICES, &BOOKKEEPING].into_iter().flat_map(tables);
        let keys: Vec<String> = tables
            .map(|table| {
                assert!(table.key.iter().all(|key| table.columns.iter().any(|column| column.name == *key)));
                let needs = table.needs(|_| true);
                let defaults: Vec<String> =
                    needs.defaulted.iter().map(|(_, default)| default.clone()).collect();
                format!("{}: {} {}", table.name, table.key.join(","), defaults.join(" "))
            })
            .collect();
        expect_test::expect![[r#"
            queries: id 
            evaluation_metrics: id 
            llm_outputs: id 
            evaluation_results: id 
            models: id (now() at time zone 'utc')
            runs: id 0 0 0 0 0
            run_queries: run_id,query 
            run_tasks: run_id,task false 0 0
            run_workers: run_id,worker 0
            run_attempts: run_id,task,attempt 
            labels: id 
            migration_jobs: id 0 0 0
            migration_rejects:  
            migration_replaced: run_id,table_name,id 
            vector_index_settings: table_name,index_name,filtering,depth 
            vector_index_plans: id 
            vector_search_samples: id 
            vector_search_history: table_name,filter_class,measured_at 
            maintenance_actions: id 
            migration_groups: id 
            migration_group_jobs: job_id 
            vector_index_builds: table_name,build 
            chroma_tenants: name 
            chroma_databases: id 
            chroma_collections: id nextval('chroma_positions')
            chroma_deleted_records: table_name,id 
            chroma_deleted_collections: id 
            chroma_replaced_collections: run_id,id nextval('chroma_positions')
            chroma_deleted_databases: tenant,name "#]]
        .assert_eq(&keys.join("\n"));
    }

    #[test]
    fn columns_are_those_of_every_migration() {
        let tables = tables(&SERVICES);
        let workers = tables.iter().find(|table| table.name == "run_workers").expect("it is made");
        let columns: Vec<(&str, &str)> =
            workers.columns.iter().map(|column| (&*column.name, &*column.column_type)).collect();
        let expected = [
            ("run_id", "uuid"),
            ("worker", "uuid"),
            ("lease_until", "timestamp without time zone"),
            ("requests", "bigint"),
        ];
        assert_eq!(columns, expected);
    }
}
