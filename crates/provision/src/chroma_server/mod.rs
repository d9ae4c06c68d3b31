//! A Chroma server of our own on a persist directory: `chroma run`, as whoever installed Chroma has it.
//!
//! The server is a child that is started again when it dies and that dies with us, however we end. Who uses the
//! directory holds a lock on a file in it, and the child holds it as well: as its standard input. So a directory has
//! one server at a time, also when we are killed and the next of us is faster than the child's end.
//!
//! Chroma migrates a directory that an older one wrote when it opens it, and there is no way back. That happens with
//! consent alone: see [`version`].

mod child;
mod error;
mod parent;
mod version;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use records::{Unfinished, lock::Mutex};
use rustix::fs::OFlags;

pub use error::ChromaError;
pub use parent::{RUN_WITH_PARENT, run_with_parent};

use self::child::Watch;

/// Held while a server of ours may write to the directory.
const LOCK: &str = "panopticon.lock";

/// The end of a child whose parent was killed takes no longer.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What may be done to a directory that another version of Chroma wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nothing: it is left alone.
    Refused,
    /// It may be opened, which rewrites it for good.
    Given,
}

/// The program `chroma`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChromaProgram {
    path: PathBuf,
    launcher: PathBuf,
}

/// A running server. It is stopped when the value is dropped.
#[derive(Debug)]
pub struct OwnChroma {
    port: u16,
    _watch: Watch,
    /// The end of the process waits until the server is stopped.
    _unfinished: Unfinished,
}

/// The servers of one process: one for each directory, however many use it.
#[derive(Debug, Default)]
pub struct OwnChromas {
    /// By directory; those that somebody uses.
    running: Mutex<HashMap<PathBuf, Weak<OwnChroma>>>,
}

impl ChromaProgram {
    /// Looks for `chroma` in the folders of `search_path`, a `PATH`. `launcher` is a program that passes what follows
    /// the argument [`RUN_WITH_PARENT`] to [`run_with_parent`].
    ///
    /// # Errors
    /// [`ChromaError::NotInstalled`] when it is in none.
    pub fn find(search_path: &OsStr, launcher: impl Into<PathBuf>) -> Result<Self, ChromaError> {
        let mut found = std::env::split_paths(search_path).map(|folder| folder.join("chroma"));
        let path = found.find(|path| path.is_file()).ok_or(ChromaError::NotInstalled)?;
        Ok(Self::at(path, launcher))
    }

    /// Takes the program at `path` for it.
    pub fn at(path: impl Into<PathBuf>, launcher: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), launcher: launcher.into() }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl OwnChromas {
    /// Uses the server on `directory`: the one that runs, or a new one. Returns when it answers. A directory that
    /// does not exist is made.
    ///
    /// # Errors
    /// When the directory cannot be used or is another's, `program` cannot run, the directory is another version's
    /// and there is no consent, or the server does not start.
    pub fn start(
        &self,
        program: &ChromaProgram,
        directory: &Path,
        consent: Consent,
    ) -> Result<Arc<OwnChroma>, ChromaError> {
        let file_error = |verb| move |source| ChromaError::File { verb, path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(file_error("create"))?;
        let directory = directory.canonicalize().map_err(file_error("find"))?;
        // Held while a server starts, so that nobody starts a second one beside it.
        let mut running = self.running.lock();
        if let Some(server) = running.get(&directory).and_then(Weak::upgrade) {
            return Ok(server);
        }
        let server = Arc::new(OwnChroma::start(program, &directory, consent)?);
        running.insert(directory, Arc::downgrade(&server));
        Ok(server)
    }
}

impl OwnChroma {
    fn start(program: &ChromaProgram, directory: &Path, consent: Consent) -> Result<Self, ChromaError> {
        let lock = lock(directory)?;
        let version = version::of_program(program)?;
        version::check(directory, &version, consent)?;
        let watch = Watch::start(program, directory, lock)?;
        version::note(directory, &version)?;
        Ok(Self { port: watch.port(), _watch: watch, _unfinished: Unfinished::begin() })
    }

    /// Where it listens: `http://127.0.0.1:<port>`, as long as it runs. While it is started again after it died,
    /// nothing listens there.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn lock(directory: &Path) -> Result<File, ChromaError> {
    let path = directory.join(LOCK);
    let failed = |source| ChromaError::File { verb: "lock", path: path.clone(), source };
    // Whoever can open a lock file can hold the lock; and the directory may be another account's, who can put links there.
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = options.custom_flags(flags.bits().cast_signed()).open(&path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("it is not a regular file: remove it")));
    }
    let end = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if Instant::now() > end => {
                return Err(ChromaError::InUse { directory: directory.to_owned() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
        }
    }
}
