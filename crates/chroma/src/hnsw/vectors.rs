//! Reads vectors from `data_level0.bin` and, under cosine, their lengths from `length.bin`.
//!
//! With `pread` and not mapped: a live writer may truncate the file under us, and a dying disk may refuse a
//! block, which a read reports as an error and a mapping as a signal that ends the process.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    time::SystemTime,
};

use super::header::Header;

/// How many elements are read at once while they are asked for in their order, as a migration does.
const READ_AHEAD: u64 = 32;

/// Elements that may be left out and the order still be one: those of deleted records.
const LARGEST_SKIP: u64 = 2;

/// Read-ahead is for small elements; one of this size is worth its own read.
const LARGEST_READ_AHEAD_BYTES: usize = 1 << 20;

/// How much of `length.bin` is read at once.
const LENGTH_BLOCK_BYTES: u64 = 1 << 16;

/// The vectors of one index.
#[derive(Debug)]
pub(super) struct VectorFiles {
    level0: File,
    header: Header,
    /// The elements from `window_start` on, whole.
    window: Vec<u8>,
    window_start: u64,
    last: u64,
}

impl VectorFiles {
    pub(super) fn new(level0: File, header: Header) -> Self {
        Self { level0, header, window: Vec::new(), window_start: 0, last: u64::MAX }
    }

    /// Size and time of the open file, to notice a writer.
    pub(super) fn stamp(&self) -> Option<(u64, SystemTime)> {
        let metadata = self.level0.metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// The vector of an element below the header's count, times `length` if there is one.
    pub(super) fn read(&mut self, element: u32, length: Option<f32>) -> io::Result<Vec<f32>> {
        let (start, end) = (self.header.vector_offset, self.header.label_offset);
        let bytes = self.element(u64::from(element))?.get(start..end).unwrap_or_default();
        let components = bytes.as_chunks::<4>().0.iter().map(|component| f32::from_le_bytes(*component));
        Ok(match length {
            // FORMAT §0: bit for bit what Chroma returns.
            Some(length) => components.map(|component| component * length).collect(),
            None => components.collect(),
        })
    }

    fn element(&mut self, element: u64) -> io::Result<&[u8]> {
        let size = self.header.element_size;
        let in_window = |start: u64, window: &[u8]| {
            let at = usize::try_from(element.checked_sub(start)?).ok()?.checked_mul(size)?;
            (at.checked_add(size)? <= window.len()).then_some(at)
        };
        let is_next = element.wrapping_sub(self.last).wrapping_sub(1) <= LARGEST_SKIP;
        self.last = element;
        let at = match in_window(self.window_start, &self.window) {
            Some(at) => at,
            None => {
                let ahead = if is_next && size < LARGEST_READ_AHEAD_BYTES { READ_AHEAD } else { 1 };
                self.fill(element, ahead)?;
                0
            }
        };
        Ok(self.window.get(at..at + size).unwrap_or_default())
    }

    fn fill(&mut self, first: u64, elements: u64) -> io::Result<()> {
        let size = self.header.element_size;
        let elements = elements.min(u64::from(self.header.element_count).saturating_sub(first)).max(1);
        // Both factors fit 32 bits.
        let offset = first * size as u64;
        self.window_start = first;
        self.window.resize(elements as usize * size, 0);
        let mut filled = 0;
        while let Some(rest) = self.window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.level0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            }
        }
        // Only the first one was asked for; what of the others is not there is not missed yet.
        self.window.truncate(filled);
        if filled < size { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// Reads the norms of `elements`, which ascend, and hands each over; ends where the file does.
pub(super) fn read_lengths(
    file: &File,
    elements: impl Iterator<Item = u32>,
    mut each: impl FnMut(f32),
) -> io::Result<()> {
    let mut block = Vec::new();
    let mut block_start = 0;
    for element in elements {
        let offset = u64::from(element) * 4;
        let mut at = offset.saturating_sub(block_start) as usize;
        if at + 4 > block.len() {
            block.clear();
            block_start = offset;
            at = 0;
            let mut reader = file;
            reader.seek(SeekFrom::Start(offset))?;
            reader.take(LENGTH_BLOCK_BYTES).read_to_end(&mut block)?;
        }
        match block.get(at..).and_then(|rest| rest.first_chunk()) {
            Some(length) => each(f32::from_le_bytes(*length)),
            None => return Ok(()),
        }
    }
    Ok(())
}
