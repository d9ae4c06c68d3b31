//! A position in the list of results, newest first.

use std::{fmt, fmt::Write as _, str::FromStr};

use crate::{
    StoredTime,
    storage::{read_time, write_time},
};

/// The position after a result. Its text is opaque to clients, needs no escapes in a URL, and stays valid when the
/// result is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultCursor {
    /// The result's time; `None` for results without a time, at the end.
    pub timestamp: Option<StoredTime>,
    /// The result's id: any text.
    pub id: String,
}

/// An invalid cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a cursor as returned by the previous response")]
pub struct InvalidResultCursor;

/// Separates the time and the id, whose bytes follow as hexadecimal digits.
const SEPARATOR: char = '_';

impl fmt::Display for ResultCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.timestamp)?;
        f.write_char(SEPARATOR)?;
        self.id.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ResultCursor {
    type Err = InvalidResultCursor;

    fn from_str(text: &str) -> Result<Self, InvalidResultCursor> {
        let (time, id) = text.split_once(SEPARATOR).ok_or(InvalidResultCursor)?;
        let timestamp = read_time(time).ok_or(InvalidResultCursor)?;
        let digits: Option<Vec<u8>> =
            id.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2)).ok_or(InvalidResultCursor)?;
        let bytes = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let id = String::from_utf8(bytes).map_err(|_| InvalidResultCursor)?;
        // No id contains NUL, and no statement can contain it.
        if id.contains('\0') { Err(InvalidResultCursor) } else { Ok(Self { timestamp, id }) }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn cursor_is_read_back_from_its_text() {
        let times =
            [datetime!(2026-01-31 12:00:00.000137).into(), StoredTime::INFINITY, StoredTime::MINUS_INFINITY];
        for timestamp in times.map(Some).into_iter().chain([None]) {
            for id in ["", "chatcmpl-8_x", "ключ & \u{1F600}"] {
                let cursor = ResultCursor { timestamp, id: id.to_owned() };
                assert_eq!(cursor.to_string().parse(), Ok(cursor));
            }
        }
        for text in ["", "x_61", "2026-01-31T12:00:00", "_6", "_6g", "_ff", "_00", "_+1", "_é"] {
            assert_eq!(text.parse::<ResultCursor>(), Err(InvalidResultCursor), "{text}");
        }
    }
}
