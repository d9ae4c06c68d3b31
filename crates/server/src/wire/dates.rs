//! Bounds of a time range, as clients write them.

use std::{borrow::Cow, fmt};

use records::timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use time::{Date, Duration, PrimitiveDateTime, Time, macros::format_description};

const EXPECTED: &str =
    "a date like 2026-01-31 or a time like 2026-01-31T12:00:00 (UTC unless a zone is given)";

/// The start of the range, included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StartDate(pub(crate) PrimitiveDateTime);

/// The end of the range, excluded: the day after a bare date, or the microsecond after a time, so that both are
/// included. `None` beyond the end of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndDate(pub(crate) Option<PrimitiveDateTime>);

/// A day or a point in time.
enum DayOrTime {
    Day(Date),
    Time(PrimitiveDateTime),
}

impl StartDate {
    fn parse(text: &str) -> Option<Self> {
        Some(match DayOrTime::parse(text)? {
            DayOrTime::Day(day) => Self(day.with_time(Time::MIDNIGHT)),
            DayOrTime::Time(time) => Self(time),
        })
    }
}

impl EndDate {
    fn parse(text: &str) -> Option<Self> {
        Some(match DayOrTime::parse(text)? {
            DayOrTime::Day(day) => Self(day.next_day().map(|next| next.with_time(Time::MIDNIGHT))),
            // Stored times are whole microseconds.
            DayOrTime::Time(time) => Self(time.checked_add(Duration::MICROSECOND)),
        })
    }
}

impl DayOrTime {
    fn parse(text: &str) -> Option<Self> {
        // Exactly ten bytes: the parser would accept a sign before the year.
        if text.len() == 10 {
            let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok();
            return day.map(Self::Day);
        }
        timestamp::parse(text).map(Self::Time)
    }
}

/// Deserializes a text by `parse`.
fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Visitor<F>(F);

    impl<T, F: Fn(&str) -> Option<T>> de::Visitor<'_> for Visitor<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.0)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    deserializer.deserialize_str(Visitor(parse))
}

fn schema(description: &str) -> Schema {
    json_schema!({
        "type": "string",
        "description": description,
        "examples": ["2026-01-31", "2026-01-31T12:00:00.000000"],
    })
}

impl<'de> Deserialize<'de> for StartDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, Self::parse)
    }
}

impl<'de> Deserialize<'de> for EndDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(deserializer, Self::parse)
    }
}

impl JsonSchema for StartDate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "StartDate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema("Only records from this date or time onwards. UTC unless a zone is given.")
    }
}

impl JsonSchema for EndDate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EndDate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schema(
            "Only records up to and including this date or time: a bare date includes the whole day. UTC \
                unless a zone is given.",
        )
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn end_of_range_includes_the_given_day_or_time() {
        let end = |text: &str| EndDate::parse(text).map(|end| end.0);
        assert_eq!(end("2026-01-31"), Some(Some(datetime!(2026-02-01 0:00))));
        assert_eq!(end("2026-01-31T12:00:00"), Some(Some(datetime!(2026-01-31 12:00:00.000001))));
        assert_eq!(end("2026-01-31T12:00:00+02:00"), Some(Some(datetime!(2026-01-31 10:00:00.000001))));
        assert_eq!(end("9999-12-31"), Some(None));
        assert_eq!(StartDate::parse("2026-01-31"), Some(StartDate(datetime!(2026-01-31 0:00))));
    }

    #[test]
    fn invalid_dates_are_rejected() {
        for text in ["", "yesterday", "2026-02-30", "+2026-01-1", "2026-1-31", "2026-01-31T", "1736553600"] {
            assert!(StartDate::parse(text).is_none(), "{text}");
        }
    }
}
