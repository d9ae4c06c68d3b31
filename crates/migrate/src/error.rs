//! What can stop a migration.

use std::path::PathBuf;

use store::postgres::ServiceTable;

/// A migration could not be carried out. Records that cannot be carried over are no errors: they are reported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Chroma directory cannot be read.
    #[error("failed to read Chroma directory `{}`", path.display())]
    Source {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: Box<chroma::Error>,
    },
    /// The directory has no such collection.
    #[error("Chroma directory `{}` has no collection `{name}`; it has {}", path.display(), list(found))]
    NoCollection {
        /// The directory.
        path: PathBuf,
        /// The collection that was looked for.
        name: &'static str,
        /// The collections that are there, as `tenant/database/name`.
        found: Vec<String>,
    },
    /// Several tenants or databases have a collection of that name.
    #[error("Chroma directory `{}` has several collections `{name}`: {}; keep the one to migrate in a directory of its own", path.display(), list(found))]
    AmbiguousCollection {
        /// The directory.
        path: PathBuf,
        /// The name.
        name: &'static str,
        /// The collections of that name, as `tenant/database/name`.
        found: Vec<String>,
    },
    /// The reader's thread cannot be started.
    #[error("failed to start the thread that reads Chroma")]
    Thread {
        /// Why not.
        source: std::io::Error,
    },
    /// The database refused something.
    #[error("failed to {operation} table `{table}`")]
    Store {
        /// What was tried, ending before `table`.
        operation: &'static str,
        /// The table.
        table: &'static str,
        /// Why not.
        source: store::Error,
    },
}

impl Error {
    /// Names the operation and the table of a store error.
    pub(crate) fn store(operation: &'static str, table: &ServiceTable) -> impl FnOnce(store::Error) -> Self {
        let table = table.name;
        move |source| Self::Store { operation, table, source }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
