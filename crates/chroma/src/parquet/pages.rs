//! Passes the pages of a column to the decoder after checking their sizes.
//!
//! The decoder of the `parquet` crate allocates what a page declares: its decompressed size, a value for each entry of
//! a dictionary, a level for each value of a record. Its own page reader does not compare these with the size of the
//! file, so a file of a hundred bytes can request gigabytes. This reader checks them first, and rejects what DuckDB
//! never wrote: pages of version 2, other compressions, other encodings.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parquet::{
    basic::{Compression, Encoding},
    column::page::{Page, PageMetadata, PageReader},
    errors::ParquetError,
};

use super::page_header::{PageHeader, PageKind};
use crate::fault::ParquetFault;

/// A header without statistics takes about 25 bytes; with them it may contain two values of any length.
const HEADER_LIMIT: usize = 64 << 10;
/// DuckDB starts a new page at 100 MB (`MAX_UNCOMPRESSED_PAGE_SIZE`); the value that exceeds the limit may be a
/// document of any size.
const PAGE_LIMIT: usize = 512 << 20;
/// A page of 100 MB has 12.5 million values of 8 bytes.
const VALUES_LIMIT: u32 = 1 << 24;
/// The best ratio of Snappy: a copy of 64 bytes takes three (google/snappy, format_description.txt, section 2.2.2).
const SNAPPY_RATIO: usize = 22;

/// How many more values pages may contain, shared by a column's pages and its reader. One record may claim every value
/// of all following pages, and the decoder collects a complete record.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowance(Arc<AtomicU64>);

/// How the values that an operation decodes are used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use {
    /// Each batch is dropped before the next.
    Passed,
    /// All are in memory at once.
    Kept,
}

impl Use {
    /// The minimum of bytes that an operation may decode, and the ratio to stored bytes, which applies if it allows
    /// more.
    fn limits(self) -> (u64, u64) {
        match self {
            Self::Passed => (4 << 30, 256),
            // Real ones take a hundred bytes each. Snappy compresses such text to a third, and a dictionary to less.
            Self::Kept => (256 << 20, 4),
        }
    }
}

/// How many more bytes of values an operation may decode.
///
/// A row that refers to a dictionary's value takes almost no space, so a file of 2 MB can contain 200 GB. Records may
/// legitimately share a long document, so neither a ratio nor a size suffices as a limit, but their combination does:
/// Chroma 0.3 held all records in memory, uncompressed, and stored a vector and a UUID for each. More than 4 GiB from
/// less than 16 MB would be the same 26 kB, including the vector, for as many records as the file can contain.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limit_bytes: u64,
    /// Shared by all columns of the operation.
    left: Arc<AtomicU64>,
}

impl Budget {
    pub(super) fn new(stored_bytes: u64, values: Use) -> Self {
        let (least, per_stored) = values.limits();
        Self::limited(stored_bytes.saturating_mul(per_stored).max(least))
    }

    pub(super) fn limited(limit_bytes: u64) -> Self {
        Self { limit_bytes, left: Arc::new(AtomicU64::new(limit_bytes)) }
    }

    /// Starts another operation.
    pub(super) fn renew(&self) {
        self.left.store(self.limit_bytes, Ordering::Relaxed);
    }

    pub(super) fn take(&self, bytes: u64) -> Result<(), ParquetFault> {
        let left = self.left.load(Ordering::Relaxed).checked_sub(bytes);
        self.left.store(left.unwrap_or(0), Ordering::Relaxed);
        left.map(drop).ok_or(ParquetFault::Expands { limit_bytes: self.limit_bytes })
    }
}

/// Position and encoding of a column's pages.
pub(super) struct Chunk {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) compression: Compression,
    /// The minimum size of a value in plain encoding, in bytes.
    pub(super) value_size: usize,
}

/// The pages of one column in one row group, read forward.
pub(super) struct Pages {
    file: Arc<File>,
    chunk: Chunk,
    /// Bytes of the chunk that were consumed.
    offset: u64,
    /// The header of the page at `offset`, if it was read, and its length.
    next: Option<(PageHeader, usize)>,
    has_dictionary: bool,
    /// Buffer for compressed pages, reused: the kernel takes as long to allocate 100 MB as to read it.
    stored: Vec<u8>,
    allowance: Allowance,
}

impl Allowance {
    /// Allows one page in addition to the rest of another.
    pub(super) fn renew(&self) {
        self.0.store(u64::from(VALUES_LIMIT), Ordering::Relaxed);
    }

    /// Allows any number, for values that are skipped without being collected.
    pub(super) fn lift(&self) {
        self.0.store(u64::MAX, Ordering::Relaxed);
    }

    fn take(&self, values: u32) -> bool {
        let left = self.0.load(Ordering::Relaxed).checked_sub(u64::from(values));
        self.0.store(left.unwrap_or(0), Ordering::Relaxed);
        left.is_some()
    }
}

impl Pages {
    pub(super) fn new(file: Arc<File>, chunk: Chunk, allowance: Allowance) -> Self {
        Self { file, chunk, offset: 0, next: None, has_dictionary: false, stored: Vec::new(), allowance }
    }

    /// Offset of the next page in the file.
    fn at(&self) -> u64 {
        self.chunk.start.saturating_add(self.offset)
    }

    fn unexpected(&self, expected: impl Into<String>, found: impl ToString) -> ParquetFault {
        ParquetFault::Unexpected { expected: expected.into(), offset: self.at(), found: found.to_string() }
    }

