//! A value of PostgreSQL's `timestamp`, whose range exceeds that of calendar types.

use std::fmt;

use records::timestamp;
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef},
};
use time::{Duration, PrimitiveDateTime, macros::datetime};

/// Any time that PostgreSQL can store, in UTC: from 4714 BC to the year 294276, and the two infinities. Ordered like
/// in PostgreSQL.
///
/// Formatted in the contract's form for the years 1 to 9999, else in PostgreSQL's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredTime {
    /// Microseconds since 2000; the ends of the range are the infinities.
    microseconds: i64,
}

/// PostgreSQL's epoch.
const EPOCH: PrimitiveDateTime = datetime!(2000-01-01 00:00);
const DAY: i64 = 86_400_000_000;
/// Days from 1 March of the year 0 to [`EPOCH`].
const EPOCH_DAYS: i64 = 730_425;
/// Days in 400 years.
const ERA_DAYS: i64 = 146_097;

impl StoredTime {
    /// `infinity`.
    pub const INFINITY: Self = Self { microseconds: i64::MAX };
    /// `-infinity`.
    pub const MINUS_INFINITY: Self = Self { microseconds: i64::MIN };

    /// The time in the contract's range; `None` outside the years 1 to 9999.
    pub fn in_calendar(self) -> Option<PrimitiveDateTime> {
        let time = EPOCH.checked_add(Duration::microseconds(self.microseconds))?;
        (1..=9_999).contains(&time.year()).then_some(time)
    }

    /// Microseconds since 2000, the ends of the range being the infinities.
    pub fn microseconds_since_2000(self) -> i64 {
        self.microseconds
    }

    /// The time from microseconds since 2000.
    pub fn from_microseconds_since_2000(microseconds: i64) -> Self {
        Self { microseconds }
    }

    /// Parses PostgreSQL's ISO style.
    fn from_postgres(text: &str) -> Option<Self> {
        match text {
            "infinity" => return Some(Self::INFINITY),
            "-infinity" => return Some(Self::MINUS_INFINITY),
            _ => {}
        }
        let (text, is_before_christ) = text.strip_suffix(" BC").map_or((text, false), |text| (text, true));
        let (date, clock) = text.split_once(' ')?;
        let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let year = if is_before_christ { 1 - year } else { year };
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut clock = clock.split(':').map(|part| part.parse::<i64>().ok());
        let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        let seconds = (hour * 60 + minute) * 60 + second;
        let microseconds = days(year, month, day)?
            .checked_mul(DAY)?
            .checked_add(seconds.checked_mul(1_000_000)?.checked_add(fraction)?)?;
        Some(Self { microseconds })
    }
}

/// Days since [`EPOCH`], by Howard Hinnant's `days_from_civil`.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(-5_000..=300_000).contains(&year) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * ERA_DAYS + year * 365 + year / 4 - year / 100 + day - EPOCH_DAYS)
}

/// Year, month and day from days since [`EPOCH`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

impl From<PrimitiveDateTime> for StoredTime {
    /// Digits beyond microseconds are truncated.
    fn from(time: PrimitiveDateTime) -> Self {
        let microseconds = (timestamp::to_microseconds(time) - EPOCH).whole_microseconds();
        // The range of that type is much smaller.
        Self { microseconds: i64::try_from(microseconds).expect("its years fit into 64 bits") }
    }
}

impl fmt::Display for StoredTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = self.in_calendar() {
            return f.write_str(&timestamp::format(time));
        }
        match *self {
            Self::INFINITY => return f.write_str("infinity"),
            Self::MINUS_INFINITY => return f.write_str("-infinity"),
            _ => {}
        }
        let (year, month, day) = date(self.microseconds.div_euclid(DAY));
        let (shown_year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
        let clock = self.microseconds.rem_euclid(DAY);
        let (seconds, fraction) = (clock / 1_000_000, clock % 1_000_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{shown_year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        if fraction > 0 {
            f.write_str(format!(".{fraction:06}").trim_end_matches('0'))?;
        }
        f.write_str(era)
    }
}

impl fmt::Debug for StoredTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Type<Postgres> for StoredTime {
    fn type_info() -> PgTypeInfo {
        <PrimitiveDateTime as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for StoredTime {
    fn array_type_info() -> PgTypeInfo {
        <PrimitiveDateTime as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for StoredTime {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&self.microseconds, buffer)
    }
}

impl Decode<'_, Postgres> for StoredTime {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                Ok(Self { microseconds: i64::from_be_bytes(value.as_bytes()?.try_into()?) })
            }
            PgValueFormat::Text => {
                let text = value.as_str()?;
                Self::from_postgres(text)
                    .ok_or_else(|| format!("expected a timestamp, found `{text}`").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_of_postgresql_are_read_and_written() {
        // As printed by PostgreSQL 16.
        for text in [
            "infinity",
            "-infinity",
            "294276-12-31 23:59:59.999999",
            "12000-01-01 00:00:00",
            "0001-12-31 23:00:00 BC",
            "0044-03-15 12:30:00.5 BC",
            "4714-11-24 00:00:00 BC",
        ] {
            let time = StoredTime::from_postgres(text).expect("it is a time");
            assert_eq!((time.to_string(), time.in_calendar()), (text.to_owned(), None));
        }
        let time = StoredTime::from_postgres("2026-01-31 12:00:00.000137").expect("it is a time");
        assert_eq!(time.to_string(), "2026-01-31T12:00:00.000137");
        assert_eq!(time, datetime!(2026-01-31 12:00:00.000137).into());
        for text in ["", "now", "2026-01-31", "2026-13-01 00:00:00", "99999999999999-01-01 00:00:00", "é 1"]
        {
            assert_eq!(StoredTime::from_postgres(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn calendars_agree(microseconds in -63_113_904_000_000_000_i64..252_455_615_999_999_999) {
            let time = StoredTime { microseconds };
            let known = time.in_calendar().expect("it lies in the years 1 to 9999");
            prop_assert_eq!(StoredTime::from(known), time);
            prop_assert!(StoredTime::from_postgres(&timestamp::format(known).replace('T', " ")) == Some(time));
        }

        #[test]
        fn every_time_is_read_back(microseconds in -211_813_488_000_000_000_i64..9_223_371_331_199_999_999) {
            let time = StoredTime { microseconds };
            let text = time.to_string().replace('T', " ");
            prop_assert_eq!(StoredTime::from_postgres(&text), Some(time));
        }
    }
}
