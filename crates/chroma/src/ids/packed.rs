//! Packs ids into 16 bytes where possible.

use std::ops::Deref;

/// A packed id. Equal ids have equal packings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Packed<'t> {
    /// A UUID as Python and Chroma's clients format it: with hyphens, in lower case.
    Uuid(u128),
    /// Up to 15 bytes, padded with zeros; the last byte is the length.
    Short(u128),
    /// Any other id.
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
const MAX_SHORT_LENGTH: usize = 15;

/// Positions of the hyphens in a UUID.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Positions of the first hexadecimal digit of each byte in a UUID.
const PAIRS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Values of hexadecimal digits; 0xff for other characters.
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
        match bytes.get_mut(..id.len()).filter(|_| id.len() <= MAX_SHORT_LENGTH) {
            Some(start) => {
                start.copy_from_slice(id);
                // At most `MAX_SHORT_LENGTH`.
                bytes[MAX_SHORT_LENGTH] = id.len() as u8;
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
                bytes[..MAX_SHORT_LENGTH].copy_from_slice(&short[..MAX_SHORT_LENGTH]);
                IdText::Unpacked { bytes, length: short[MAX_SHORT_LENGTH] }
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
            // `length` is at most the length of `bytes`, by construction.
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
    fn only_canonical_uuids_are_packed_as_uuid() {
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
            // Trailing zeros are part of an id.
            let shorter = &id[..end.min(id.len())];
            prop_assert_eq!(Packed::new(&id) == Packed::new(shorter), id == shorter);
        }
    }
}
