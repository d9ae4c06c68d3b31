//! Opens `chroma.sqlite3` for one consistent read that writes nothing beside it (FORMAT §11).
//!
//! 1. A database in rollback mode is opened read-only and a read transaction begun, which holds SQLite's shared
//!    lock: a writer may go on, its commit waits until we are done.
//! 2. A journal whose writer died must be rolled back first. SQLite tells it from the journal of a live writer
//!    and refuses with `SQLITE_READONLY`; then database and journal are copied to a private directory and SQLite
//!    recovers the copy.
//! 3. In WAL mode even a reader creates `-shm` and `-wal` files, so such a database is always copied.
//!
//! `immutable=1` is never used: it returns uncommitted pages. POSIX locks belong to the process, so closing any
//! descriptor of the database file gives up the lock of point 1; opening one directory twice in a process at
//! once is therefore safe only while nobody writes.

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

/// A commit of Chroma's takes milliseconds; beyond this the lock is stuck.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Copies that a live writer may spoil before we give up.
const COPY_ATTEMPTS: u32 = 3;

/// What a journal ends in if it belongs to a transaction over several databases (pager.c, `readSuperJournal`).
/// Before it stands the path of a file that SQLite opens, and removes once nobody needs it: any file of ours.
/// Chroma attaches no database, so its journals have none.
const SUPER_JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Steps of SQLite's machine between two looks at [`Steps`].
const STEPS_PER_LOOK: u16 = 10_000;

/// Steps that an operation may take for each byte of the database. Reading takes a few: some thirty for a row of
/// twenty bytes or more, which is passed some times.
const STEPS_PER_BYTE: u64 = 64;

/// Steps beyond that, which the smallest database needs; SQLite takes them in a tenth of a second.
const LEAST_STEPS: u64 = 16 << 20;

/// The file that every directory since Chroma 0.4 has.
pub(crate) const DATABASE: &str = "chroma.sqlite3";

/// The database under a read transaction.
pub(crate) struct Snapshot {
    // Declared before the copy it reads, so that it is closed before the copy is removed.
    pub(crate) connection: Connection,
    pub(crate) schema: Schema,
    /// The database in the persist directory, for errors.
    pub(crate) path: PathBuf,
    /// What is left to the operation that runs.
    steps: Steps,
    /// Keeps a private copy alive.
    private_copy: Option<PrivateCopy>,
}

/// Bounds what SQLite does, by the bytes that the file system stores of the database, holes left out. Pages that
/// lead to each other in circles can be read for ever, and a page is small.
struct Steps {
    stored_bytes: u64,
    left: Arc<AtomicU64>,
}

/// How many rows a table may have.
pub(crate) struct RowLimit(u64);

impl Steps {
    fn new(stored_bytes: u64) -> Self {
        let steps = Self { stored_bytes, left: Arc::default() };
        steps.renew();
        steps
    }

    fn renew(&self) {
        let steps = self.stored_bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(LEAST_STEPS);
        self.left.store(steps, Ordering::Relaxed);
    }

    /// Makes SQLite break off when no step is left, and refuse values that the file cannot hold.
    fn bound(&self, connection: &Connection) -> rusqlite::Result<()> {
        // A writer may have added to the file since it was looked at.
        let length = self.stored_bytes.saturating_mul(2).saturating_add(16 << 20);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(length).unwrap_or(i32::MAX))?;
        let left = Arc::clone(&self.left);
        let has_ended = move || {
            let rest = left.load(Ordering::Relaxed).checked_sub(u64::from(STEPS_PER_LOOK));
            left.store(rest.unwrap_or(0), Ordering::Relaxed);
            rest.is_none()
        };
        connection.progress_handler(i32::from(STEPS_PER_LOOK), Some(has_ended))
    }
}

impl RowLimit {
    /// Counts one more row; an error if a table of so many cannot be in the file.
    pub(crate) fn count(&mut self) -> rusqlite::Result<()> {
        self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| corrupt("expected a row for each four bytes at the most, found more"))?;
        Ok(())
    }
}

/// The error of a database whose pages contradict each other.
pub(crate) fn corrupt(message: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(message.to_owned()))
}

