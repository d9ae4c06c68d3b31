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

/// Bytes that are read at once, where that pays.
const BLOCK_BYTES: usize = 256 << 10;

/// Blocks that are kept: Chroma >= 1.0 stores the vectors of one call in random order, so that 5,000 records of 384
/// dimensions are asked for all over 8 MB.
const BLOCKS: usize = 64;

/// Reads after which it is judged whether blocks pay.
const TRIAL: u32 = 2048;

/// How many elements of a block must be asked for, on average, to be worth its reading.
const WORTH: u32 = 16;

/// Reads of single elements after which blocks are tried again.
const SINGLES: u32 = 1 << 15;

/// How much of `length.bin` is read at once.
const LENGTH_BLOCK_BYTES: u64 = 1 << 16;

/// The vectors of one index.
#[derive(Debug)]
pub(super) struct VectorFiles {
    level0: File,
    header: Header,
    /// Blocks by their number modulo [`BLOCKS`], each of whole elements.
    blocks: Vec<Block>,
    elements_per_block: u64,
    /// Reads since the last judgement, and blocks that were filled for them.
    reads: u32,
    fills: u32,
    mode: Mode,
}

#[derive(Debug, Default)]
struct Block {
    /// Which block it is; `None` before the first.
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
        // An element as large as a block is worth its own read.
        let mode = if elements_per_block < u64::from(WORTH) { Mode::Singles } else { Mode::Blocks };
        Self { level0, header, blocks: Vec::new(), elements_per_block, reads: 0, fills: 0, mode }
    }

    /// Size and time of the open file, to notice a writer.
    pub(super) fn stamp(&self) -> Option<(u64, SystemTime)> {
        let metadata = self.level0.metadata().ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    }

    /// The vector of an element below the header's count, times `length` if there is one.
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
        // Both are small: a slot below `BLOCKS`, a place within a block.
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

    /// Changes between blocks and single elements, by how the last reads went.
    fn judge(&mut self) {
        let next = match self.mode {
            Mode::Blocks if self.reads < TRIAL => return,
            Mode::Singles if self.reads < SINGLES || self.elements_per_block < u64::from(WORTH) => return,
            Mode::Blocks if self.fills.saturating_mul(WORTH) > self.reads => Mode::Singles,
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

/// Reads `length` bytes from `offset`, or as many as there are.
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
