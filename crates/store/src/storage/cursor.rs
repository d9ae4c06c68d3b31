//! A position in a list that is ordered newest first.

use std::{fmt, str::FromStr};

use records::{stored_id, timestamp};
use uuid::Uuid;

use super::Record;
use crate::StoredTime;

/// The position after a record. Its text is opaque to clients, and stays valid when the record is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The record's time; `None` for records without a time, at the end.
    pub created_at: Option<StoredTime>,
    /// [`stored_id`] of the record's id.
    pub key: Uuid,
}

/// An invalid cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCursor;

/// Separates the time and the key.
const SEPARATOR: char = '_';

impl Cursor {
    /// The position after `record`.
    pub fn after(record: &Record) -> Self {
        Self { created_at: record.created_at, key: stored_id(&record.id) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_time(f, self.created_at)?;
        write!(f, "{SEPARATOR}{}", self.key.simple())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (time, key) = text.rsplit_once(SEPARATOR).ok_or(InvalidCursor)?;
        let key = Uuid::try_parse(key).map_err(|_| InvalidCursor)?;
        Ok(Self { created_at: read_time(time).ok_or(InvalidCursor)?, key })
    }
}

/// Prefix of a time outside the contract's format, followed by microseconds.
const OUT_OF_CALENDAR: &str = "us";

/// Writes a cursor's time.
pub(crate) fn write_time(f: &mut fmt::Formatter<'_>, time: Option<StoredTime>) -> fmt::Result {
    match time {
        None => Ok(()),
        Some(time) if time.in_calendar().is_some() => write!(f, "{time}"),
        Some(time) => write!(f, "{OUT_OF_CALENDAR}{}", time.microseconds_since_2000()),
    }
}

/// Parses a time written by [`write_time`].
pub(crate) fn read_time(text: &str) -> Option<Option<StoredTime>> {
    if text.is_empty() {
        return Some(None);
    }
    let time = match text.strip_prefix(OUT_OF_CALENDAR) {
        Some(microseconds) => StoredTime::from_microseconds_since_2000(microseconds.parse().ok()?),
        None => timestamp::parse(text)?.into(),
    };
    Some(Some(time))
}

impl fmt::Display for InvalidCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a cursor as returned by the previous response")
    }
}

impl std::error::Error for InvalidCursor {}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn cursor_is_read_back_from_its_text() {
        let times =
            [datetime!(2026-01-31 12:00:00.000137).into(), StoredTime::INFINITY, StoredTime::MINUS_INFINITY];
        for created_at in times.map(Some).into_iter().chain([None]) {
            let cursor = Cursor { created_at, key: Uuid::from_u128(7) };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in [
            "",
            "_",
            "x_00000000000000000000000000000007",
            "2026-01-31T12:00:00",
            "us_00000000000000000000000000000007",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
