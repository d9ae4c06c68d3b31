//! Decimal numbers with the range of PostgreSQL's `numeric`.

use std::{cmp::Ordering, io::Write as _};

use serde_json::Number;

/// Maximum digits of PostgreSQL's `numeric` before and after the decimal point.
const MAX_WHOLE_DIGITS: i64 = 131_072;
const MAX_DECIMALS: i64 = 16_383;

/// Why a number cannot be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unstorable {
    /// `-0`, `-0.0`.
    NegativeZero,
    /// Its exponent exceeds the range of a double.
    Exponent,
    /// Its exponent is below that range, so that a double of it is zero.
    Underflow,
    /// It has more digits than `numeric`.
    Digits,
}

impl Unstorable {
    /// The message for the client.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NegativeZero => "-0.0 cannot be distinguished from 0.0 in PostgreSQL: write 0.0",
            Self::Exponent => {
                "exceeds the range of a double: send a smaller number, a whole number with all its digits, \
                    or a text"
            }
            Self::Underflow => {
                "is so close to 0 that a double of it is 0: send 0.0, the number without an exponent, or a text"
            }
            Self::Digits => {
                "has more digits than PostgreSQL's numeric (131,072 before the point, 16,383 after it): \
                    send a text"
            }
        }
    }
}

/// Whether JSONB returns `number` unchanged.
pub(crate) fn check_number(number: &Number) -> Result<(), Unstorable> {
    let Decimal { is_negative, whole, decimals, exponent, .. } = Decimal::of(number.as_str());
    let is_zero = whole.bytes().chain(decimals.bytes()).all(|digit| digit == b'0');
    if is_zero && is_negative {
        return Err(Unstorable::NegativeZero);
    }
    // Check first: a short exponent could require billions of digits.
    if exponent.is_some() {
        match number.as_f64().filter(|double| double.is_finite()) {
            None => return Err(Unstorable::Exponent),
            Some(double) if double == 0.0 && !is_zero => return Err(Unstorable::Underflow),
            Some(_) => {}
        }
    }
    // Zero may have any exponent.
    let exponent = if is_zero { 0 } else { exponent.unwrap_or(0) };
    let length =
        |digits: &str, more: i64| i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(more.max(0));
    if length(whole, exponent) > MAX_WHOLE_DIGITS
        || length(decimals, exponent.saturating_neg()) > MAX_DECIMALS
    {
        return Err(Unstorable::Digits);
    }
    Ok(())
}

/// Appends `number` as JSONB prints it: with the digits that were sent and no exponent. A number with a point or an
/// exponent gets a point, since JSONB distinguishes `1` and `1.0` by their scale. Numbers that fail [`check_number`]
/// are appended unchanged.
pub(crate) fn write_number(json: &mut Vec<u8>, number: &Number) {
    let text = number.as_str();
    let decimal = Decimal::of(text);
    let Some(exponent) = decimal.exponent.filter(|_| check_number(number).is_ok()) else {
        json.extend(text.as_bytes());
        return;
    };
    let digits = format!("{}{}", decimal.whole, decimal.decimals);
    let exponent = if digits.bytes().all(|digit| digit == b'0') { 0 } else { exponent };
    let point = i64::try_from(decimal.whole.len()).unwrap_or(i64::MAX).saturating_add(exponent);
    let sign = if decimal.is_negative { "-" } else { "" };
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
    let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let (whole, decimals) = if point <= 0 {
        ("0".to_owned(), format!("{}{digits}", zeros(-point)))
    } else if point >= length {
        (format!("{digits}{}", zeros(point - length)), "0".to_owned())
    } else {
        let (whole, decimals) = digits.split_at(usize::try_from(point).unwrap_or_default());
        (whole.to_owned(), decimals.to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    write!(json, "{sign}{whole}.{decimals}").expect("writing to memory cannot fail");
}

/// Whether both have the same value, and both or neither are integers.
pub(crate) fn is_same(one: &Number, other: &Number) -> bool {
    let is_whole = |number: &Number| !number.as_str().contains(['.', 'e', 'E']);
    is_whole(one) == is_whole(other) && order(one, other) == Ordering::Equal
}

/// Compares by value, with all digits.
pub(crate) fn order(one: &Number, other: &Number) -> Ordering {
    let (one, other) = (Decimal::of(one.as_str()).magnitude(), Decimal::of(other.as_str()).magnitude());
    let signs = (one.sign(), other.sign());
    if signs.0 != signs.1 {
        return signs.0.cmp(&signs.1);
    }
    let magnitudes = one.point.cmp(&other.point).then_with(|| one.digits.cmp(&other.digits));
    if signs.0 < 0 { magnitudes.reverse() } else { magnitudes }
}

/// The parts of a JSON number.
struct Decimal<'n> {
    is_negative: bool,
    whole: &'n str,
    /// After the point.
    decimals: &'n str,
    /// The exponent, if any, saturated to i64.
    exponent: Option<i64>,
}

/// Digits without leading and trailing zeros, and the position of the point: 0 is right before them.
struct Magnitude {
    is_negative: bool,
    digits: String,
    point: i64,
}

impl<'n> Decimal<'n> {
    fn of(text: &'n str) -> Self {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (digits, exponent) = match text.split_once(['e', 'E']) {
            Some((digits, exponent)) => {
                let bound = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
                (digits, Some(exponent.parse().unwrap_or(bound)))
            }
            None => (text, None),
        };
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        Self { is_negative, whole, decimals, exponent }
    }

    fn magnitude(&self) -> Magnitude {
        let digits = format!("{}{}", self.whole, self.decimals);
        let leading = digits.bytes().take_while(|digit| *digit == b'0').count();
        let point =
            i64::try_from(self.whole.len()).unwrap_or(i64::MAX) - i64::try_from(leading).unwrap_or(i64::MAX);
        let digits = digits.trim_matches('0').to_owned();
        let point = if digits.is_empty() { 0 } else { point.saturating_add(self.exponent.unwrap_or(0)) };
        Magnitude { is_negative: self.is_negative, digits, point }
    }
}

