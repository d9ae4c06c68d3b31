//! Opens the files of a segment without leaving the persist directory.
//!
//! An untrusted directory may contain symbolic links, pipes and sparse files of any size. Each component is opened
//! relative to the previous one without following links; only regular files are accepted. `link_lists.bin` is never
//! opened: it is not needed, and a torn one was observed with a size of 231 GiB.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::fs::{Mode, OFlags, openat};
use uuid::Uuid;

use crate::extents;

pub(super) const PICKLE: &str = "index_metadata.pickle";
pub(super) const HEADER: &str = "header.bin";
pub(crate) const LEVEL0: &str = "data_level0.bin";
pub(super) const LENGTH: &str = "length.bin";

/// The error kind for a file that is not a regular file. Not used for anything else here.
pub(super) const NOT_REGULAR_FILE: io::ErrorKind = io::ErrorKind::InvalidInput;

/// Sizes and times of a segment's files, to detect a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([Option<(u64, Option<SystemTime>)>; 4]);

impl Stamp {
    /// Whether a file was written less than `age` ago. A time in the future comes from another clock and does not
    /// count.
    pub(crate) fn is_younger_than(&self, age: Duration) -> bool {
        let now = SystemTime::now();
        let times = self.0.iter().flatten().filter_map(|(_, time)| *time);
        times.filter_map(|time| now.duration_since(time).ok()).any(|found| found < age)
    }

    /// The sum of the sizes. In an untrusted directory it may exceed 64 bits.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.0.iter().flatten().fold(0, |sum, (size, _)| sum.saturating_add(*size))
    }
}

/// Reads sizes and times of the files of the segment `id` in `root`.
pub(crate) fn stamp(root: &Path, id: Uuid) -> Stamp {
    let directory = root.join(id.hyphenated().to_string());
    Stamp([PICKLE, HEADER, LEVEL0, LENGTH].map(|name| {
        let metadata = directory.join(name).symlink_metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    }))
}

/// The opened directory of one segment.
pub(super) struct SegmentDirectory(File);

impl SegmentDirectory {
    /// Opens it; `None` if it does not exist.
    pub(super) fn open(root: &File, id: Uuid) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(root, id.hyphenated().to_string(), flags, Mode::empty());
        absent_as_none(opened.map(|descriptor| Self(File::from(descriptor))).map_err(io::Error::from))
    }

    /// Opens one of its files; `None` if it does not exist.
    pub(super) fn file(&self, name: &str) -> io::Result<Option<File>> {
        // NONBLOCK: opening a pipe must not block until there is a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(&self.0, name, flags, Mode::empty());
        let file = absent_as_none(opened.map(File::from).map_err(io::Error::from))?;
        match file {
            Some(file) if !file.metadata()?.is_file() => {
                Err(io::Error::new(NOT_REGULAR_FILE, "expected a regular file, found another kind"))
            }
            file => Ok(file),
        }
    }
}

/// A torn file may have holes, which read as zeros; a file of more than this size would be mostly holes.
const MAX_SPARSE_BYTES: u64 = 16 << 20;

/// The size of a file, which must be at most `limit` bytes.
pub(super) fn size_at_most(file: &File, limit: u32) -> io::Result<u32> {
    let size = file.metadata()?.len();
    // Reading a sparse file up to the limit would cost the limit in time and memory.
    let is_sparse = size > MAX_SPARSE_BYTES && extents::stored_bytes(file)? < size;
    match u32::try_from(size) {
        Ok(size) if size <= limit && !is_sparse => Ok(size),
        _ => {
            let message = format!("expected at most {limit} bytes without holes, found more");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// Reads a complete file of at most `limit` bytes.
pub(super) fn read_at_most(file: &File, limit: u32) -> io::Result<Vec<u8>> {
    let size = size_at_most(file, limit)?;
    let mut bytes = Vec::new();
    // The file may grow meanwhile.
    file.take(u64::from(size)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn absent_as_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
