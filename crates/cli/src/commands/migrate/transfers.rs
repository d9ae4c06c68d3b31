//! `migrate collection` and the services: from the command line to collections and their tables.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use chroma::Collection;
use migrate::{Placement, SourceCollection, Transfer};
use records::{MODEL_DIMENSION, Service};
use store::postgres::{Column, ColumnType, Table, is_own_relation};

use crate::{
    arguments::{MigrationScope, TransferArguments},
    configuration::Configuration,
    exit::Failure,
    interrupt::run_interruptibly,
    settings::table::{
        CHROMA_PERSIST_DIRECTORY, EVALUATION_PERSIST_DIRECTORY, JUDGE_PERSIST_DIRECTORY, persist_directory,
    },
    source::{self, Location, Selection},
};

/// PostgreSQL truncates longer names silently.
const MAX_NAME_BYTES: usize = 63;

/// Opens the sources of `arguments`, and adds the name of each to `sources` before it is opened.
pub(super) async fn open(
    configuration: &Configuration,
    arguments: &TransferArguments,
    sources: &mut Vec<String>,
) -> Result<Vec<Transfer>, Failure> {
    let what = check(arguments).map_err(Failure::usage)?;
    let mut transfers = Vec::new();
    if what == MigrationScope::Collection {
        let name = arguments.name.clone().expect("`check` refuses a collection without a name");
        let path = arguments
            .from
            .as_ref()
            .ok_or_else(|| anyhow!("no source given: add --from DIR or --from URL"))
            .map_err(Failure::usage)?;
        let source = open_collection(configuration, arguments, path, name, sources).await?;
        let table = collection_table(arguments, source.collection()).map_err(Failure::usage)?;
        transfers.push(Transfer { source, table });
    }
    for service in what.services() {
        let path = service_source(configuration, arguments, service)?;
        let name = service.collection().to_owned();
        let source = open_collection(configuration, arguments, &path, name, sources).await?;
        transfers.push(Transfer { source, table: Table::of(service) });
    }
    Ok(transfers)
}

/// Refuses flags that would be ignored.
fn check(arguments: &TransferArguments) -> anyhow::Result<MigrationScope> {
    let what = arguments.what.ok_or_else(|| {
        anyhow!("expected what to process: all, query, evaluation, judge, collection NAME, or collections")
    })?;
    let of_collections = [("--match", !arguments.patterns.is_empty()), ("--into", arguments.into.is_some())];
    if let Some((flag, _)) = of_collections.iter().find(|(_, is_given)| *is_given) {
        bail!("{flag} applies to `collections` only: panopticon migrate collections --from DIR {flag} …");
    }
    let of_collection = [
        ("NAME", arguments.name.is_some()),
        ("--table", arguments.table.is_some()),
        ("--text-column", arguments.text_column.is_some()),
        ("--category", arguments.category.is_some()),
        ("--column", !arguments.column.is_empty()),
    ];
    if what == MigrationScope::Collection {
        if arguments.name.is_none() {
            bail!("expected the name of the collection: panopticon migrate collection NAME --from DIR");
        }
        return Ok(what);
    }
    if let Some((flag, _)) = of_collection.iter().find(|(_, is_given)| *is_given) {
        bail!("{flag} applies to `migrate collection` only: the services' tables are fixed");
    }
    if what == MigrationScope::All && arguments.from.is_some() {
        bail!(
            "--from names one source, and `all` has three: set {CHROMA_PERSIST_DIRECTORY}, {EVALUATION_PERSIST_DIRECTORY} and {JUDGE_PERSIST_DIRECTORY}, or migrate the services one by one"
        );
    }
    Ok(what)
}

async fn open_collection(
    configuration: &Configuration,
    arguments: &TransferArguments,
    path: &Path,
    name: String,
    sources: &mut Vec<String>,
) -> Result<SourceCollection, Failure> {
    let location = Location::new(path, &arguments.scope, configuration).map_err(Failure::usage)?;
    sources.push(location.to_string());
    let (tenant, database) = (arguments.scope.tenant.clone(), arguments.scope.database.clone());
    run_interruptibly(move |_| {
        let source = source::open(&location)?;
        let selection =
            Selection { tenant: tenant.as_deref(), database: database.as_deref(), name: Some(&name) };
        let only = selection.only(source.collections());
        let collection = only
            .with_context(|| format!("failed to find a collection in `{location}`"))
            .map_err(Failure::usage)?;
        let collection = collection.clone();
        Ok(SourceCollection::new(source, collection))
    })
    .await
}