impl Magnitude {
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::from_string_unchecked(text.to_owned())
    }

    fn written(text: &str) -> String {
        let mut json = Vec::new();
        write_number(&mut json, &number(text));
        String::from_utf8(json).expect("digits are text")
    }

    #[test]
    fn numbers_are_written_with_the_digits_that_were_sent() {
        for same in
            ["0", "-1", "18446744073709551616", "1.50", "0.1234567890123456789012345", "10000000000000000.0"]
        {
            assert_eq!(written(same), same);
        }
        for (sent, kept) in [
            ("1e16", "10000000000000000.0"),
            ("1.50e1", "15.0"),
            ("1.5E+3", "1500.0"),
            ("-5e-8", "-0.00000005"),
            ("1234.5e-2", "12.345"),
            ("0e5", "0.0"),
            ("0e-999999999999999999999", "0.0"),
            ("0.001e2", "0.1"),
        ] {
            assert_eq!(written(sent), kept, "{sent}");
        }
    }

    #[test]
    fn numbers_beyond_numeric_or_a_double_are_rejected() {
        for (text, expected) in [
            ("1e400", Err(Unstorable::Exponent)),
            ("1e-400", Err(Unstorable::Underflow)),
            ("4.9e-325", Err(Unstorable::Underflow)),
            ("-4.9E-325", Err(Unstorable::Underflow)),
            ("1e-99999999999999999999", Err(Unstorable::Underflow)),
            ("-1e400", Err(Unstorable::Exponent)),
            ("1e99999999999999999999", Err(Unstorable::Exponent)),
            ("-0", Err(Unstorable::NegativeZero)),
            ("-0.0e7", Err(Unstorable::NegativeZero)),
            ("1e308", Ok(())),
            ("5e-324", Ok(())),
            ("-0.1", Ok(())),
        ] {
            assert_eq!(check_number(&number(text)), expected, "{text}");
        }
        assert_eq!(check_number(&number(&"1".repeat(131_072))), Ok(()));
        assert_eq!(check_number(&number(&"1".repeat(131_073))), Err(Unstorable::Digits));
        assert_eq!(check_number(&number(&format!("0.{}", "1".repeat(16_384)))), Err(Unstorable::Digits));
    }

    #[test]
    fn order_is_of_values() {
        let ascending = [
            "-1e400",
            "-2",
            "-1.5",
            "-1e-400",
            "0",
            "1e-400",
            "0.09",
            "0.1",
            "1",
            "1.5",
            "15",
            "1e2",
            "9e99999999999999999999",
        ];
        for (position, one) in ascending.iter().enumerate() {
            for (other_position, other) in ascending.iter().enumerate() {
                assert_eq!(
                    order(&number(one), &number(other)),
                    position.cmp(&other_position),
                    "{one} {other}"
                );
            }
        }
        for (one, other) in [("1", "1.00"), ("100", "1e2"), ("-0", "0.0"), ("0.10", "1e-1"), ("0e7", "0")] {
            assert_eq!(order(&number(one), &number(other)), Ordering::Equal, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn doubles_are_written_without_an_exponent(double in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL) {
            let number = Number::from_f64(double).expect("it is finite");
            prop_assert_eq!(check_number(&number), Ok(()));
            let written = written(number.as_str());
            prop_assert!(written.contains('.') && !written.contains('e'));
            prop_assert_eq!(written.parse(), Ok(double));
        }

        #[test]
        fn doubles_are_ordered_as_numbers(one in -1e9..1e9_f64, other in -1e9..1e9_f64) {
            let number = |double| Number::from_f64(double).expect("it is finite");
            prop_assert_eq!(Some(order(&number(one), &number(other))), one.partial_cmp(&other));
        }
    }
}
