//! Reads the footer, which contains the positions of everything else.
//!
//! The decoder of the `parquet` crate builds the schema by unlimited recursion, and allocates for the declared number
//! of children. A stack overflow or a failed allocation aborts the process, which `catch_unwind` cannot prevent. So the
//! footer is checked before it is decoded.

use std::{fs::File, os::unix::fs::FileExt as _};

use parquet::file::metadata::{
    ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader, ParquetStatisticsPolicy,
};

use super::thrift::{Compact, Malformed};
use crate::fault::ParquetFault;

/// The beginning and end of a parquet file.
const MAGIC: &[u8; 4] = b"PAR1";
/// Magic, footer length and magic again.
const FRAME: u64 = 12;
/// A row group takes a kilobyte and, in its statistics, up to 20 kB of text for each of its columns
/// (DuckDB's `MAX_STRING_STATISTICS_SIZE`); this suffices for ten million records.
const FOOTER_LIMIT: u64 = 32 << 20;
/// Chroma's larger table has nine elements, including lists.
const SCHEMA_LIMIT: usize = 64;
/// Eight billion records, at DuckDB's 122 880 in a row group.
const ROW_GROUPS_LIMIT: usize = 1 << 16;

/// Reads the footer of a file of `size` bytes.
pub(super) fn read(file: &File, size: u64) -> Result<ParquetMetaData, ParquetFault> {
    let unexpected =
        |expected: String, offset, found: String| Err(ParquetFault::Unexpected { expected, offset, found });
    if size < FRAME {
        return unexpected(format!("a parquet file of at least {FRAME} bytes"), 0, format!("{size} bytes"));
    }
    let mut head = [0; 4];
    read_at(file, &mut head, 0)?;
    let mut tail = [0; 8];
    read_at(file, &mut tail, size - 8)?;
    let [length @ .., _, _, _, _] = tail;
    for (magic, offset) in [(&head[..], 0), (&tail[4..], size - 4)] {
        if magic != MAGIC {
            return unexpected("`PAR1`".to_owned(), offset, format!("`{}`", magic.escape_ascii()));
        }
    }
    let length = u64::from(u32::from_le_bytes(length));
    let limit = (size - FRAME).min(FOOTER_LIMIT);
    if length > limit {
        return unexpected(format!("a footer of at most {limit} bytes"), size - 8, length.to_string());
    }
    let start = size - 8 - length;
    let mut footer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    read_at(file, &mut footer, start)?;
    check(&footer).map_err(|malformed| ParquetFault::Unexpected {
        expected: format!(
            "a footer with at most {SCHEMA_LIMIT} schema elements and {ROW_GROUPS_LIMIT} row groups"
        ),
        offset: start + malformed.offset as u64,
        found: "other bytes".to_owned(),
    })?;
    // Statistics serve to select row groups, which are selected by collection here.
    let mut options = ParquetMetaDataOptions::new();
    options.set_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_size_stats_policy(ParquetStatisticsPolicy::SkipAll);
    options.set_encoding_stats_policy(ParquetStatisticsPolicy::SkipAll);
    Ok(ParquetMetaDataReader::decode_metadata_with_options(&footer, Some(&options))?)
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), ParquetFault> {
    let length = bytes.len();
    file.read_exact_at(bytes, offset).map_err(|source| ParquetFault::Io { length, offset, source })
}

/// Parses the footer (parquet.thrift, `FileMetaData`) and checks the numbers that determine allocations.
fn check(footer: &[u8]) -> Result<(), Malformed> {
    let mut compact = Compact::new(footer);
    let at_most = |limit| move |count, at: Malformed| if count > limit { Err(at) } else { Ok(()) };
    compact.structure(&mut |compact, id, _| {
        let at = compact.malformed();
        match id {
            2 => {
                compact.list_of_structures(
                    |count| at_most(SCHEMA_LIMIT)(count, at),
                    &mut |compact, id, kind| {
                        // `num_children`
                        if id != 5 {
                            return Ok(false);
                        }
                        let at = compact.malformed();
                        let children = usize::try_from(compact.int(kind)?).map_err(|_| at)?;
                        at_most(SCHEMA_LIMIT)(children, at)?;
                        Ok(true)
                    },
                )?;
                Ok(true)
            }
            4 => {
                compact
                    .list_of_structures(|count| at_most(ROW_GROUPS_LIMIT)(count, at), &mut |_, _, _| {
                        Ok(false)
                    })?;
                Ok(true)
            }
            _ => Ok(false),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with a schema of elements that have these numbers of children.
    fn footer(children: &[i32]) -> Vec<u8> {
        let mut bytes = vec![0x29, 0xfc];
        bytes.extend(varint(children.len() as u64));
        for number in children {
            bytes.push(0x55);
            bytes.extend(varint(u64::try_from(*number).unwrap() << 1));
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    }

    #[test]
    fn schemas_that_would_exhaust_stack_or_memory_are_rejected() {
        assert_eq!(check(&footer(&[3, 1, 1, 0])), Ok(()));
        assert!(check(&footer(&[1; 100_000])).is_err());
        assert!(check(&footer(&[i32::MAX])).is_err());
    }
}
