//! An id in 16 bytes, where it fits them.

use std::ops::Deref;

/// An id. Equal ids have equal packings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packed<'t> {
    /// A UUID as Python and Chroma's clients write it: with hyphens, in lower case.
    Uuid(u128),
    /// Up to 15 other bytes, then zeros; the last byte is their number.
    Short(u128),
    /// Anything else.
    Long(&'t [u8]),
}

/// The bytes of an id.
#[derive(Clone, Copy, Debug)]
pub(crate) enum IdText<'t> {
    Stored(&'t [u8]),
    Unpacked { bytes: [u8; UUID_LENGTH], length: u8 },
}

const UUID_LENGTH: usize = 36;

/// The longest id that is [short](Packed::Short).
const LONGEST_SHORT: usize = 15;

/// Where a UUID's text has a hyphen.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Where a UUID's text has the first digit of each byte.
const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The value of each digit; of what is none, more than any digit's.
const VALUES: [u8; 256] = {
    let mut values = [0xff; 256];
    let mut digit = 0;
    while digit < DIGITS.len() {
        values[DIGITS[digit] as usize] = digit as u8;
        digit += 1;
    }
    values
};

impl<'t> Packed<'t> {
    pub(super) fn new(id: &'t [u8]) -> Self {
        if let Some(uuid) = id.first_chunk().filter(|_| id.len() == UUID_LENGTH).and_then(pack_uuid) {
            return Self::Uuid(uuid);
        }
        let mut bytes = [0; 16];
        match bytes.get_mut(..id.len()).filter(|_| id.len() <= LONGEST_SHORT) {
            Some(start) => {
                start.copy_from_slice(id);
                // At most `LONGEST_SHORT`.
                bytes[LONGEST_SHORT] = id.len() as u8;
                Self::Short(u128::from_le_bytes(bytes))
            }
            None => Self::Long(id),
        }
    }

    pub(super) fn text(self) -> IdText<'t> {
        match self {
            Self::Uuid(uuid) => IdText::Unpacked { bytes: unpack_uuid(uuid), length: UUID_LENGTH as u8 },
            Self::Short(short) => {
                let short = short.to_le_bytes();
                let mut bytes = [0; UUID_LENGTH];
                bytes[..LONGEST_SHORT].copy_from_slice(&short[..LONGEST_SHORT]);
                IdText::Unpacked { bytes, length: short[LONGEST_SHORT] }
            }
            Self::Long(id) => IdText::Stored(id),
        }
    }
}

impl Deref for IdText<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Stored(id) => id,
            // `length` is at most that of `bytes`: who unpacks has filled so many.
            Self::Unpacked { bytes, length } => bytes.get(..usize::from(*length)).unwrap_or_default(),
        }
    }
}

fn pack_uuid(text: &[u8; UUID_LENGTH]) -> Option<u128> {
    let mut bytes = [0; 16];
    let mut seen = 0;
    for (byte, first) in bytes.iter_mut().zip(PAIRS) {
        let (high, low) = (VALUES[usize::from(text[first])], VALUES[usize::from(text[first + 1])]);
        *byte = high << 4 | (low & 0xf);
        seen |= high | low;
    }
    let is_uuid = seen <= 0xf && HYPHENS.iter().all(|place| text[*place] == b'-');
    is_uuid.then_some(u128::from_be_bytes(bytes))
}

fn unpack_uuid(uuid: u128) -> [u8; UUID_LENGTH] {
    let mut text = [b'-'; UUID_LENGTH];
    for (byte, first) in uuid.to_be_bytes().into_iter().zip(PAIRS) {
        text[first] = DIGITS[usize::from(byte >> 4)];
        text[first + 1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_unpacks_to_the_same_text_is_packed_as_uuid() {
        let uuid = *b"00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(Packed::new(&uuid), Packed::Uuid(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
        for place in 0..uuid.len() {
            for byte in 0..=255 {
                let mut id = uuid;
                id[place] = byte;
                let packed = Packed::new(&id);
                assert_eq!(&*packed.text(), id);
                let is_in_place = HYPHENS.contains(&place) == (byte == b'-');
                let is_uuid = is_in_place && matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f');
                assert_eq!(matches!(packed, Packed::Uuid(_)), is_uuid, "{place} {byte}");
            }
        }
    }

    proptest! {
        #[test]
        fn packing_keeps_every_byte(id in proptest::collection::vec(any::<u8>(), 0..40), end in 0..20_usize) {
            prop_assert_eq!(&*Packed::new(&id).text(), &id[..]);
            // Zeros at the end are part of an id.
            let shorter = &id[..end.min(id.len())];
            prop_assert_eq!(Packed::new(&id) == Packed::new(shorter), id == shorter);
        }
    }
}