    /// Reads `length` bytes of the file into `stored`.
    fn read(&mut self, offset: u64, length: usize) -> Result<(), ParquetFault> {
        self.stored.resize(length, 0);
        let read = self.file.read_exact_at(&mut self.stored, offset);
        read.map_err(|source| ParquetFault::Io { length, offset, source })
    }

    /// The header of the next page with values; `None` at the end of the column.
    fn peek(&mut self) -> Result<Option<&PageHeader>, ParquetFault> {
        while self.next.is_none() {
            let left = self.chunk.length.saturating_sub(self.offset);
            if left == 0 {
                return Ok(None);
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(HEADER_LIMIT);
            self.read(self.at(), length)?;
            let (header, header_length) = PageHeader::parse(&self.stored).map_err(|malformed| {
                let expected = "the header of a page in an encoding that Chroma 0.3 wrote";
                self.unexpected(expected, format!("other bytes at offset {} of the header", malformed.offset))
            })?;
            let body = left - header_length as u64;
            if header.stored_size as u64 > body {
                return Err(self.unexpected(format!("a page of at most {body} bytes"), header.stored_size));
            }
            self.check(&header)?;
            self.next = Some((header, header_length));
        }
        Ok(self.next.as_ref().map(|(header, _)| header))
    }

    fn check(&self, header: &PageHeader) -> Result<(), ParquetFault> {
        let expected = |expected: String, found: usize| Err(self.unexpected(expected, found));
        if let PageKind::Other(kind) = header.kind {
            return Err(self.unexpected("a dictionary or a data page of version 1", format!("type {kind}")));
        }
        let limit = match self.chunk.compression {
            Compression::UNCOMPRESSED if header.size != header.stored_size => {
                return expected(format!("a page of {} bytes", header.stored_size), header.size);
            }
            Compression::UNCOMPRESSED => PAGE_LIMIT,
            Compression::SNAPPY => header.stored_size.saturating_mul(SNAPPY_RATIO).min(PAGE_LIMIT),
            compression => return Err(self.unexpected("SNAPPY pages", compression)),
        };
        if header.size > limit {
            return expected(format!("a page of at most {limit} bytes decompressed"), header.size);
        }
        let values_limit = match header.kind {
            PageKind::Dictionary => header.size / self.chunk.value_size,
            PageKind::Data | PageKind::Other(_) => VALUES_LIMIT as usize,
        };
        if header.values as usize > values_limit {
            return expected(format!("at most {values_limit} values in a page"), header.values as usize);
        }
        // The decoder panics on any other encoding of levels, and on indexes without a dictionary.
        if [header.definition_encoding, header.repetition_encoding] != [Encoding::RLE; 2] {
            return Err(self.unexpected("levels in RLE", "another encoding"));
        }
        match (header.kind, header.encoding) {
            (_, Encoding::PLAIN) | (PageKind::Dictionary, Encoding::PLAIN_DICTIONARY) => Ok(()),
            (PageKind::Data, Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY)
                if self.has_dictionary =>
            {
                Ok(())
            }
            (_, encoding) => Err(self.unexpected("plain values, or indexes into a dictionary", encoding)),
        }
    }

    fn body(&mut self, header: &PageHeader, header_length: usize) -> Result<Vec<u8>, ParquetFault> {
        self.read(self.at().saturating_add(header_length as u64), header.stored_size)?;
        if self.chunk.compression == Compression::UNCOMPRESSED {
            return Ok(std::mem::take(&mut self.stored));
        }
        let corrupt = |error: snap::Error| {
            self.unexpected(format!("{} bytes compressed with Snappy", header.size), error)
        };
        let size = snap::raw::decompress_len(&self.stored).map_err(corrupt)?;
        if size != header.size {
            return Err(self.unexpected(format!("a page that decompresses to {} bytes", header.size), size));
        }
        let mut bytes = vec![0; size];
        snap::raw::Decoder::new().decompress(&self.stored, &mut bytes).map_err(corrupt)?;
        Ok(bytes)
    }

    fn next_page(&mut self) -> Result<Option<Page>, ParquetFault> {
        self.peek()?;
        let Some((header, header_length)) = self.next.take() else { return Ok(None) };
        if !self.allowance.take(header.values) {
            let expected = format!("a record of at most {VALUES_LIMIT} values");
            return Err(self.unexpected(expected, "more"));
        }
        let bytes = self.body(&header, header_length)?;
        self.pass(&header, header_length);
        let PageHeader { kind, values: num_values, encoding, .. } = header;
        Ok(Some(match kind {
            PageKind::Dictionary => {
                Page::DictionaryPage { buf: bytes.into(), num_values, encoding, is_sorted: false }
            }
            PageKind::Data | PageKind::Other(_) => Page::DataPage {
                buf: bytes.into(),
                num_values,
                encoding,
                def_level_encoding: header.definition_encoding,
                rep_level_encoding: header.repetition_encoding,
                statistics: None,
            },
        }))
    }

    fn pass(&mut self, header: &PageHeader, header_length: usize) {
        self.offset += (header_length + header.stored_size) as u64;
        self.has_dictionary |= header.kind == PageKind::Dictionary;
    }
}

impl Iterator for Pages {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        Ok(self.next_page()?)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        Ok(self.peek()?.map(|header| {
            let is_dict = header.kind == PageKind::Dictionary;
            let num_levels = (!is_dict).then_some(header.values as usize);
            PageMetadata { num_rows: None, num_levels, is_dict }
        }))
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.peek()?;
        if let Some((header, header_length)) = self.next.take() {
            self.pass(&header, header_length);
        }
        Ok(())
    }
}
