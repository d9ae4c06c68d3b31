//! Opens `chroma.sqlite3` for one consistent read, without writing next to it (FORMAT §11).
//!
//! 1. A database in rollback mode is opened read-only with a read transaction, which holds SQLite's shared lock: a
//!    writer can continue, but its commit waits until the read ends.
//! 2. The journal of a crashed writer must be rolled back first. SQLite distinguishes it from the journal of a live
//!    writer and fails with `SQLITE_READONLY`; then database and journal are copied to a private directory and SQLite
//!    recovers the copy.
//! 3. In WAL mode even a reader creates `-shm` and `-wal` files, so such a database is always copied.
//!
//! `immutable=1` is never used: it returns uncommitted pages. POSIX locks belong to the process, so closing any
//! descriptor of the database file releases the lock of point 1. Opening a directory twice at the same time in one
//! process is therefore safe only without a writer.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use records::Unfinished;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, ffi, limits::Limit};
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use super::{schema::Schema, statements};
use crate::{error::Error, extents};

/// A commit of Chroma takes milliseconds; after this time the lock is considered stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a copy is retried because of a live writer.
const COPY_ATTEMPTS: u32 = 3;

/// The end of a journal that belongs to a transaction over several databases (pager.c, `readSuperJournal`). It follows
/// the path of a file that SQLite opens, and removes if no journal refers to it: this could be any file of ours.
/// Chroma attaches no databases, so its journals have none.
const SUPER_JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Instructions of SQLite's virtual machine between two checks of [`Steps`].
const STEPS_PER_CHECK: u16 = 10_000;

/// Instructions that an operation may execute for each byte of the database. Reading takes a few: about thirty per pass
/// over a row, which has at least twenty bytes.
const STEPS_PER_BYTE: u64 = 64;

/// Additional instructions, for the smallest databases; SQLite executes them in a tenth of a second.
const MIN_STEPS: u64 = 16 << 20;

/// The database file of every directory since Chroma 0.4.
pub(crate) const DATABASE: &str = "chroma.sqlite3";

/// The database within a read transaction.
pub(crate) struct Snapshot {
    // Declared before the private copy, so that it is closed before the copy is removed.
    pub(crate) connection: Connection,
    pub(crate) schema: Schema,
    /// The path in the persist directory, for errors.
    pub(crate) path: PathBuf,
    /// The remaining instructions of the current operation.
    steps: Steps,
    /// Keeps a private copy alive.
    private_copy: Option<PrivateCopy>,
}

/// Limits the work of SQLite in proportion to the stored bytes of the database, without holes. Pages that link to each
/// other in a cycle would otherwise be read endlessly.
struct Steps {
    stored_bytes: u64,
    left: Arc<AtomicU64>,
}

/// The maximum number of rows of a table.
pub(crate) struct RowLimit(u64);

impl Steps {
    fn new(stored_bytes: u64) -> Self {
        let steps = Self { stored_bytes, left: Arc::default() };
        steps.renew();
        steps
    }

    fn renew(&self) {
        let steps = self.stored_bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(MIN_STEPS);
        self.left.store(steps, Ordering::Relaxed);
    }

    /// Makes SQLite stop when no step is left, and reject values that the file cannot contain.
    fn bound(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A writer may have extended the file since its size was read.
        let length = self.stored_bytes.saturating_mul(2).saturating_add(16 << 20);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(length).unwrap_or(i32::MAX))?;
        let left = Arc::clone(&self.left);
        let has_ended = move || {
            let rest = left.load(Ordering::Relaxed).checked_sub(u64::from(STEPS_PER_CHECK));
            left.store(rest.unwrap_or(0), Ordering::Relaxed);
            rest.is_none()
        };
        connection.progress_handler(i32::from(STEPS_PER_CHECK), Some(has_ended))
    }
}

impl RowLimit {
    /// Counts one more row; fails if the file cannot contain as many.
    pub(crate) fn count(&mut self) -> rusqlite::Result<()> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| corrupt("expected at most one row per four bytes of the file, found more"))?;
        Ok(())
    }
}

/// The error for a corrupt database.
pub(crate) fn corrupt(message: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(message.to_owned()))
}

