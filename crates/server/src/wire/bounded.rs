//! Numbers and texts within limits, so that handlers need no checks.

use std::{borrow::Cow, fmt};

use records::{MAX_LABEL_BYTES, shortened};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use crate::{
    answer::SHOWN_CHARACTERS,
    request::{truth, whole},
};

/// A whole number from `MIN` to `MAX`; `DEFAULT` where the field is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: u32, const MAX: u32, const DEFAULT: u32>(u32);

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Whole<MIN, MAX, DEFAULT> {
    /// The number.
    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> Default for Whole<MIN, MAX, DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const MIN: u32, const MAX: u32, const DEFAULT: u32> Deserialize<'de> for Whole<MIN, MAX, DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MIN: u32, const MAX: u32>;

        impl<const MIN: u32, const MAX: u32> de::Visitor<'_> for Visitor<MIN, MAX> {
            type Value = u32;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<u32, E> {
                let within = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
                within.ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<u32, E> {
                let within = u32::try_from(number).ok().filter(|number| (MIN..=MAX).contains(number));
                within.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(number), &self))
            }
        }

        deserializer.deserialize_i64(Visitor::<MIN, MAX>).map(Self)
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> JsonSchema for Whole<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Whole_{MIN}_{MAX}_{DEFAULT}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX, "default": DEFAULT })
    }
}

/// [`Whole`] on the routes of the old services, which accept what pydantic accepts as a whole number, including `"5"`
/// and `5.0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaxWhole<const MIN: u32, const MAX: u32, const DEFAULT: u32>(Whole<MIN, MAX, DEFAULT>);

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> LaxWhole<MIN, MAX, DEFAULT> {
    /// The number.
    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }
}

impl<'de, const MIN: u32, const MAX: u32, const DEFAULT: u32> Deserialize<'de>
    for LaxWhole<MIN, MAX, DEFAULT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Reading a `Number` keeps all digits, which a float visitor would not.
        let value = Value::deserialize(deserializer)?;
        let digits = match &value {
            // `Display` writes a whole float as plain digits, which then parse as an integer.
            Value::Number(number) if number.is_f64() => number.as_f64().map(|number| number.to_string()),
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) => Some(text.clone()),
            _ => None,
        };
        let number = digits.and_then(|digits| whole(&digits)).and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (MIN..=MAX).contains(number)) {
            Some(number) => Ok(Self(Whole(number))),
            None => Err(de::Error::custom(format_args!(
                "invalid value: {value}, expected a whole number from {MIN} to {MAX}"
            ))),
        }
    }
}

impl<const MIN: u32, const MAX: u32, const DEFAULT: u32> JsonSchema for LaxWhole<MIN, MAX, DEFAULT> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Whole::<MIN, MAX, DEFAULT>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Whole::<MIN, MAX, DEFAULT>::json_schema(generator)
    }
}

/// `true` or `false` on a route of the old services, which accept what pydantic accepts as a truth value, including
/// `"yes"` and `1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LaxBool(pub(crate) bool);

impl<'de> Deserialize<'de> for LaxBool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let found = match &value {
            Value::Bool(found) => Some(*found),
            Value::String(text) => truth(text),
            Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
            Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
            _ => None,
        };
        found.map(Self).ok_or_else(|| {
            let found = value.to_string();
            de::Error::custom(format_args!(
                "expected true or false, found {}",
                shortened(&found, SHOWN_CHARACTERS)
            ))
        })
    }
}

impl JsonSchema for LaxBool {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "bool".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        bool::json_schema(generator)
    }
}

/// A number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Within<const MIN: i32, const MAX: i32>(f64);

impl<const MIN: i32, const MAX: i32> Within<MIN, MAX> {
    /// The number.
    pub(crate) fn get(self) -> f64 {
        self.0
    }
}

impl<'de, const MIN: i32, const MAX: i32> Deserialize<'de> for Within<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if (f64::from(MIN)..=f64::from(MAX)).contains(&number) {
            return Ok(Self(number));
        }
        Err(de::Error::custom(format_args!("expected a number from {MIN} to {MAX}, found {number}")))
    }
}

impl<const MIN: i32, const MAX: i32> JsonSchema for Within<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Within_{MIN}_{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": MIN, "maximum": MAX })
    }
}

/// A category or name, of up to [`MAX_LABEL_BYTES`] bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(pub(crate) String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() <= MAX_LABEL_BYTES {
            return Ok(Self(text));
        }
        let found = text.len();
        Err(de::Error::custom(format_args!("expected up to {MAX_LABEL_BYTES} bytes, found {found}")))
    }
}

impl JsonSchema for Label {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Label".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        // `maxLength` counts characters, which is an upper bound.
        json_schema!({ "type": "string", "maxLength": MAX_LABEL_BYTES })
    }
}

/// A list of `MIN` to `MAX` entries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entries<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> Entries<T, MIN, MAX> {
    /// The entries.
    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de> for Entries<T, MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&entries.len()) {
            return Ok(Self(entries));
        }
        let found = entries.len();
        Err(de::Error::custom(format_args!("expected {MIN} to {MAX} entries, found {found}")))
    }
}

impl<T: JsonSchema, const MIN: usize, const MAX: usize> JsonSchema for Entries<T, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Entries_{MIN}_{MAX}_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let entry = generator.subschema_for::<T>();
        json_schema!({ "type": "array", "items": entry, "minItems": MIN, "maxItems": MAX })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    #[test]
    fn old_routes_accept_whole_numbers_like_pydantic_and_new_ones_do_not() {
        let lax = |value: Value| from_value::<LaxWhole<1, 100, 5>>(value).ok().map(LaxWhole::get);
        let strict = |value: Value| from_value::<Whole<1, 100, 5>>(value).ok().map(Whole::get);
        for (value, number) in [
            (json!("5"), 5),
            (json!(5.0), 5),
            (json!("5.0"), 5),
            (json!(" 7 "), 7),
            (json!("+8"), 8),
            (json!("1_0"), 10),
            (json!("5."), 5),
        ] {
            assert_eq!((lax(value.clone()), strict(value.clone())), (Some(number), None), "{value}");
        }
        assert_eq!((lax(json!(100)), strict(json!(100))), (Some(100), Some(100)));
        for value in [
            json!("5.5"),
            json!(5.5),
            json!(""),
            json!("."),
            json!("x"),
            json!("0"),
            json!(101.0),
            json!("101"),
            json!(1e300),
            json!(-1),
            json!("-5"),
            json!(null),
            json!(true),
            json!([5]),
            json!("5e0"),
            json!("_5"),
            json!("1__0"),
        ] {
            assert_eq!(lax(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn old_routes_accept_truth_values_like_pydantic() {
        let lax = |value: &Value| from_value::<LaxBool>(value.clone()).ok().map(|LaxBool(found)| found);
        for (words, numbers, expected) in [
            (["true", "T", "Yes", "y", "ON", "1"], [json!(true), json!(1), json!(1.0)], true),
            (["false", "F", "No", "n", "OFF", "0"], [json!(false), json!(0), json!(0.0)], false),
        ] {
            for value in words.map(|word| json!(word)).iter().chain(&numbers) {
                assert_eq!(lax(value), Some(expected), "{value}");
            }
        }
        for value in [
            json!(null),
            json!(2),
            json!(0.5),
            json!(-1),
            json!(""),
            json!("2"),
            json!("yess"),
            json!([true]),
        ] {
            assert_eq!(lax(&value), None, "{value}");
        }
    }
}