fn service_source(
    configuration: &Configuration,
    arguments: &TransferArguments,
    service: Service,
) -> Result<PathBuf, Failure> {
    if let Some(path) = &arguments.from {
        return Ok(path.clone());
    }
    let variable = persist_directory(service);
    let path = configuration
        .trusted(variable)?
        .ok_or_else(|| anyhow!("no Chroma directory for {service}: add --from DIR, or set {variable}"))
        .map_err(Failure::usage)?;
    Ok(PathBuf::from(path))
}

/// The table that the flags choose.
fn collection_table(arguments: &TransferArguments, collection: &Collection) -> anyhow::Result<Table> {
    let name = arguments.table.clone().unwrap_or_else(|| collection.name.clone());
    if let Some(service) = Service::ALL.into_iter().find(|service| service.collection() == name) {
        bail!(
            "table `{name}` belongs to the {service} service: use `panopticon migrate {service}`, or name another with --table"
        );
    }
    if is_own_relation(&name) {
        bail!("table `{name}` is one of Panopticon's own: name another with --table");
    }
    let table = Table {
        name,
        // Unknown for an empty collection, where it does not matter.
        dimension: collection.dimension.unwrap_or(MODEL_DIMENSION),
        space: collection.space,
        ..template(arguments)?
    };
    check_names(&table)?;
    Ok(table)
}

/// What the tables of all collections have in common.
pub(super) fn template(arguments: &TransferArguments) -> anyhow::Result<Table> {
    let mut columns = Vec::new();
    if let Some(category) = &arguments.category {
        let (key, column) = category.split_once(':').unwrap_or((category, category));
        columns.push(Column { name: column.to_owned(), ..Column::required(key, "unknown") });
    }
    for column in &arguments.column {
        columns.push(parse_column(column)?);
    }
    let mut table = Placement::for_own_tables().template;
    if let Some(column) = &arguments.text_column {
        table.text_column.clone_from(column);
    }
    Ok(Table { columns, ..table })
}

fn parse_column(text: &str) -> anyhow::Result<Column> {
    let mut parts = text.split(':');
    let key = parts.next().expect("splitting gives one part at least");
    let name = parts.next().unwrap_or(key);
    let column_type = parts.next().map_or(Ok(ColumnType::Text), str::parse)?;
    if parts.next().is_some() {
        bail!("expected --column KEY[:COLUMN[:TYPE]], found `{text}`");
    }
    let name = if name.is_empty() { key } else { name };
    Ok(Column { key: key.to_owned(), name: name.to_owned(), column_type, default: None })
}

pub(super) fn check_names(table: &Table) -> anyhow::Result<()> {
    const OWN: [&str; 8] = [
        "id",
        "source_id",
        "metadata",
        "uri",
        "created_at",
        "embedding",
        "migration_run",
        "migration_digest",
    ];
    let columns = table.columns.iter().map(|column| column.name.as_str());
    let mut seen = OWN.to_vec();
    let shared = table.shared.iter().map(|shared| shared.column.as_str());
    for name in columns.chain([table.text_column.as_str()]).chain(shared) {
        check_name(name, "column")?;
        if seen.contains(&name) {
            bail!("column `{name}` is named twice: each table already has {}", OWN.join(", "));
        }
        seen.push(name);
    }
    check_name(&table.name, "table")
}

fn check_name(name: &str, what: &str) -> anyhow::Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        let remedy = if what == "table" { ": name another with --table" } else { "" };
        let found = if name.contains('\0') { "a NUL character".to_owned() } else { name.len().to_string() };
        bail!(
            "`{name}` is no valid {what} name: expected 1 to {MAX_NAME_BYTES} bytes, found {found}{remedy}"
        );
    }
    Ok(())
}
