//! Errors of our own Chroma servers, each with its remedy in the message.

use std::{io, path::PathBuf};

/// One of our Chroma servers cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ChromaError {
    /// The program `chroma` was not found.
    #[error(
        "no program `chroma` on PATH: install it with `pip install chromadb`, or give the URL of a server"
    )]
    NotInstalled,
    /// It cannot be run.
    #[error("failed to run `{}`", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file or folder operation failed.
    #[error("failed to {verb} `{}`", path.display())]
    File {
        /// The operation, as a verb.
        verb: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another Panopticon process serves the directory.
    #[error(
        "`{}` is served by another panopticon: stop that one, or run one Chroma server and give both its URL", directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory cannot be read as Chroma's.
    #[error("failed to determine which Chroma wrote `{}`", directory.display())]
    Unreadable {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: Box<chroma::Error>,
    },
    /// Chroma since 0.4 ignores the files of 0.3, and would create an empty database next to them.
    #[error(
        "`{}` was written by Chroma 0.3, which no newer Chroma opens: migrate it to PostgreSQL with `panopticon migrate`, or set another directory", directory.display()
    )]
    TooOld {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory was written by another version, and the user has not consented to rewriting it.
    #[error(
        "`{}` was written by Chroma {written_by}, and {installed} is installed: opening it may rewrite it permanently, so that {written_by} can no longer read it; copy it first, then give your consent", directory.display()
    )]
    NeedsConsent {
        /// The directory.
        directory: PathBuf,
        /// The versions that may have written it.
        written_by: String,
        /// The version that would open it.
        installed: String,
    },
    /// The server did not start.
    #[error("`chroma run` on `{}` did not start: {reason}; the end of its output: {tail}", directory.display())]
    Start {
        /// The directory.
        directory: PathBuf,
        /// How it failed.
        reason: String,
        /// The last lines of its output.
        tail: String,
    },
}
