//! Errors of the setup. The front end adds remedies that are its own settings.

use std::{io, path::PathBuf, process::ExitStatus};

use records::oldest;

/// A step of the setup failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `HOME` nor a platform default names a folder for data.
    #[error("no home folder to keep data in")]
    NoDataDir,
    /// A file or folder operation failed.
    #[error("failed to {verb} `{}`", path.display())]
    File {
        /// The operation, as a verb: `create`, `read`.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No `pip` to download packages with.
    #[error("failed to download `{package}`: pip was not found on PATH (on Debian: apt install python3-pip)")]
    NoPip {
        /// The package to download.
        package: &'static str,
        /// Its content.
        content: Content,
    },
    /// A child process failed.
    #[error("`{program}` failed ({status}): {output}")]
    Program {
        /// Its name.
        program: String,
        /// Its exit status.
        status: ExitStatus,
        /// The end of its output.
        output: String,
    },
    /// A program could not be started.
    #[error("failed to run `{program}`")]
    Spawn {
        /// Its name.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// A downloaded package is not the pinned one, or is damaged.
    #[error("failed to unpack package `{}`", path.display())]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// Why not.
        source: zip::result::ZipError,
    },
    /// A model file has the wrong content.
    #[error("model file `{}` is damaged: expected SHA-256 {expected}, found {found}; remove its folder and run again", path.display())]
    ModelHash {
        /// The file.
        path: PathBuf,
        /// The pinned hash.
        expected: &'static str,
        /// The hash of the file.
        found: String,
    },
    /// This platform has no packaged PostgreSQL.
    #[error(
        "no packaged PostgreSQL for {os} on {arch}: install PostgreSQL {} or newer with pgvector",
        oldest::POSTGRESQL
    )]
    Platform {
        /// Operating system.
        os: &'static str,
        /// Processor architecture.
        arch: &'static str,
    },
    /// The major version of the cluster is not installed.
    #[error(
        "the data in `{}` belongs to PostgreSQL {found}, which is not installed with pgvector here: install it, or move the data with the programs of that version by `panopticon backup` and `restore`", path.display()
    )]
    ClusterVersion {
        /// The cluster.
        path: PathBuf,
        /// Its major version.
        found: u32,
    },
    /// The cluster that was in use is not there any more.
    #[error("`{}` was moved or replaced while its server was in use: restart this program", path.display())]
    ClusterReplaced {
        /// The cluster.
        path: PathBuf,
    },
    /// The cluster's version cannot be read.
    #[error("expected a PostgreSQL version in `{}`, found `{}`: restore the cluster", path.display(), found.trim())]
    VersionFile {
        /// The file.
        path: PathBuf,
        /// Its content.
        found: String,
    },
    /// A program `postgres` that does not print its version.
    #[error("expected a version from `postgres --version`, found `{}`", found.trim())]
    Version {
        /// Its output.
        found: String,
    },
    /// Started by root, but no unprivileged account to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root and /etc/passwd has neither `postgres` nor `nobody`: start panopticon as an ordinary user"
    )]
    NoAccount,
    /// Started by root, but the data folder is not reachable for the account that runs PostgreSQL.
    #[error(
        "user `{account}`, as which PostgreSQL runs when started by root, cannot reach `{}`", path.display()
    )]
    Unreachable {
        /// The account.
        account: String,
        /// The first ancestor that it cannot enter.
        path: PathBuf,
    },
    /// A file or folder that we use, or a folder or link of its path, belongs to another account.
    #[error("`{}` belongs to user id {owner}, not to {ourselves}, which runs panopticon: run it as that user", path.display())]
    OtherOwner {
        /// The file, folder or link.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user id of this process.
        ourselves: u32,
    },
    /// Other accounts can write a file or folder that we use, or a folder of its path.
    #[error("{writer} can write `{}`, which belongs to user id {owner}: run `chmod go-w` on it once you trust its content", path.display())]
    OthersWrite {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The accounts that can write it.
        writer: String,
    },
    /// Others can write a file of the model in the folder that the user has named, or a folder of its path.
    #[error("{writer} can write `{}`, so the model may have been changed: run `chmod go-w` on it once you trust its content", path.display())]
    ModelWritten {
        /// The file or folder.
        path: PathBuf,
        /// The accounts that can write it.
        writer: String,
    },
    /// A link, pipe, socket or device is in place of one of our files.
    #[error("`{}` is not a regular file and belongs to user id {owner}: remove it", path.display())]
    NotRegularFile {
        /// Its path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// The data folder, or one in it, is not a folder.
    #[error("`{}` is not a folder: remove it", path.display())]
    NotFolder {
        /// Its path.
        path: PathBuf,
    },
    /// Other accounts can enter or replace the folder for the server's socket.
    #[error("the server's socket needs a private folder, and `{}` can be entered or replaced by others: remove it", path.display())]
    SocketFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A process of an earlier version uses the server.
    #[error("an earlier version of panopticon uses the embedded PostgreSQL in `{}`: stop it, then run this command again", path.display())]
    EarlierVersion {
        /// The folder of the server.
        path: PathBuf,
    },
    /// The server did not start.
    #[error("the embedded PostgreSQL did not start; the end of its log `{}`: {tail}", log.display())]
    Start {
        /// Its log file.
        log: PathBuf,
        /// Its last lines.
        tail: String,
        /// The error of `pg_ctl`.
        source: Box<Error>,
    },
    /// `postmaster.pid` of a running server lacks its port.
    #[error("failed to read the port of the running server from `{}`", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
    },
}

/// The content of a package, which decides the remedy without pip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The embedding model.
    Model,
    /// PostgreSQL with pgvector.
    PostgreSql,
    /// Something else.
    Other,
}

/// Names the operation and the path of a file error.
pub(crate) trait FileContext<T> {
    /// Wraps the error as [`Error::File`].
    fn during(self, verb: &'static str, path: impl Into<PathBuf>) -> Result<T, Error>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn during(self, verb: &'static str, path: impl Into<PathBuf>) -> Result<T, Error> {
        self.map_err(|source| Error::File { verb, path: path.into(), source })
    }
}