impl Snapshot {
    /// Opens the database of `directory`, a canonical path.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(DATABASE);
        file_exists(&path)?;
        file_exists(&sidecar(&path, "-journal"))?;
        let has_wal = file_exists(&sidecar(&path, "-wal"))?;
        // Before SQLite takes its lock, which closing the file would release.
        let (journal_mode, stored_bytes) = read_header(&path)?;
        let is_wal = journal_mode == JournalMode::Wal || has_wal;
        let mut steps = Steps::new(stored_bytes);
        let (connection, private_copy) = if is_wal {
            open_copy(&path, &mut steps)?
        } else {
            // Equivalent to `file:…?mode=ro`; a path needs no escaping of `?`, `#` and `%`.
            match begin(&path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW, &steps) {
                Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::ReadOnly => {
                    open_copy(&path, &mut steps)?
                }
                result => (result.map_err(sqlite_error(&path, "the schema"))?, None),
            }
        };
        let schema = Schema::inspect(&connection).map_err(sqlite_error(&path, "the schema"))?;
        if let Some(missing) = schema.missing() {
            return Err(Error::MissingSchema { missing, path });
        }
        let unexpected_step =
            statements::unexpected_step(&connection, &schema).map_err(sqlite_error(&path, "the schema"))?;
        if let Some(found) = unexpected_step {
            return Err(Error::UnexpectedSchema { found, path });
        }
        Ok(Self { connection, schema, path, steps, private_copy })
    }

    /// Starts an operation with a number of steps in proportion to the size of the database.
    pub(crate) fn begin_operation(&self) {
        self.steps.renew();
    }

    /// The maximum number of rows of any table: each takes more than four bytes.
    pub(crate) fn row_limit(&self) -> RowLimit {
        RowLimit(self.steps.stored_bytes / 4 + 4096)
    }

    /// Whether the database was copied, because of a crashed writer or WAL mode.
    pub(crate) fn is_private_copy(&self) -> bool {
        self.private_copy.is_some()
    }

    /// Converts an SQLite error; `subject` is what was being read.
    pub(crate) fn error(&self, subject: &'static str) -> impl Fn(rusqlite::Error) -> Error {
        sqlite_error(&self.path, subject)
    }
}

fn sqlite_error(path: &Path, subject: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| {
        let source = match source {
            rusqlite::Error::SqliteFailure(error, _) if error.code == ErrorCode::OperationInterrupted => {
                corrupt("expected a number of steps in proportion to the size of the file, found more")
            }
            source => source,
        };
        Error::Sqlite { subject, path: path.to_owned(), source }
    }
}

#[derive(PartialEq)]
enum JournalMode {
    Rollback,
    Wal,
}

/// Reads the journal mode from the file header (sqlite.org/fileformat2.html, "The Database Header"), and the number of
/// stored bytes.
fn read_header(path: &Path) -> Result<(JournalMode, u64), Error> {
    let io_error = |source| Error::Io { operation: "read", path: path.to_owned(), source };
    let file = open(path).map_err(io_error)?;
    let stored_bytes = extents::stored_bytes(&file).map_err(io_error)?;
    let mut header = Vec::new();
    (&file).take(100).read_to_end(&mut header).map_err(io_error)?;
    let not_sqlite = |found| Err(Error::NotSqlite { path: path.to_owned(), found });
    match header.get(18..20) {
        _ if header.is_empty() => not_sqlite("an empty file"),
        _ if !header.starts_with(b"SQLite format 3\0") => not_sqlite("other bytes"),
        // Write and read version: 2 is WAL.
        Some([1, 1]) => Ok((JournalMode::Rollback, stored_bytes)),
        Some(_) => Ok((JournalMode::Wal, stored_bytes)),
        None => not_sqlite("less than its header"),
    }
}

/// Whether the file exists. A link (possibly to a file outside), a pipe (which may block) and an inaccessible file are
/// errors.
fn file_exists(path: &Path) -> Result<bool, Error> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::NotRegularFile { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io { operation: "look at", path: path.to_owned(), source }),
    }
}

/// Opens a regular file for reading: it may have become a link since it was checked.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "expected a regular file, found another kind")),
    }
}

fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens a database and takes the lock of the snapshot.
fn begin(path: &Path, access: OpenFlags, steps: &Steps) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    steps.bound(&connection)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The schema comes from an untrusted file: disable code execution, and verify pages.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch("pragma cell_size_check = on; pragma temp_store = memory; begin")?;
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// A directory with a copy, removed on drop. The exit of the process waits for that.
struct PrivateCopy {
    _folder: TempDir,
    _unfinished: Unfinished,
}

/// Copies the database and lets SQLite recover the copy from the journals next to it.
fn open_copy(path: &Path, steps: &mut Steps) -> Result<(Connection, Option<PrivateCopy>), Error> {
    let unfinished = Unfinished::begin();
    let temporary = TempDir::new();
    let temporary = temporary.map_err(|source| Error::Io {
        operation: "create a directory in",
        path: std::env::temp_dir(),
        source,
    })?;
    for _ in 0..COPY_ATTEMPTS {
        let before = stamps(path);
        let (copy, copied_bytes) = copy_with_sidecars(path, temporary.path())?;
        if stamps(path) == before {
            reject_super_journal(&sidecar(&copy, "-journal"), &sidecar(path, "-journal"))?;
            *steps = Steps::new(copied_bytes);
            let connection = begin(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE, steps)
                .map_err(sqlite_error(path, "a copy of the schema"))?;
            let copy = PrivateCopy { _folder: temporary, _unfinished: unfinished };
            return Ok((connection, Some(copy)));
        }
    }
    Err(Error::CopyUnstable { path: path.to_owned(), attempts: COPY_ATTEMPTS })
}

/// The database and SQLite's files next to it. `-shm` is rebuilt from `-wal`.
const SIDECARS: [&str; 3] = ["", "-journal", "-wal"];

fn stamps(path: &Path) -> [Option<(u64, Option<SystemTime>)>; 3] {
    SIDECARS.map(|suffix| {
        let metadata = sidecar(path, suffix).metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    })
}

/// Copies the stored bytes and keeps holes: a sparse file may have a size of terabytes. Returns the path of the copy,
/// and the number of copied bytes.
fn copy_with_sidecars(path: &Path, to: &Path) -> Result<(PathBuf, u64), Error> {
    let copy = to.join(DATABASE);
    let mut copied_bytes = 0_u64;
    for suffix in SIDECARS {
        let (from, to) = (sidecar(path, suffix), sidecar(&copy, suffix));
        let io_error =
            |operation, path: &Path, source| Error::Io { operation, path: path.to_owned(), source };
        let source = match open(&from) {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::NotFound && !suffix.is_empty() => {
                // A file of an earlier attempt must be removed with its original.
                if to.exists() {
                    fs::remove_file(&to).map_err(|source| io_error("remove", &to, source))?;
                }
                continue;
            }
            Err(source) => return Err(io_error("read", &from, source)),
        };
        // Not `fs::copy`, which would make the copy of a read-only file read-only.
        let mut target = File::create(&to).map_err(|source| io_error("create", &to, source))?;
        let bytes = extents::copy(&source, &mut target).map_err(|source| io_error("copy", &from, source))?;
        copied_bytes = copied_bytes.saturating_add(bytes);
    }
    Ok((copy, copied_bytes))
}

/// Rejects a journal that names a file; `copy` is the copy of `original`.
fn reject_super_journal(copy: &Path, original: &Path) -> Result<(), Error> {
    let io_error = |source| Error::Io { operation: "read", path: original.to_owned(), source };
    let file = match File::open(copy) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error(source)),
    };
    let Some(offset) = file.metadata().map_err(io_error)?.len().checked_sub(8) else { return Ok(()) };
    let mut end = [0; 8];
    file.read_exact_at(&mut end, offset).map_err(io_error)?;
    if end == SUPER_JOURNAL_MAGIC {
        Err(Error::SuperJournal { path: original.to_owned(), offset })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_pipes_that_took_the_place_of_a_file_are_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| folder.path().join(name));
        fs::write(&file, "x").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR).expect("a pipe");
        assert!(open(&file).is_ok());
        assert_eq!(
            open(&link).expect_err("a link").raw_os_error(),
            Some(rustix::io::Errno::LOOP.raw_os_error())
        );
        assert_eq!(open(&pipe).expect_err("a pipe").kind(), ErrorKind::InvalidInput);
    }
}
