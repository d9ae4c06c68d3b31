//! Sequence numbers of the log in `max_seq_id` (FORMAT §5).

use rusqlite::types::ValueRef;

/// No log has a larger number; such a value was corrupted by migration metadb/00005 or by damage.
const MAX_SEQ_ID: u64 = 1 << 53;

/// An invalid value of `max_seq_id.seq_id`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a sequence number as INTEGER or as 8 or 24 bytes big-endian, found {found}")]
pub(crate) struct SeqIdError {
    found: String,
}

/// The sequence number in a cell: INTEGER since 1.0, BLOB before, either after an upgrade.
pub(crate) fn decode(cell: ValueRef<'_>) -> Result<i64, SeqIdError> {
    let (number, found) = match cell {
        ValueRef::Integer(number) => (u64::try_from(number).ok(), number.to_string()),
        ValueRef::Blob(bytes) => (big_endian(bytes), format!("a BLOB of {} bytes", bytes.len())),
        ValueRef::Null => (None, "NULL".to_owned()),
        ValueRef::Real(number) => (None, number.to_string()),
        ValueRef::Text(_) => (None, "TEXT".to_owned()),
    };
    number.map(unpoison).and_then(|number| i64::try_from(number).ok()).ok_or(SeqIdError { found })
}

/// Decodes 8 bytes, or 24 of which the first 16 are zero in any real log.
fn big_endian(bytes: &[u8]) -> Option<u64> {
    let (high, low) = bytes.split_last_chunk::<8>()?;
    let plausible = matches!(high.len(), 0 | 16) && high.iter().all(|byte| *byte == 0);
    plausible.then(|| u64::from_be_bytes(*low))
}

/// Decodes a value that was INTEGER already when migration metadb/00005 ran: `0x11…11` and its ASCII digits.
fn unpoison(number: u64) -> u64 {
    if number <= MAX_SEQ_ID {
        return number;
    }
    let bytes = number.to_be_bytes();
    let start = bytes.iter().position(|byte| !matches!(byte, 0x00 | 0x11)).unwrap_or(bytes.len());
    let digits = bytes.get(start..).unwrap_or_default();
    // Up to 8 digits: the sum cannot overflow. A value without digits is damaged and stays as it is.
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if is_number {
        digits.iter().fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'))
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_and_the_poisoned_one_decode() {
        let blob24 = [&[0_u8; 16][..], &77_u64.to_be_bytes()].concat();
        assert_eq!(decode(ValueRef::Integer(46)), Ok(46));
        assert_eq!(decode(ValueRef::Blob(&46_u64.to_be_bytes())), Ok(46));
        assert_eq!(decode(ValueRef::Blob(&blob24)), Ok(77));
        assert_eq!(decode(ValueRef::Integer(1_229_821_589_196_978_484)), Ok(481_194));
        assert_eq!(decode(ValueRef::Integer(1 << 53)), Ok(1 << 53));
        assert_eq!(decode(ValueRef::Integer((1 << 60) + 3)), Ok((1 << 60) + 3));
    }

    #[test]
    fn invalid_sequence_numbers_are_errors() {
        for cell in [
            ValueRef::Null,
            ValueRef::Integer(-1),
            ValueRef::Real(1.0),
            ValueRef::Text(b"7"),
            ValueRef::Blob(b""),
            ValueRef::Blob(&[0xff; 8]),
            ValueRef::Blob(&[1; 24]),
            ValueRef::Blob(&[0; 9]),
        ] {
            assert!(decode(cell).is_err(), "{cell:?}");
        }
    }
}
