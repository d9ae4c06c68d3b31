//! `panopticon backup`: a consistent copy of the embedded server's database, made while it is in use.
//!
//! A logical dump, by `pg_dump` of the server's own installation, and not a copy of the cluster by `pg_basebackup`: it
//! needs no superuser, contains no role and no password, and can be restored with another major version of PostgreSQL and
//! on another architecture. Its contents are those of one snapshot, in which each table is also counted and hashed;
//! `restore` compares that with what it has restored.

mod manifest;

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, anyhow};
use provision::{Role, Server, postgres::DATABASE};
use records::{Service, cut_short};
use sha2::{Digest as _, Sha256};
use store::{
    postgres::{Database, Snapshot, StoredTable, TableContents},
    storage::StorageKind,
};
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use self::manifest::open_regular;
pub(super) use self::manifest::{DUMP, MANIFEST, Manifest};
use crate::{
    arguments::BackupArguments,
    configuration::Configuration,
    connection::{Connection, DEMO_DATABASE, FORMER_DATABASE, RESTORING_DATABASE, has_embedded_cluster},
    exit::{ExitCode, Failure},
    interrupt::run_interruptibly,
    output::{count, grouped, print, print_json, size_text},
    settings::table::{DATABASE_URL, PANOPTICON_DATA_DIR, storage_type},
};

/// Characters of a program's messages that an error repeats.
const MESSAGE_CHARACTERS: usize = 2_000;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 1 << 20;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &BackupArguments,
) -> Result<ExitCode, Failure> {
    refuse_other_server(configuration, "backup")?;
    if !has_embedded_cluster(configuration)? {
        return Err(Failure::usage(anyhow!(
            "there is no embedded server to back up in `{}`: set {PANOPTICON_DATA_DIR} to the folder that has it",
            configuration.data_dir()?.path().display()
        )));
    }
    let partial = Partial::create(&arguments.folder)?;
    let connection = Connection::open(configuration).await?;
    let server = connection.server().expect("without a URL, the database is on the embedded server");
    let written = write(server, &connection.database, partial.path()).await;
    let others = connection.database.other_databases().await;
    connection.close().await?;
    let manifest = written?;
    partial.complete()?;
    report(configuration, arguments, &manifest)?;
    let is_ours =
        |name: &&String| [DEMO_DATABASE, RESTORING_DATABASE, FORMER_DATABASE].contains(&name.as_str());
    for name in others?.iter().filter(|name| !is_ours(name)) {
        tracing::warn!(
            "database `{name}` of the embedded server is not in the backup, which has `{DATABASE}`"
        );
    }
    Ok(ExitCode::Complete)
}

fn report(
    configuration: &Configuration,
    arguments: &BackupArguments,
    manifest: &Manifest,
) -> Result<(), Failure> {
    for service in Service::ALL {
        let variable = storage_type(service);
        if configuration.get(variable).map_err(Failure::usage)? == StorageKind::Chroma {
            tracing::warn!("{variable} is `chroma`: those records are not in the backup");
        }
    }
    if arguments.json {
        print_json(&manifest.to_json())?;
    } else {
        print(&format!(
            "backed up {} with {} to {}: {}, schema {}; without role passwords and .env",
            count(manifest.tables.len() as u64, "table"),
            rows(manifest),
            arguments.folder.display(),
            size_text(manifest.dump_bytes),
            manifest.schema_version.map_or_else(|| "none".to_owned(), |version| version.to_string()),
        ))?;
    }
    Ok(())
}

/// The number of rows in a backup: `2,000 rows`.
pub(super) fn rows(manifest: &Manifest) -> String {
    match manifest.rows() {
        1 => "1 row".to_owned(),
        number => format!("{} rows", grouped(number)),
    }
}

/// Refuses a database that is not on the embedded server.
pub(super) fn refuse_other_server(configuration: &Configuration, command: &str) -> Result<(), Failure> {
    match configuration.text(&DATABASE_URL)? {
        Some(_) => Err(Failure::usage(anyhow!(
            "`panopticon {command}` is for the embedded server, and {DATABASE_URL} names another: unset it, or use pg_dump and pg_restore with that server"
        ))),
        None => configuration.refuse_uncertain_default(&DATABASE_URL),
    }
}

/// A folder with a temporary name, which is removed unless it becomes the backup.
struct Partial {
    scratch: TempDir,
    folder: PathBuf,
}

