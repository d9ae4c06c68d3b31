//! Positions in PostgreSQL's write-ahead log. A read sees a write if its server has replayed the log up to the position
//! after the write.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
};

/// A position in the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lsn(u64);

/// A text that is no position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a position in the write-ahead log such as `16/B374D848`, or `primary`")]
pub struct InvalidLsn;

impl Lsn {
    /// Beyond every position, so that only the primary answers.
    pub const PRIMARY: Self = Self(u64::MAX);

    /// The position that PostgreSQL gives as its distance from `0/0`.
    pub(crate) fn at(distance: i64) -> Self {
        Self(distance.unsigned_abs())
    }

    /// How many bytes this is after `earlier`.
    pub(crate) fn bytes_after(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::PRIMARY {
            return f.write_str("primary");
        }
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & u64::from(u32::MAX))
    }
}

impl FromStr for Lsn {
    type Err = InvalidLsn;

    fn from_str(text: &str) -> Result<Self, InvalidLsn> {
        if text == "primary" {
            return Ok(Self::PRIMARY);
        }
        let half = |digits: &str| {
            let is_fit =
                (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_fit.then(|| u64::from_str_radix(digits, 16).ok()).flatten().ok_or(InvalidLsn)
        };
        let (high, low) = text.split_once('/').ok_or(InvalidLsn)?;
        Ok(Self((half(high)? << 32) | half(low)?))
    }
}

/// The newest position that a process knows of: that of its last write, or of its last read on the primary.
#[derive(Debug, Default)]
pub(crate) struct Known(AtomicU64);

impl Known {
    pub(crate) fn note(&self, lsn: Lsn) {
        self.0.fetch_max(lsn.0, Ordering::AcqRel);
    }

    pub(crate) fn get(&self) -> Lsn {
        Lsn(self.0.load(Ordering::Acquire))
    }

    /// Forgets `before`, which was known before the primary said that it is at `now`, if that is earlier: another server has
    /// become the primary, and what was written to the former one after `now` is lost.
    pub(crate) fn correct(&self, before: Lsn, now: Lsn) {
        if now < before {
            // If a write was noted meanwhile, the next correction finds out.
            let _ = self.0.compare_exchange(before.0, now.0, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

tokio::task_local! {
    /// What the client of the request knows of.
    static OF_REQUEST: Lsn;
}

/// Does `work`, whose reads see everything up to `lsn`, and everything that this process has written.
pub async fn reading_after<F: Future>(lsn: Lsn, work: F) -> F::Output {
    OF_REQUEST.scope(lsn, work).await
}

/// The position of the enclosing [`reading_after`].
pub(crate) fn of_request() -> Lsn {
    // Background tasks and commands have no client that has written.
    OF_REQUEST.try_with(|lsn| *lsn).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_postgresql_writes_them() {
        for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFE", "primary"] {
            assert_eq!(text.parse::<Lsn>().map(|lsn| lsn.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("16/b374d848".parse::<Lsn>(), Ok(Lsn(0x16_B374_D848)));
        for text in
            ["", "/", "1", "1/", "/1", "1/2/3", "-1/2", "+1/2", "123456789/0", "1/g", " 1/2", "Primary"]
        {
            assert_eq!(text.parse::<Lsn>(), Err(InvalidLsn), "{text}");
        }
    }

    #[test]
    fn newest_position_is_known_until_another_server_is_the_primary() {
        let known = Known::default();
        known.note(Lsn(20));
        known.note(Lsn(10));
        assert_eq!(known.get(), Lsn(20));
        known.correct(Lsn(20), Lsn(30));
        assert_eq!(known.get(), Lsn(20));
        known.correct(Lsn(20), Lsn(15));
        assert_eq!(known.get(), Lsn(15));
        known.note(Lsn(40));
        known.correct(Lsn(20), Lsn(15));
        assert_eq!(known.get(), Lsn(40), "it was noted after the primary was asked");
    }

    #[tokio::test]
    async fn position_of_a_request_is_that_of_the_enclosing_work() {
        assert_eq!(of_request(), Lsn(0));
        assert_eq!(reading_after(Lsn(7), async { of_request() }).await, Lsn(7));
    }
}