impl Snapshot {
    /// Opens the database of `directory`, a canonical path.
    pub(crate) fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(DATABASE);
        is_there(&path)?;
        is_there(&sidecar(&path, "-journal"))?;
        let has_wal = is_there(&sidecar(&path, "-wal"))?;
        // Before SQLite takes its lock, which closing the file would give up.
        let (journal_mode, stored_bytes) = read_header(&path)?;
        let is_wal = journal_mode == JournalMode::Wal || has_wal;
        let mut steps = Steps::new(stored_bytes);
        let (connection, private_copy) = if is_wal {
            open_copy(&path, &mut steps)?
        } else {
            // Equivalent to `file:…?mode=ro`; as a path, it needs no escaping of `?`, `#` and `%`.
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
        let oddity = statements::oddity(&connection, &schema).map_err(sqlite_error(&path, "the schema"))?;
        if let Some(found) = oddity {
            return Err(Error::OddSchema { found, path });
        }
        Ok(Self { connection, schema, path, steps, private_copy })
    }

    /// Begins an operation, which may take as many steps as the size of the database justifies.
    pub(crate) fn begin_operation(&self) {
        self.steps.renew();
    }

    /// How many rows any table may have: each takes more than four bytes.
    pub(crate) fn row_limit(&self) -> RowLimit {
        RowLimit(self.steps.stored_bytes / 4 + 4096)
    }

    /// Whether the database was copied, which happens when its last writer did not end well.
    pub(crate) fn is_private_copy(&self) -> bool {
        self.private_copy.is_some()
    }

    /// Turns SQLite's error into ours: `subject` was being read.
    pub(crate) fn error(&self, subject: &'static str) -> impl Fn(rusqlite::Error) -> Error {
        sqlite_error(&self.path, subject)
    }
}

fn sqlite_error(path: &Path, subject: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |source| {
        let source = match source {
            rusqlite::Error::SqliteFailure(error, _) if error.code == ErrorCode::OperationInterrupted => {
                corrupt("expected an end within the steps that its size justifies, found none")
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

/// Reads what the first bytes of the file say (sqlite.org/fileformat2.html, "The Database Header"), and how many
/// bytes are stored of it.
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

/// Whether there is a file. A directory from elsewhere may hold a link to any file of ours, or a pipe that never
/// yields a byte: an error, as is a file that we are not let see.
fn is_there(path: &Path) -> Result<bool, Error> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::NotRegularFile { path: path.to_owned() }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Io { operation: "look at", path: path.to_owned(), source }),
    }
}

/// Opens a file for reading, if it is one: it may have become a link since it was looked at.
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

/// Opens a database and takes the lock that fixes what is read.
fn begin(path: &Path, access: OpenFlags, steps: &Steps) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    steps.bound(&connection)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The schema comes from the file: let it run nothing, and distrust the pages.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch("pragma cell_size_check = on; pragma temp_store = memory; begin")?;
    connection.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// A folder with a copy, which is removed again. The end of the process waits for that.
struct PrivateCopy {
    _folder: TempDir,
    _unfinished: Unfinished,
}

/// Copies the database and lets SQLite recover the copy, which may bring what lies beside it.
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
            refuse_super_journal(&sidecar(&copy, "-journal"), &sidecar(path, "-journal"))?;
            *steps = Steps::new(copied_bytes);
            let connection = begin(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE, steps)
                .map_err(sqlite_error(path, "a copy of the schema"))?;
            let copy = PrivateCopy { _folder: temporary, _unfinished: unfinished };
            return Ok((connection, Some(copy)));
        }
    }
    Err(Error::CopyUnstable { path: path.to_owned(), attempts: COPY_ATTEMPTS })
}

/// The database and what SQLite may have beside it. `-shm` is rebuilt from `-wal`.
const SIDECARS: [&str; 3] = ["", "-journal", "-wal"];

fn stamps(path: &Path) -> [Option<(u64, Option<SystemTime>)>; 3] {
    SIDECARS.map(|suffix| {
        let metadata = sidecar(path, suffix).metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    })
}

/// Copies what the file system stores and leaves holes as they are: a sparse file may claim terabytes. Returns the
/// path of the copy, and how many bytes were copied.
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
                // One from an earlier attempt must not outlive its original.
                if to.exists() {
                    fs::remove_file(&to).map_err(|source| io_error("remove", &to, source))?;
                }
                continue;
            }
            Err(source) => return Err(io_error("read", &from, source)),
        };
        // Not `fs::copy`, which would make the copy of a read-only file unwritable.
        let mut target = File::create(&to).map_err(|source| io_error("create", &to, source))?;
        let bytes = extents::copy(&source, &mut target).map_err(|source| io_error("copy", &from, source))?;
        copied_bytes = copied_bytes.saturating_add(bytes);
    }
    Ok((copy, copied_bytes))
}

/// Refuses a journal that names a file: `copy` is of `original`.
fn refuse_super_journal(copy: &Path, original: &Path) -> Result<(), Error> {
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