impl Partial {
    /// For a backup in `folder`, which must be new or empty.
    fn create(folder: &Path) -> Result<Self, Failure> {
        folder.file_name().context("expected the name of a new folder").map_err(Failure::usage)?;
        let failed = |error: io::Error| Failure::usage(anyhow!(error)).context(folder.display().to_string());
        match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Self::in_place_of(folder).map_err(|error| {
                Failure::usage(anyhow!(error)).context(format!(
                    "the empty folder `{}` cannot be replaced by the backup: name a new folder in it",
                    folder.display()
                ))
            }),
            Ok(false) => Err(Failure::usage(anyhow!(
                "`{}` is not empty: name a new folder for the backup",
                folder.display()
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_symlink() => {
                Err(Failure::usage(anyhow!(
                    "`{}` is a link to a folder that does not exist: create that, or name a new folder",
                    folder.display()
                )))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { scratch: scratch(folder).map_err(failed)?, folder: folder.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// For a backup in place of `folder`, which is empty. It is replaced by another empty one, so that a mount point or a
    /// parent that cannot be written is noticed now, and not after the work.
    fn in_place_of(folder: &Path) -> io::Result<Self> {
        let folder = fs::canonicalize(folder)?;
        let empty = scratch(&folder)?;
        fs::rename(empty.path(), &folder)?;
        // Discards only the temporary path, which no longer exists, so that it is not removed at the end.
        let _ = empty.keep();
        Ok(Self { scratch: scratch(&folder)?, folder })
    }

    fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Gives the folder its name, once everything in it is on disk.
    fn complete(self) -> anyhow::Result<()> {
        let failed = || format!("failed to complete the backup `{}`", self.folder.display());
        sync(self.scratch.path()).with_context(failed)?;
        fs::rename(self.scratch.path(), &self.folder).with_context(failed)?;
        // Discards only the temporary path, which no longer exists, so that it is not removed at the end.
        let _ = self.scratch.keep();
        sync(parent(&self.folder)).with_context(failed)
    }
}

/// A new folder next to `folder`.
fn scratch(folder: &Path) -> io::Result<TempDir> {
    // Only a root folder has no name; the random part is enough then.
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let only_us = fs::Permissions::from_mode(0o700);
    let mut builder = tempfile::Builder::new();
    builder.prefix(&format!("{name}.partial-")).permissions(only_us).tempdir_in(parent(folder))
}

/// The folder that contains `path`.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until the file or folder is on disk.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes dump and manifest into `folder`.
async fn write(server: &Server, database: &Database, folder: &Path) -> Result<Manifest, Failure> {
    let description = database.describe().await?;
    let mut snapshot = database.snapshot().await?;
    let pgvector_schema = snapshot.pgvector_schema().await?;
    let dump = folder.join(DUMP);
    let mut pg_dump = server.client("pg_dump", Role::Owner, DATABASE)?;
    pg_dump.args(["--format=custom", "--no-password", "--snapshot", snapshot.name(), "--file"]).arg(&dump);
    let ((), tables) = tokio::try_join!(
        async { run_program(pg_dump, "pg_dump").await.map(drop) },
        contents_of_all(&mut snapshot)
    )?;
    snapshot.end().await?;
    // Reads all of it, as a restore does.
    let mut pg_restore = server.client("pg_restore", Role::Owner, DATABASE)?;
    pg_restore.arg("--file=/dev/null").arg(&dump);
    run_program(pg_restore, "pg_restore").await?;
    fs::set_permissions(&dump, fs::Permissions::from_mode(0o600)).context("failed to protect the dump")?;
    let (dump_bytes, dump_sha256) = hash(dump).await?;
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("0 is valid");
    let manifest = Manifest {
        created_at: now.format(&Rfc3339).context("failed to write the time")?,
        panopticon: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: database.session().schema_version,
        postgresql: description.postgresql,
        pgvector_schema,
        dump_bytes,
        dump_sha256,
        tables,
    };
    let write = || -> io::Result<()> {
        let mut file = File::create(folder.join(MANIFEST))?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        writeln!(file, "{:#}", manifest.to_json())?;
        file.sync_all()?;
        sync(&folder.join(DUMP))
    };
    write().context("failed to write the backup")?;
    Ok(manifest)
}

/// The contents of each table of `snapshot`.
pub(super) async fn contents_of_all(
    snapshot: &mut Snapshot,
) -> Result<Vec<(StoredTable, TableContents)>, Failure> {
    let mut contents = Vec::new();
    for table in snapshot.tables().await? {
        let found = snapshot.contents(&table).await?;
        contents.push((table, found));
    }
    Ok(contents)
}

/// Runs `command`, the program `name`, to its end, and returns its output. The program is killed with this future.
pub(super) async fn run_program(command: Command, name: &str) -> Result<String, Failure> {
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("failed to run `{name}`"))?;
    let messages = String::from_utf8_lossy(&output.stderr);
    let messages = cut_short(messages.trim(), MESSAGE_CHARACTERS);
    if !output.status.success() {
        return Err(anyhow!("`{name}` failed ({}): {messages}", output.status).into());
    }
    if !messages.is_empty() {
        tracing::warn!("{name}: {messages}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Length and SHA-256, in hexadecimal digits, of the file at `path`.
pub(super) async fn hash(path: PathBuf) -> Result<(u64, String), Failure> {
    run_interruptibly(move |interrupt| {
        let failed = || format!("failed to read `{}`", path.display());
        let mut file = open_regular(&path).with_context(failed)?;
        let (mut bytes, mut sha256, mut chunk) = (0, Sha256::new(), vec![0; CHUNK_BYTES]);
        loop {
            let read = file.read(&mut chunk).with_context(failed)?;
            if read == 0 || interrupt.is_raised() {
                let digits = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                return Ok((bytes, digits));
            }
            sha256.update(&chunk[..read]);
            bytes += read as u64;
        }
    })
    .await
}
