//! `panopticon restore`: puts the database of a backup into the embedded server.
//!
//! The dump is restored into a new database and compared with the manifest, table by table; only then it gets the name of
//! the current one. A failure before that leaves the current database unchanged.

use std::{collections::BTreeMap, io::Write as _, path::Path, process, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use provision::{Role, Server, postgres::DATABASE};
use serde_json::json;
use store::postgres::{Database, DatabaseOptions, StoredTable, TableContents, schema_version};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};

use super::backup::{
    DUMP, MANIFEST, Manifest, contents_of_all, hash, refuse_other_server, rows, run_program,
};
use crate::{
    arguments::RestoreArguments,
    configuration::Configuration,
    connection::{FORMER_DATABASE, RESTORING_DATABASE, blocking, start_embedded},
    exit::{ExitCode, Failure},
    interrupt::Signals,
    output::{count, print, print_json},
};

/// Every cluster has it; we connect to it to rename others.
const MAINTENANCE: &str = "postgres";

/// The extension that the superuser creates in every new database.
const PGVECTOR: &str = "vector";

/// Tables that an error lists.
const LISTED: usize = 5;

/// More connections would only wait for each other.
const MAX_JOBS: usize = 4;

/// Programs that have just ended may be listed as clients for a moment longer, until the server notices.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &RestoreArguments,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    refuse_other_server(configuration, "restore")?;
    let prepared = async {
        let manifest = Manifest::read(&arguments.folder).map_err(Failure::usage)?;
        check(&arguments.folder, &manifest).await?;
        Ok::<_, Failure>((manifest, start_embedded(configuration).await?))
    };
    let (manifest, server) = tokio::select! {
        prepared = prepared => prepared?,
        () = signals.next() => return Ok(ExitCode::Interrupted),
    };
    let restored = Restoring { server: &server, manifest: &manifest, arguments }.run(signals).await;
    blocking(move || server.release()).await?;
    let Some(Outcome { differences, replaced }) = restored? else {
        return Ok(ExitCode::Interrupted);
    };
    if arguments.json {
        print_json(&json!({
            "backup": manifest.to_json(),
            "replaced": replaced,
            "differences": differences,
        }))?;
    } else if differences.is_empty() {
        print(&format!(
            "restored {} with {}, as they were at {}: all equal to the backup{}",
            count(manifest.tables.len() as u64, "table"),
            rows(&manifest),
            manifest.created_at,
            if replaced { "; the former database was dropped" } else { "" },
        ))?;
    } else {
        for difference in &differences {
            print(difference)?;
        }
        print("nothing was replaced, since what was restored differs from the backup")?;
    }
    Ok(if differences.is_empty() { ExitCode::Complete } else { ExitCode::Different })
}

/// Whether the backup is complete, unchanged, and not of a newer program.
async fn check(folder: &Path, manifest: &Manifest) -> Result<(), Failure> {
    let known = schema_version();
    if let Some(found) = manifest.schema_version.filter(|found| *found > known) {
        return Err(Failure::usage(anyhow!(
            "the backup has schema version {found}, and this version of panopticon knows versions up to {known}: restore it with panopticon {} or newer",
            manifest.panopticon
        )));
    }
    let dump = folder.join(DUMP);
    let found = hash(dump.clone()).await.map_err(|failure| Failure::usage(anyhow!(failure.message())))?;
    if found != (manifest.dump_bytes, manifest.dump_sha256.clone()) {
        return Err(Failure::usage(anyhow!(
            "`{}` is damaged: expected {} bytes with SHA-256 {}, found {} bytes with {}",
            dump.display(),
            manifest.dump_bytes,
            manifest.dump_sha256,
            found.0,
            found.1
        )));
    }
    Ok(())
}

struct Restoring<'r> {
    server: &'r Server,
    manifest: &'r Manifest,
    arguments: &'r RestoreArguments,
}

/// How the restore ended.
struct Outcome {
    /// One sentence each; with any, the current database is as it was.
    differences: Vec<String>,
    /// Whether the current database had rows.
    replaced: bool,
}

