//! Our own Chroma server on a persist directory: `chroma run` of the installed Chroma.
//!
//! The server is a child process that is restarted when it dies and that ends with this process, even after SIGKILL. Both
//! hold a lock on a file in the directory, the child through its standard input. So a directory has one server at a time,
//! also if this process is killed and the next one starts before the child has ended.
//!
//! When Chroma opens a directory of an older version, it migrates it permanently. That requires consent: see [`version`].

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

/// Locked while one of our servers may write to the directory.
const LOCK: &str = "panopticon.lock";

/// Longer than the end of a child whose parent was killed takes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(15);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// What may be done to a directory that another version of Chroma wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// Nothing: it is not opened.
    Refused,
    /// It may be opened, which rewrites it permanently.
    Given,
}

/// The program `chroma`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChromaProgram {
    path: PathBuf,
    launcher: PathBuf,
}

/// A running server. It is stopped when this value is dropped.
#[derive(Debug)]
pub struct ManagedChroma {
    port: u16,
    _watch: Watch,
    /// The process does not exit before the server is stopped.
    _unfinished: Unfinished,
}

/// The servers of this process, one for each directory.
#[derive(Debug, Default)]
pub struct ManagedChromas {
    /// The servers in use, by directory.
    running: Mutex<HashMap<PathBuf, Weak<ManagedChroma>>>,
}

impl ChromaProgram {
    /// Looks for `chroma` in the folders of `search_path`, a `PATH`. `launcher` is a program that passes what follows
    /// the argument [`RUN_WITH_PARENT`] to [`run_with_parent`].
    ///
    /// # Errors
    /// [`ChromaError::NotInstalled`] when no folder has it.
    pub fn find(search_path: &OsStr, launcher: impl Into<PathBuf>) -> Result<Self, ChromaError> {
        let mut found = std::env::split_paths(search_path).map(|folder| folder.join("chroma"));
        let path = found.find(|path| path.is_file()).ok_or(ChromaError::NotInstalled)?;
        Ok(Self::at(path, launcher))
    }

    /// Uses the program at `path`.
    pub fn at(path: impl Into<PathBuf>, launcher: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), launcher: launcher.into() }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl ManagedChromas {
    /// Returns the running server on `directory`, or starts one and waits until it answers. A missing directory is
    /// created.
    ///
    /// # Errors
    /// When the directory cannot be used or is in use by another process, `program` cannot run, the directory is of another
    /// version and there is no consent, or the server does not start.
    pub fn start(
        &self,
        program: &ChromaProgram,
        directory: &Path,
        consent: Consent,
    ) -> Result<Arc<ManagedChroma>, ChromaError> {
        let file_error = |verb| move |source| ChromaError::File { verb, path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(file_error("create"))?;
        let directory = directory.canonicalize().map_err(file_error("find"))?;
        // Locked while a server starts, so that no second one starts on the directory.
        let mut running = self.running.lock();
        if let Some(server) = running.get(&directory).and_then(Weak::upgrade) {
            return Ok(server);
        }
        let server = Arc::new(ManagedChroma::start(program, &directory, consent)?);
        running.insert(directory, Arc::downgrade(&server));
        Ok(server)
    }
}

impl ManagedChroma {
    fn start(program: &ChromaProgram, directory: &Path, consent: Consent) -> Result<Self, ChromaError> {
        let lock = lock(directory)?;
        let version = version::of_program(program)?;
        version::check(directory, &version, consent)?;
        let watch = Watch::start(program, directory, lock)?;
        version::note(directory, &version)?;
        Ok(Self { port: watch.port(), _watch: watch, _unfinished: Unfinished::begin() })
    }

    /// Its URL, `http://127.0.0.1:<port>`. While the server is being restarted, nothing listens there.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn lock(directory: &Path) -> Result<File, ChromaError> {
    let path = directory.join(LOCK);
    let failed = |source| ChromaError::File { verb: "lock", path: path.clone(), source };
    // Any process that can open a lock file can lock it, and another account may own the directory and put links into it.
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
