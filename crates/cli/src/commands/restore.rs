//! `panopticon restore`: puts the database of a backup into the embedded server.
//!
//! The dump is restored into a new database and compared with the manifest, table by table; only then it gets the name of
//! the current one. A failure before that leaves the current database unchanged.

use std::{collections::BTreeMap, io::Write as _, path::Path, thread};

use anyhow::{Context as _, anyhow};
use provision::{Role, Server, postgres::DATABASE};
use serde_json::json;
use store::postgres::{Database, StoredTable, TableContents, schema_version};
use tempfile::NamedTempFile;

use super::backup::{
    DUMP, MANIFEST, Manifest, contents_of_all, hash, refuse_other_server, rows, run_program,
};
use crate::{
    arguments::RestoreArguments,
    configuration::Configuration,
    connection::{blocking, start_embedded},
    exit::{ExitCode, Failure},
    output::{count, print, print_json},
};

/// The database that is filled, and what the former one is called until it is dropped.
const RESTORING: &str = "panopticon_restoring";
const FORMER: &str = "panopticon_before_restore";

/// Every cluster has it; we connect to it to rename others.
const MAINTENANCE: &str = "postgres";

/// Tables that an error lists.
const LISTED: usize = 5;

/// More connections would only wait for each other.
const MAX_JOBS: usize = 4;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &RestoreArguments,
) -> Result<ExitCode, Failure> {
    refuse_other_server(configuration, "restore")?;
    let manifest = Manifest::read(&arguments.folder).map_err(Failure::usage)?;
    check(&arguments.folder, &manifest).await?;
    let server = start_embedded(configuration).await?;
    let restored = Restoring { server: &server, manifest: &manifest, arguments }.run().await;
    blocking(move || server.release()).await?;
    let Outcome { differences, replaced } = restored?;
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
    async fn run(&self) -> Result<Outcome, Failure> {
        let maintenance = Database::connect(&self.server.url_of(MAINTENANCE)).await?;
        let outcome = self.restore(&maintenance).await;
        maintenance.close().await;
        outcome
    }

    async fn restore(&self, maintenance: &Database) -> Result<Outcome, Failure> {
        let replaced = self.refuse_rows().await?;
        refuse_clients(maintenance).await?;
        maintenance.recreate_database(RESTORING).await?;
        let differences = match self.fill().await {
            Ok(differences) if differences.is_empty() => differences,
            failed => {
                maintenance.drop_database(RESTORING).await?;
                return failed.map(|differences| Outcome { differences, replaced: false });
            }
        };
        // Others may have come meanwhile; the renaming would wait for them and fail.
        if let Err(failure) = refuse_clients(maintenance).await {
            maintenance.drop_database(RESTORING).await?;
            return Err(failure);
        }
        // Left by a restore that was killed after its exchange.
        maintenance.drop_database(FORMER).await?;
        maintenance.exchange_databases(RESTORING, DATABASE, FORMER).await?;
        maintenance.drop_database(FORMER).await?;
        Ok(Outcome { differences, replaced })
    }

    /// Whether the current database has rows, which are refused unless they may be replaced.
    async fn refuse_rows(&self) -> Result<bool, Failure> {
        let current = Database::connect(&self.server.url()).await?;
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
    async fn fill(&self) -> Result<Vec<String>, Failure> {
        let dump = self.arguments.folder.join(DUMP);
        let list = self.list(&dump).await?;
        let jobs = thread::available_parallelism().map_or(1, usize::from).min(MAX_JOBS);
        let mut pg_restore = self.server.client("pg_restore", Role::Owner, RESTORING)?;
        pg_restore
            .args(["--exit-on-error", "--no-owner", "--no-privileges", "--no-password"])
            .arg(format!("--jobs={jobs}"))
            .arg(format!("--dbname={RESTORING}"))
            .arg("--use-list")
            .arg(list.path())
            .arg(&dump);
        run_program(pg_restore, "pg_restore").await?;
        let restored = Database::connect(&self.server.url_of(RESTORING)).await?;
        let found = contents(&restored).await;
        restored.close().await;
        Ok(differences(&self.manifest.tables, found?))
    }

    /// What to restore of `dump`, for `pg_restore --use-list`: all but the extension that every new database has, which
    /// belongs to the superuser.
    async fn list(&self, dump: &Path) -> Result<NamedTempFile, Failure> {
        let mut pg_restore = self.server.client("pg_restore", Role::Owner, RESTORING)?;
        pg_restore.arg("--list").arg(dump);
        let entries = run_program(pg_restore, "pg_restore").await?;
        let mut list = NamedTempFile::new().context("failed to create a temporary file")?;
        for line in entries.lines().filter(|line| !is_of_pgvector(line)) {
            writeln!(list, "{line}").context("failed to write a temporary file")?;
        }
        Ok(list)
    }
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

async fn refuse_clients(maintenance: &Database) -> Result<(), Failure> {
    match maintenance.clients_of(DATABASE).await? {
        0 => Ok(()),
        clients => Err(Failure::refused(anyhow!(
            "{} to the embedded database: stop `panopticon serve` and other programs that use it, then run again",
            if clients == 1 {
                "a client is connected".to_owned()
            } else {
                format!("{clients} clients are connected")
            }
        ))),
    }
}

/// Whether `line` of `pg_restore --list` is the extension or its comment: `2; 3079 16385 EXTENSION - vector `.
fn is_of_pgvector(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().skip(3).collect();
    matches!(words[..], ["EXTENSION", "-", "vector", ..] | ["COMMENT", "-", "EXTENSION", "vector", ..])
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
    fn extension_of_every_database_is_not_restored() {
        for (line, expected) in [
            ("2; 3079 16385 EXTENSION - vector ", true),
            ("4012; 0 0 COMMENT - EXTENSION vector ", true),
            ("3; 3079 16999 EXTENSION - pg_trgm ", false),
            ("4013; 0 0 COMMENT - EXTENSION pg_trgm ", false),
            ("220; 1259 17001 TABLE public EXTENSION panopticon", false),
            ("221; 1259 17002 TABLE public vector panopticon", false),
            ("4020; 0 17002 TABLE DATA public queries panopticon", false),
            ("; Archive created at 2026-11-29", false),
            ("", false),
        ] {
            assert_eq!(is_of_pgvector(line), expected, "{line}");
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
