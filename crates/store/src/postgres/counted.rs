//! Counts, which PostgreSQL stores as signed numbers; only another program writes negative ones.

use std::fmt::Display;

/// A stored count or position.
///
/// # Errors
/// When it is negative or too large: it is never replaced by another number.
pub(crate) fn counted<S: Copy + Display, U: TryFrom<S>>(stored: S) -> sqlx::Result<U> {
    let error = || sqlx::Error::Decode(format!("expected a count, found {stored}").into());
    U::try_from(stored).map_err(|_| error())
}

/// Converts a count to PostgreSQL's type. Larger numbers, such as invalid token counts of a provider, are limited to
/// its maximum.
pub(crate) fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_and_large_numbers_are_errors() {
        assert_eq!(counted::<i64, u64>(7).expect("a count"), 7);
        assert_eq!(counted::<i32, u16>(65_535).expect("a count"), 65_535);
        for error in [counted::<i64, u64>(-5).map(drop), counted::<i32, u16>(65_536).map(drop)] {
            assert!(matches!(error, Err(sqlx::Error::Decode(_))), "{error:?}");
        }
        assert_eq!((whole(1), whole(u64::MAX)), (1, i64::MAX));
    }
}
