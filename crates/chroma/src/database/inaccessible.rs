//! Files of an index that are there and that the system does not let us read: no sign that a vector is lost.

use std::{fs::FileType, io};

use uuid::Uuid;

use super::{Database, catalog::StoredCollection};
use crate::{
    error::Error,
    hnsw::{self, Inaccessible, IndexError},
};

/// Why files of the index `segment` that are there cannot be looked at.
pub(super) fn unreadable(database: &Database, segment: Uuid, error: &IndexError) -> Error {
    let Inaccessible { file, code } = error.inaccessible().unwrap_or(Inaccessible { file: None, code: None });
    inaccessible(database, segment, file, code)
}

/// The error of a `file` of the index `segment`, or its folder, that the system refused with `code`.
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

/// Fails with an error of the operating system, which is no sign that a vector is lost.
pub(super) fn refuse_inaccessible(
    database: &Database,
    stored: &StoredCollection,
    error: &io::Error,
) -> Result<(), Error> {
    match (hnsw::inaccessible_code(error), &stored.vector_segment) {
        (Some(code), Some(segment)) => Err(inaccessible(database, segment.id, Some(hnsw::LEVEL0), code)),
        _ => Ok(()),
    }
}
