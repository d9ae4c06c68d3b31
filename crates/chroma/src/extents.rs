//! Stored bytes of files that may have holes.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
};

use rustix::{fs::SeekFrom, io::Errno};

/// How many bytes of a file are stored.
pub(crate) fn stored_bytes(file: &File) -> io::Result<u64> {
    let mut sum = 0_u64;
    each(file, |start, end| {
        sum = sum.saturating_add(end - start);
        Ok(())
    })?;
    Ok(sum)
}

/// Copies a file with its holes; returns the number of bytes outside of holes.
pub(crate) fn copy(source: &File, target: &mut File) -> io::Result<u64> {
    let mut sum = 0_u64;
    each(source, |start, end| {
        let mut reader = source;
        reader.seek(io::SeekFrom::Start(start))?;
        target.seek(io::SeekFrom::Start(start))?;
        sum = sum.saturating_add(io::copy(&mut reader.take(end - start), target)?);
        Ok(())
    })?;
    target.set_len(source.metadata()?.len())?;
    target.flush()?;
    Ok(sum)
}

/// Visits the start and end of each stored part of a file, in ascending order.
fn each(file: &File, mut visit: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
    let mut offset = 0;
    loop {
        let start = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            // The file system does not support holes.
            Err(Errno::INVAL) => {
                visit(offset, file.metadata()?.len().max(offset))?;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
        // A writer may have truncated the file between the two calls.
        if end <= start {
            break;
        }
        visit(start, end)?;
        offset = end;
    }
    let mut reader = file;
    reader.rewind()
}
