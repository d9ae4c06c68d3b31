//! Index files that exist but cannot be accessed. This does not mean that a vector is lost.

use std::{fs::FileType, io};

use uuid::Uuid;

use super::{Database, catalog::StoredCollection};
use crate::{
    error::Error,
    hnsw::{self, Inaccessible, IndexError},
};

/// The error for existing but inaccessible files of the index `segment`.
pub(super) fn unreadable(database: &Database, segment: Uuid, error: &IndexError) -> Error {
    let Inaccessible { file, code } = error.inaccessible().unwrap_or(Inaccessible { file: None, code: None });
    inaccessible(database, segment, file, code)
}

/// The error for a `file` of the index `segment`, or for its directory, that failed with the system's `code`.
fn inaccessible(database: &Database, segment: Uuid, file: Option<&'static str>, code: Option<i32>) -> Error {
    let mut path = database.path.join(segment.hyphenated().to_string());
    path.extend(file);
    let is = |kind: fn(&FileType) -> bool| {
        path.symlink_metadata().is_ok_and(|metadata| kind(&metadata.file_type()))
    };
    match code {
        _ if file.is_none() && !is(FileType::is_dir) && path.symlink_metadata().is_ok() => {
            Error::NotFolder { path }
        }
        None => Error::NotRegularFile { path },
        Some(_) if is(FileType::is_symlink) => Error::NotRegularFile { path },
        Some(code) => Error::Io { operation: "read", path, source: io::Error::from_raw_os_error(code) },
    }
}

/// Returns operating system errors as errors, since they do not mean that a vector is lost.
pub(super) fn fail_if_inaccessible(
    database: &Database,
    stored: &StoredCollection,
    error: &io::Error,
) -> Result<(), Error> {
    match (hnsw::inaccessible_code(error), &stored.vector_segment) {
        (Some(code), Some(segment)) => Err(inaccessible(database, segment.id, Some(hnsw::LEVEL0), code)),
        _ => Ok(()),
    }
}
