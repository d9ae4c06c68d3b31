//! `header.bin` of chroma-hnswlib, persistence version 1 (FORMAT §6).

/// Size of the file, exactly.
pub(super) const SIZE_BYTES: usize = 100;

/// The largest accepted element: 16 MiB is four million dimensions, and one element is held in memory.
const MAX_ELEMENT_BYTES: u64 = 16 << 20;

/// The layout of `data_level0.bin`, validated: the fields of an element are within it and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Elements in use, including deleted ones; the rest of the file is uninitialized memory.
    pub(super) element_count: u32,
    pub(super) element_size: usize,
    /// Offset of the vector in an element.
    pub(super) vector_offset: usize,
    /// Offset of the label in an element, which is the end of the vector.
    pub(super) label_offset: usize,
}

/// A header that chroma-hnswlib never writes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {field} to be {expected}, found {found}")]
pub(crate) struct HeaderError {
    field: &'static str,
    expected: String,
    found: i128,
}

impl Header {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header: &[u8; SIZE_BYTES] =
            bytes.try_into().map_err(|_| error("the size of header.bin", "100 bytes", bytes.len() as u64))?;
        let version = u32::from_le_bytes(field(header, 0));
        let element_count = u64_at(header, 20);
        let element_size = u64_at(header, 28);
        let label_offset = u64_at(header, 36);
        let vector_offset = u64_at(header, 44);
        let max_m0 = u64_at(header, 68);

        if version != 1 {
            return Err(error("the persistence version", "1", u64::from(version)));
        }
        // hnswlib's internal ids are 32 bits wide.
        let element_count = u32::try_from(element_count)
            .map_err(|_| error("cur_element_count", "at most 4294967295", element_count))?;
        if element_size > MAX_ELEMENT_BYTES {
            return Err(error("size_data_per_element", "at most 16777216", element_size));
        }
        // From here on every accepted number is less than `element_size`, so no sum overflows.
        if label_offset.checked_add(8) != Some(element_size) {
            return Err(error("label_offset", "size_data_per_element - 8", label_offset));
        }
        if max_m0.checked_mul(4).and_then(|links| links.checked_add(4)) != Some(vector_offset) {
            return Err(error("offsetData", "4 + 4 * maxM0", vector_offset));
        }
        let vector_size = label_offset.checked_sub(vector_offset).filter(|size| *size > 0 && size % 4 == 0);
        if vector_size.is_none() {
            return Err(error("offsetData", "below label_offset by a multiple of 4", vector_offset));
        }
        let [element_size, vector_offset, label_offset] = [element_size, vector_offset, label_offset]
            .map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        Ok(Self { element_count, element_size, vector_offset, label_offset })
    }
}

impl Header {
    /// The layout of elements with the given numbers of links and components, for any number of elements; `None` if
    /// they would be too large.
    pub(super) fn of_layout(links: usize, dimension: usize) -> Option<Self> {
        let vector_offset = links.checked_mul(4)?.checked_add(4)?;
        let label_offset = dimension.checked_mul(4).filter(|size| *size > 0)?.checked_add(vector_offset)?;
        let element_size = label_offset.checked_add(8)?;
        let is_small = element_size as u64 <= MAX_ELEMENT_BYTES;
        is_small.then_some(Self { element_count: u32::MAX - 1, element_size, vector_offset, label_offset })
    }
}

fn error(field: &'static str, expected: &str, found: u64) -> HeaderError {
    HeaderError { field, expected: expected.to_owned(), found: i128::from(found) }
}

/// `N` bytes at a constant offset within the header.
fn field<const N: usize>(header: &[u8; SIZE_BYTES], offset: usize) -> [u8; N] {
    header.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn u64_at(header: &[u8; SIZE_BYTES], offset: usize) -> u64 {
    u64::from_le_bytes(field(header, offset))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header of elements with 2 M = 2 neighbours.
    pub(crate) fn header_bytes(dimension: u64, count: u64) -> Vec<u8> {
        let mut bytes = vec![0; SIZE_BYTES];
        let mut put =
            |offset: usize, number: u64| bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
        put(20, count);
        put(28, 12 + 4 * dimension + 8);
        put(36, 12 + 4 * dimension);
        put(44, 12);
        put(68, 2);
        bytes[0] = 1;
        bytes
    }

    #[test]
    fn layout_is_read() {
        let header = Header::decode(&header_bytes(3, 7)).unwrap();
        assert_eq!(
            header,
            Header { element_count: 7, element_size: 32, vector_offset: 12, label_offset: 24 }
        );
    }

    #[test]
    fn each_invalid_field_is_rejected() {
        let whole = header_bytes(3, 7);
        for length in (0..100).chain([101]) {
            let mut bytes = whole.clone();
            bytes.resize(length, 0);
            assert!(Header::decode(&bytes).is_err());
        }
        for (offset, number) in [
            (0, 2),
            (20, 1 << 32),
            (28, u64::MAX),
            (28, 33),
            (36, u64::MAX),
            (44, u64::MAX),
            (44, 24),
            (68, u64::MAX),
        ] {
            let mut bytes = whole.clone();
            bytes[offset..offset + 8].copy_from_slice(&u64::to_le_bytes(number));
            assert!(Header::decode(&bytes).is_err(), "{offset} {number}");
        }
        assert!(Header::decode(&header_bytes(0, 7)).is_err());
        assert!(Header::decode(&header_bytes(1 << 40, 7)).is_err());
    }
}