impl Restoring<'_> {
    /// `None` if a signal interrupted it; then, the current database is as it was.
    async fn run(&self, signals: &mut Signals) -> Result<Option<Outcome>, Failure> {
        // Another restore would replace the database that we fill and compare, under the same name.
        let Some(_alone) = self.server.lock_exchange()? else {
            return Err(Failure::refused(anyhow!(
                "another restore of the embedded database is under way: run again when it has ended"
            )));
        };
        let databases = Databases::connect(self.server).await?;
        let outcome = self.restore(&databases, signals).await;
        databases.close().await;
        outcome
    }

    async fn restore(
        &self,
        databases: &Databases,
        signals: &mut Signals,
    ) -> Result<Option<Outcome>, Failure> {
        let replaced = self.refuse_rows().await?;
        databases.refuse_clients().await?;
        // Left by a restore that was killed.
        databases.superuser.drop_database(RESTORING_DATABASE).await?;
        databases.owner.create_bare_database(RESTORING_DATABASE).await?;
        let filled = tokio::select! {
            filled = self.fill(&databases.owner) => filled.map(Some),
            () = signals.next() => Ok(None),
        };
        match filled {
            // Others may have come meanwhile; the renaming would wait for them and fail.
            Ok(Some(differences)) if differences.is_empty() => {
                if let Err(failure) = databases.refuse_clients().await {
                    databases.superuser.drop_database(RESTORING_DATABASE).await?;
                    return Err(failure);
                }
                // Left by a restore that was killed after its exchange.
                databases.superuser.drop_database(FORMER_DATABASE).await?;
                databases.owner.exchange_databases(RESTORING_DATABASE, DATABASE, FORMER_DATABASE).await?;
                databases.superuser.drop_database(FORMER_DATABASE).await?;
                Ok(Some(Outcome { differences, replaced }))
            }
            unfilled => {
                databases.superuser.drop_database(RESTORING_DATABASE).await?;
                Ok(unfilled?.map(|differences| Outcome { differences, replaced: false }))
            }
        }
    }

    /// Whether the current database has rows, which are refused unless they may be replaced.
    async fn refuse_rows(&self) -> Result<bool, Failure> {
        let current = connect(&self.server.url()).await?;
        let filled = filled_tables(&current).await;
        current.close().await;
        let filled = filled?;
        if filled.is_empty() || self.arguments.replace {
            return Ok(!filled.is_empty());
        }
        let names: Vec<&str> = filled.iter().take(LISTED).map(String::as_str).collect();
        let more = filled.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Err(Failure::refused(anyhow!(
            "the embedded database has rows, in {}{more}: back it up, then use --replace to drop them, or choose an empty data folder",
            names.join(", ")
        )))
    }

    /// Fills the new database, and compares it with the manifest.
    async fn fill(&self, owner: &Database) -> Result<Vec<String>, Failure> {
        let dump = self.arguments.folder.join(DUMP);
        let entries = self.entries(&dump).await?;
        let jobs = thread::available_parallelism().map_or(1, usize::from).min(MAX_JOBS);
        let is_schema = |entry: &&String| described(entry).is_some_and(|what| what.starts_with("SCHEMA "));
        self.replay(&dump, Role::Owner, entries.iter().filter(is_schema), 1).await?;
        if let Some(schema) = &self.manifest.pgvector_schema
            && !entries.iter().any(|entry| extension_of(entry) == Some(PGVECTOR))
        {
            let superuser = connect(&self.server.url_as(Role::Superuser, RESTORING_DATABASE)?).await?;
            let created = superuser.create_pgvector(schema).await;
            superuser.close().await;
            created?;
        }
        let trusted = owner.trusted_extensions().await?;
        for name in entries.iter().filter_map(|entry| extension(entry, "EXTENSION - ")) {
            // As in every new database, pgvector belongs to the superuser.
            let is_ours = trusted.iter().any(|trusted| trusted == name) && name != PGVECTOR;
            let role = if is_ours { Role::Owner } else { Role::Superuser };
            let of_it = entries.iter().filter(|entry| extension_of(entry) == Some(name));
            self.replay(&dump, role, of_it, 1).await?;
        }
        let others = entries.iter().filter(|entry| !is_schema(entry) && extension_of(entry).is_none());
        self.replay(&dump, Role::Owner, others, jobs).await?;
        let restored = connect(&self.server.url_of(RESTORING_DATABASE)).await?;
        let found = contents(&restored).await;
        restored.close().await;
        Ok(differences(&self.manifest.tables, found?))
    }

    /// The entries of `dump`, as `pg_restore --list` prints them.
    async fn entries(&self, dump: &Path) -> Result<Vec<String>, Failure> {
        let mut pg_restore = self.server.client("pg_restore", Role::Owner, RESTORING_DATABASE)?;
        pg_restore.arg("--list").arg(dump);
        let entries = run_program(pg_restore, "pg_restore").await?;
        Ok(entries.lines().map(str::to_owned).collect())
    }

    /// Restores these `entries` of `dump` as `role`.
    async fn replay(
        &self,
        dump: &Path,
        role: Role,
        entries: impl Iterator<Item = &String>,
        jobs: usize,
    ) -> Result<(), Failure> {
        let mut list = NamedTempFile::new().context("failed to create a temporary file")?;
        for entry in entries {
            writeln!(list, "{entry}").context("failed to write a temporary file")?;
        }
        let mut pg_restore = self.server.client("pg_restore", role, RESTORING_DATABASE)?;
        pg_restore
            .args(["--exit-on-error", "--no-owner", "--no-privileges", "--no-password"])
            .arg(format!("--jobs={jobs}"))
            .arg(format!("--dbname={RESTORING_DATABASE}"))
            .arg("--use-list")
            .arg(list.path())
            .arg(dump);
        run_program(pg_restore, "pg_restore").await.map(drop)
    }
}

/// Connections to the server, from which databases are exchanged.
struct Databases {
    owner: Database,
    /// Ends the sessions of all others: autovacuum is a superuser.
    superuser: Database,
}

