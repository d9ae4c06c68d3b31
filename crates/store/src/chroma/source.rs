//! A source of Chroma data: a persist directory or a server.
//!
//! Everything here blocks, so async callers must use a separate thread.

use std::{
    fmt,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use chroma::{Collection, EmptyDatabase, PersistDirectory, ReadReport, Record, Warning};
use tokio::runtime::Handle;

use super::{ChromaServer, ServerOptions};

/// An open source of Chroma data.
pub enum Source {
    /// A persist directory.
    Directory {
        /// Its path.
        path: PathBuf,
        /// The open directory.
        directory: Box<PersistDirectory>,
    },
    /// A server.
    Server {
        /// The connection.
        server: Box<ChromaServer>,
        /// Its collections at connection time.
        collections: Vec<Collection>,
        /// Its databases without collections at that time.
        empty_databases: Vec<EmptyDatabase>,
        /// The runtime for requests.
        runtime: Handle,
    },
}

/// Errors of reading Chroma data.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Not a Chroma directory, or a damaged one.
    #[error("failed to read Chroma directory `{}`", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: Box<chroma::Error>,
    },
    /// A server failed. The error names it.
    #[error(transparent)]
    Server(#[from] super::Error),
}

impl Source {
    /// Opens a persist directory.
    ///
    /// # Errors
    /// When it is not a persist directory, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        match PersistDirectory::open(path) {
            Ok(directory) => Ok(Self::Directory { path: path.to_owned(), directory: Box::new(directory) }),
            Err(source) => Err(SourceError::Directory { path: path.to_owned(), source: Box::new(source) }),
        }
    }

    /// Connects to a server; must be called on a thread that may block.
    ///
    /// # Errors
    /// When the server is unavailable or denies access.
    pub fn connect(options: &ServerOptions, runtime: Handle) -> Result<Self, SourceError> {
        let connect = async {
            let server = ChromaServer::connect(options).await?;
            let listed = server.collections_and_databases().await?;
            Ok::<_, super::Error>((server, listed))
        };
        let (server, (collections, empty_databases)) = runtime.block_on(connect)?;
        Ok(Self::Server { server: Box::new(server), collections, empty_databases, runtime })
    }

    /// All collections, ordered by tenant, database, name and id.
    pub fn collections(&self) -> &[Collection] {
        match self {
            Self::Directory { directory, .. } => directory.collections(),
            Self::Server { collections, .. } => collections,
        }
    }

    /// The databases without collections, and the tenants without databases, in order.
    pub fn empty_databases(&self) -> &[EmptyDatabase] {
        match self {
            Self::Directory { directory, .. } => directory.empty_databases(),
            Self::Server { empty_databases, .. } => empty_databases,
        }
    }

    /// Warnings about the source as a whole.
    pub fn warnings(&self) -> &[Warning] {
        match self {
            Self::Directory { directory, .. } => directory.warnings(),
            Self::Server { server, .. } => server.warnings(),
        }
    }

    /// The number of records that [`read`](Self::read) will visit.
    ///
    /// # Errors
    /// When the source fails.
    pub fn record_count(&self, collection: &Collection) -> Result<u64, SourceError> {
        match self {
            Self::Directory { path, directory } => directory
                .record_count(collection)
                .map_err(|source| SourceError::Directory { path: path.clone(), source: Box::new(source) }),
            Self::Server { server, runtime, .. } => Ok(runtime.block_on(server.count(collection))?),
        }
    }

    /// Visits every record of a collection; breaking ends the read.
    ///
    /// # Errors
    /// When the source fails.
    pub fn read(
        &self,
        collection: &Collection,
        visit: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ReadReport, SourceError> {
        match self {
            Self::Directory { path, directory } => directory
                .read(collection, visit)
                .map_err(|source| SourceError::Directory { path: path.clone(), source: Box::new(source) }),
            Self::Server { server, runtime, .. } => Ok(runtime.block_on(server.read(collection, visit))?),
        }
    }
}

impl fmt::Display for Source {
    /// The absolute path, or the URL without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, .. } => {
                let absolute = path.canonicalize();
                absolute.as_ref().unwrap_or(path).display().fmt(f)
            }
            Self::Server { server, .. } => f.write_str(server.address()),
        }
    }
}
