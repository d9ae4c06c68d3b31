//! Timestamps of records as text: parses all forms that the old services and Chroma wrote, formats in the contract's.

use std::borrow::Cow;

use time::{
    OffsetDateTime, PrimitiveDateTime, UtcOffset,
    format_description::{BorrowedFormatItem, well_known::Iso8601},
    macros::format_description,
};

/// The contract's format: ISO 8601, UTC, no zone, six fractional digits.
const CONTRACT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");

/// `time` as the services write it: `2026-01-31T12:00:00.000000`.
pub fn format(time: PrimitiveDateTime) -> String {
    time.format(CONTRACT).expect("a date and time have all that the format names")
}

/// The current time, UTC, in microseconds.
pub fn now() -> PrimitiveDateTime {
    let now = OffsetDateTime::now_utc();
    to_microseconds(PrimitiveDateTime::new(now.date(), now.time()))
}

/// The UTC time in `text`: ISO 8601 as Python's `isoformat` writes it, without a zone (then it is UTC) or with
/// one, with `T` or a space between date and time, in the years 1 to 9999. PostgreSQL keeps microseconds; finer digits
/// are cut.
pub fn parse(text: &str) -> Option<PrimitiveDateTime> {
    let text = match text.as_bytes().get(10) {
        Some(b' ') => Cow::Owned(text.replacen(' ', "T", 1)),
        _ => Cow::Borrowed(text),
    };
    let with_offset = || {
        let utc = OffsetDateTime::parse(&text, &Iso8601::DEFAULT).ok()?.checked_to_offset(UtcOffset::UTC)?;
        Some(PrimitiveDateTime::new(utc.date(), utc.time()))
    };
    // The parser without an offset also accepts a text with one, and ignores it.
    let has_offset = text.split_once('T').is_some_and(|(_, clock)| clock.contains(['Z', 'z', '+', '-']));
    let time = match has_offset {
        true => with_offset(),
        false => PrimitiveDateTime::parse(&text, &Iso8601::DEFAULT).ok(),
    }?;
    // The contract's format and Python's calendar have only the years 1 to 9999.
    Some(time).filter(|time| time.year() >= 1).map(to_microseconds)
}

/// `time` as PostgreSQL keeps it, in microseconds: finer digits are cut.
pub fn to_microseconds(time: PrimitiveDateTime) -> PrimitiveDateTime {
    time.replace_nanosecond(time.microsecond() * 1_000).expect("a second has no more nanoseconds")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(text: &str, expected: &Expect) {
        expected.assert_eq(&format!("{:?}", parse(text)));
    }

    #[test]
    fn times_are_parsed_in_every_form_that_the_services_wrote() {
        check("2025-01-11T00:00:00.000137", &expect!["Some(2025-01-11 0:00:00.000137)"]);
        check("2025-01-11T00:00:00", &expect!["Some(2025-01-11 0:00:00.0)"]);
        check("2025-01-11 10:20:30", &expect!["Some(2025-01-11 10:20:30.0)"]);
        check("2025-01-11T10:20:30.123456789", &expect!["Some(2025-01-11 10:20:30.123456)"]);
        check("2025-01-11T10:20:30Z", &expect!["Some(2025-01-11 10:20:30.0)"]);
        check("2025-01-11 10:20:30z", &expect!["None"]);
        check("20250111T102030-0930", &expect!["Some(2025-01-11 19:50:30.0)"]);
        check("2025-01-11 10:20:30+99:00", &expect!["None"]);
        check("2025-01-11T10:20:30.5+02:00", &expect!["Some(2025-01-11 8:20:30.5)"]);
        check("0001-01-01T00:00:00", &expect!["Some(0001-01-01 0:00:00.0)"]);
    }

    #[test]
    fn invalid_time_is_none() {
        for text in [
            "",
            "yesterday",
            "2025-13-01T00:00:00",
            "2025-01-11",
            "1736553600",
            "2025-01-1\u{e9}T00:00:00",
            // Year 0 in UTC, as .NET writes its minimum time with an offset; and years of more digits.
            "0001-01-01T00:00:00+01:00",
            "0000-12-31T00:00:00",
            "-0044-03-15T00:00:00",
            "9999-12-31T23:59:59-01:00",
            "+012000-01-01T00:00:00",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
