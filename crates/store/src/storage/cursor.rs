//! A place in a list that is ordered newest first.

use std::{fmt, str::FromStr};

use records::{stored_id, timestamp};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::Record;

/// The place after a record. Its text is opaque to clients, and stays valid when the record is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The record's time; `None` places it among those without one, at the end.
    pub created_at: Option<PrimitiveDateTime>,
    /// [`stored_id`] of the record's id.
    pub key: Uuid,
}

/// A text that is no cursor of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

/// Parts the time and the key.
const SEPARATOR: char = '_';

impl Cursor {
    /// The place after `record`.
    pub fn after(record: &Record) -> Self {
        Self { created_at: record.created_at, key: stored_id(&record.id) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.created_at.map_or_else(String::new, timestamp::format);
        write!(f, "{time}{SEPARATOR}{}", self.key.simple())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (time, key) = text.rsplit_once(SEPARATOR).ok_or(InvalidCursor)?;
        let key = Uuid::try_parse(key).map_err(|_| InvalidCursor)?;
        let created_at = match time {
            "" => None,
            time => Some(timestamp::parse(time).ok_or(InvalidCursor)?),
        };
        Ok(Self { created_at, key })
    }
}

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a cursor as the last answer gave it")
    }
}

impl std::error::Error for InvalidCursor {}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn cursor_is_read_back_from_its_text() {
        for created_at in [None, Some(datetime!(2026-01-31 12:00:00.000137))] {
            let cursor = Cursor { created_at, key: Uuid::from_u128(7) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "_", "x_00000000000000000000000000000007", "2026-01-31T12:00:00"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