impl Databases {
    async fn connect(server: &Server) -> Result<Self, Failure> {
        Ok(Self {
            owner: connect(&server.url_of(MAINTENANCE)).await?,
            superuser: connect(&server.url_as(Role::Superuser, MAINTENANCE)?).await?,
        })
    }

    async fn close(self) {
        self.owner.close().await;
        self.superuser.close().await;
    }

    async fn refuse_clients(&self) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        loop {
            let clients = self.owner.clients_of(DATABASE, &our_name()).await?;
            if clients == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Failure::refused(anyhow!(
                    "{} to the embedded database: stop `panopticon serve` and other programs that use it, then run again",
                    if clients == 1 {
                        "a client is connected".to_owned()
                    } else {
                        format!("{clients} clients are connected")
                    }
                )));
            }
            sleep(ATTEMPT_INTERVAL).await;
        }
    }
}

/// Connects to a database of the server, so that the connection can be told from those of other processes.
async fn connect(url: &str) -> Result<Database, Failure> {
    let options = DatabaseOptions { application_name: our_name(), ..DatabaseOptions::default() };
    Ok(Database::connect_with(url, &options).await?)
}

/// The name of this process's connections.
fn our_name() -> String {
    format!("panopticon restore {}", process::id())
}

async fn filled_tables(database: &Database) -> Result<Vec<String>, Failure> {
    let mut snapshot = database.snapshot().await?;
    let filled = snapshot.filled_tables().await?;
    snapshot.end().await?;
    Ok(filled.into_iter().map(|table| shown(&table)).collect())
}

async fn contents(database: &Database) -> Result<Vec<(StoredTable, TableContents)>, Failure> {
    let mut snapshot = database.snapshot().await?;
    let contents = contents_of_all(&mut snapshot).await?;
    snapshot.end().await?;
    Ok(contents)
}

/// What `entry` of `pg_restore --list` describes: `SCHEMA - ext panopticon` of `6; 2615 16386 SCHEMA - ext panopticon`.
fn described(entry: &str) -> Option<&str> {
    if entry.starts_with(';') { None } else { entry.splitn(4, ' ').nth(3) }
}

/// The name of the extension whose `entry` is of this `kind`.
fn extension<'e>(entry: &'e str, kind: &str) -> Option<&'e str> {
    described(entry)?.strip_prefix(kind).map(str::trim_end)
}

/// The name of the extension that `entry` creates or comments on.
fn extension_of(entry: &str) -> Option<&str> {
    extension(entry, "EXTENSION - ").or_else(|| extension(entry, "COMMENT - EXTENSION "))
}

/// How the tables that were `restored` differ from those of the backup.
fn differences(
    backup: &[(StoredTable, TableContents)],
    restored: Vec<(StoredTable, TableContents)>,
) -> Vec<String> {
    let mut restored: BTreeMap<StoredTable, TableContents> = restored.into_iter().collect();
    let mut differences = Vec::new();
    for (table, expected) in backup {
        match restored.remove(table) {
            None => differences.push(format!("table {} was not restored", shown(table))),
            Some(found) if found.rows != expected.rows => differences.push(format!(
                "table {}: expected {} rows, found {}",
                shown(table),
                expected.rows,
                found.rows
            )),
            Some(found) if found != *expected => {
                differences.push(format!("table {}: its rows differ from those of {MANIFEST}", shown(table)));
            }
            Some(_) => {}
        }
    }
    differences.extend(restored.keys().map(|table| format!("table {} is not in {MANIFEST}", shown(table))));
    differences
}

/// The table, with its schema if that is not where tables are by default.
fn shown(table: &StoredTable) -> String {
    if table.schema == "public" { table.name.clone() } else { format!("{}.{}", table.schema, table.name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_extensions_are_told_from_others() {
        for (entry, expected) in [
            ("2; 3079 16385 EXTENSION - vector ", Some("vector")),
            ("4012; 0 0 COMMENT - EXTENSION vector ", Some("vector")),
            ("3; 3079 16999 EXTENSION - uuid-ossp ", Some("uuid-ossp")),
            ("220; 1259 17001 TABLE public EXTENSION panopticon", None),
            ("221; 1259 17002 TABLE public vector panopticon", None),
            ("4020; 0 17002 TABLE DATA public queries panopticon", None),
            ("; Archive created at EXTENSION - vector", None),
            ("", None),
        ] {
            assert_eq!(extension_of(entry), expected, "{entry}");
        }
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let table = |name: &str, rows, digest: &str| {
            let table = StoredTable { schema: "public".to_owned(), name: name.to_owned() };
            (table, TableContents { rows, digest: digest.to_owned() })
        };
        let backup = [table("a", 1, "x"), table("b", 1, "x"), table("c", 1, "x"), table("d", 1, "x")];
        let restored = vec![table("a", 1, "x"), table("b", 2, "x"), table("c", 1, "y"), table("e", 0, "0")];
        assert_eq!(
            differences(&backup, restored),
            [
                "table b: expected 1 rows, found 2",
                "table c: its rows differ from those of manifest.json",
                "table d was not restored",
                "table e is not in manifest.json",
            ]
        );
        assert!(differences(&backup, backup.to_vec()).is_empty());
    }
}
