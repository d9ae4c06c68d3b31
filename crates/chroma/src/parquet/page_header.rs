//! The header of a page: its kind, and the declared sizes.

use parquet::basic::Encoding;

use super::thrift::{Compact, Kind, Malformed};

/// The kinds of pages with values (parquet.thrift, `PageType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageKind {
    Data,
    Dictionary,
    /// Index pages, and data pages of version 2. DuckDB wrote neither.
    Other(i32),
}

/// One page header.
#[derive(Clone, Debug)]
pub(super) struct PageHeader {
    pub(super) kind: PageKind,
    /// Size of the decompressed page, in bytes.
    pub(super) size: usize,
    /// Size of the page in the file, in bytes.
    pub(super) stored_size: usize,
    /// Number of values, including nulls and empty lists.
    pub(super) values: u32,
    pub(super) encoding: Encoding,
    pub(super) definition_encoding: Encoding,
    pub(super) repetition_encoding: Encoding,
}

/// The stored numbers.
#[derive(Default)]
struct Fields {
    kind: Option<i32>,
    size: Option<i32>,
    stored_size: Option<i32>,
    /// From the header of the page's kind: values, encoding, encodings of definition and repetition levels.
    own: [Option<i32>; 4],
}

impl PageHeader {
    /// Parses the header at the beginning of `bytes`; also returns its length.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, usize), Malformed> {
        let mut compact = Compact::new(bytes);
        let mut fields = Fields::default();
        compact.structure(&mut |compact, id, kind| {
            let field = match id {
                1 => &mut fields.kind,
                2 => &mut fields.size,
                3 => &mut fields.stored_size,
                // `data_page_header` and `dictionary_page_header`; a page has one of them.
                5 | 7 => {
                    compact.structure(&mut |compact, id, kind| {
                        let field = usize::try_from(id).ok().and_then(|id| id.checked_sub(1));
                        let field = field.and_then(|field| fields.own.get_mut(field));
                        match field {
                            // The third field of a dictionary's header is a boolean.
                            Some(field) if kind == Kind::INT32 => *field = Some(compact.int(kind)?),
                            _ => return Ok(false),
                        }
                        Ok(true)
                    })?;
                    return Ok(true);
                }
                _ => return Ok(false),
            };
            *field = Some(compact.int(kind)?);
            Ok(true)
        })?;
        let header = fields.build().ok_or(compact.malformed())?;
        Ok((header, compact.offset()))
    }
}

impl Fields {
    fn build(self) -> Option<PageHeader> {
        let [values, encoding, definition_encoding, repetition_encoding] = self.own;
        let kind = match self.kind? {
            0 => PageKind::Data,
            2 => PageKind::Dictionary,
            other => PageKind::Other(other),
        };
        let levels = |number: Option<i32>| match kind {
            PageKind::Data => self::encoding(number?),
            PageKind::Dictionary | PageKind::Other(_) => Some(Encoding::RLE),
        };
        let (values, encoding) = match kind {
            PageKind::Other(_) => (0, Encoding::PLAIN),
            PageKind::Data | PageKind::Dictionary => {
                (u32::try_from(values?).ok()?, self::encoding(encoding?)?)
            }
        };
        Some(PageHeader {
            kind,
            size: usize::try_from(self.size?).ok()?,
            stored_size: usize::try_from(self.stored_size?).ok()?,
            values,
            encoding,
            definition_encoding: levels(definition_encoding)?,
            repetition_encoding: levels(repetition_encoding)?,
        })
    }
}

/// The encodings that DuckDB wrote, and their older numbers (parquet.thrift, `Encoding`).
fn encoding(number: i32) -> Option<Encoding> {
    match number {
        0 => Some(Encoding::PLAIN),
        2 => Some(Encoding::PLAIN_DICTIONARY),
        3 => Some(Encoding::RLE),
        8 => Some(Encoding::RLE_DICTIONARY),
        _ => None,
    }
}
