//! Reads vectors from `data_level0.bin` and, under cosine, their lengths from `length.bin`.
//!
//! Uses `pread` instead of a memory map: if a live writer truncates the file or a failing disk rejects a block, a read
//! returns an error, while a map raises a signal that ends the process.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    time::SystemTime,
};

use super::header::Header;

/// Size of a block, for reading several elements at once.
const BLOCK_BYTES: usize = 256 << 10;

/// Number of cached blocks: Chroma >= 1.0 stores the vectors of one call in random order, so that 5,000 records of 384
/// dimensions are read from all over 8 MB.
const BLOCKS: usize = 64;

/// Number of reads after which the benefit of blocks is evaluated.
const READS_PER_EVALUATION: u32 = 2048;

/// How many elements of a block must be read on average for blocks to be faster.
const MIN_READS_PER_BLOCK: u32 = 16;

/// Number of reads of single elements after which blocks are tried again.
const SINGLE_READS: u32 = 1 << 15;

/// Block size for `length.bin`.
const LENGTH_BLOCK_BYTES: u64 = 1 << 16;

/// The vectors of one index.
#[derive(Debug)]
pub(super) struct VectorFiles {
    level0: File,
    header: Header,
    /// Blocks by their number modulo [`BLOCKS`], each of complete elements.
    blocks: Vec<Block>,
    elements_per_block: u64,
    /// Reads since the last evaluation, and blocks that were read for them.
    reads: u32,
    fills: u32,
    mode: Mode,
}

#[derive(Debug, Default)]
struct Block {
    /// Number of the block; `None` if it is empty.
    number: Option<u64>,
    bytes: Vec<u8>,
}

/// How elements are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Blocks,
    Singles,
}

impl VectorFiles {
    pub(super) fn new(level0: File, header: Header) -> Self {
        let elements_per_block = (BLOCK_BYTES / header.element_size) as u64;
        // For an element as large as a block, blocks have no benefit.
        let mode =
            if elements_per_block < u64::from(MIN_READS_PER_BLOCK) { Mode::Singles } else { Mode::Blocks };
        Self { level0, header, blocks: Vec::new(), elements_per_block, reads: 0, fills: 0, mode }
    }

    /// Size and time of the open file, to detect a writer.
    pub(super) fn stamp(&self) -> Option<(u64, SystemTime)> {
        let metadata = self.level0.metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// The vector of an element, times `length` if there is one. `element` must be less than the header's count.
    pub(super) fn read(&mut self, element: u32, length: Option<f32>) -> io::Result<Vec<f32>> {
        let (start, end) = (self.header.vector_offset, self.header.label_offset);
        let bytes = self.element(u64::from(element))?.get(start..end);
        let bytes = bytes.ok_or(io::ErrorKind::UnexpectedEof)?;
        let components = bytes.as_chunks::<4>().0.iter().map(|component| f32::from_le_bytes(*component));
        Ok(match length {
            // FORMAT §0: bit for bit what Chroma returns.
            Some(length) => components.map(|component| component * length).collect(),
            None => components.collect(),
        })
    }

    fn element(&mut self, element: u64) -> io::Result<&[u8]> {
        self.judge();
        self.reads += 1;
        let size = self.header.element_size;
        let (number, count) = match self.mode {
            Mode::Blocks => (element / self.elements_per_block, self.elements_per_block),
            Mode::Singles => (element, 1),
        };
        let slots = if self.mode == Mode::Blocks { BLOCKS } else { 1 };
        self.blocks.resize_with(slots, Block::default);
        // Both are small: a slot below `BLOCKS`, and an offset within a block.
        let slot = (number % slots as u64) as usize;
        let at = (element - number * count) as usize * size;
        let Some(block) = self.blocks.get_mut(slot) else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        if block.number != Some(number) {
            block.number = None;
            fill(&self.level0, number * count * size as u64, count as usize * size, &mut block.bytes)?;
            block.number = Some(number);
            self.fills += 1;
        }
        block.bytes.get(at..at + size).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Switches between blocks and single elements, according to the last reads.
    fn judge(&mut self) {
        let next = match self.mode {
            Mode::Blocks if self.reads < READS_PER_EVALUATION => return,
            Mode::Singles
                if self.reads < SINGLE_READS || self.elements_per_block < u64::from(MIN_READS_PER_BLOCK) =>
            {
                return;
            }
            Mode::Blocks if self.fills.saturating_mul(MIN_READS_PER_BLOCK) > self.reads => Mode::Singles,
            Mode::Blocks | Mode::Singles => Mode::Blocks,
        };
        if next != self.mode {
            self.blocks.clear();
            self.mode = next;
        }
        self.reads = 0;
        self.fills = 0;
    }
}

/// Reads `length` bytes from `offset`, or up to the end of the file.
fn fill(file: &File, offset: u64, length: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(length, 0);
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(())
}

/// Passes the norms of `elements`, which ascend, to `each`; stops at the end of the file.
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
