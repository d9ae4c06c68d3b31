//! What can go wrong with a Chroma server of our own, each with its remedy in the text.

use std::{io, path::PathBuf};

/// A Chroma server of our own cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ChromaError {
    /// There is no `chroma`.
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
        /// What was tried, as a verb.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process of ours serves the directory.
    #[error(
        "`{}` is served by another panopticon: stop that one, or run one Chroma server and give both its URL", directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory cannot be read as Chroma's.
    #[error("failed to tell which Chroma wrote `{}`", directory.display())]
    Unreadable {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: Box<chroma::Error>,
    },
    /// Chroma since 0.4 does not see what 0.3 wrote, and would begin an empty database beside it.
    #[error(
        "`{}` was written by Chroma 0.3, which no newer Chroma opens: migrate it to PostgreSQL with `panopticon migrate`, or set another directory", directory.display()
    )]
    TooOld {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory was written by another version, and nobody has agreed to have it rewritten.
    #[error(
        "`{}` was written by Chroma {written_by}, and {installed} is installed: opening it may rewrite it for good, so that {written_by} cannot read it any more; copy it first, then give your consent", directory.display()
    )]
    NeedsConsent {
        /// The directory.
        directory: PathBuf,
        /// The versions that leave a directory so.
        written_by: String,
        /// What would open it.
        installed: String,
    },
    /// The server did not come up.
    #[error("`chroma run` on `{}` did not start: {reason}; the end of its output: {tail}", directory.display())]
    Start {
        /// The directory.
        directory: PathBuf,
        /// How it failed.
        reason: String,
        /// The last lines of what it printed.
        tail: String,
    },
}
