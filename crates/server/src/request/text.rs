//! Values of query strings, and texts of the old services, read as pydantic reads them.

use std::borrow::Cow;

use serde::{
    Deserializer,
    de::{
        Error as _, IntoDeserializer, Visitor,
        value::{CowStrDeserializer, Error},
    },
    forward_to_deserialize_any,
};

use records::shortened;

use crate::answer::SHOWN_CHARACTERS;

/// The whole number that `text` is for pydantic: `5`, `+5`, ` 5 `, `5.0` or `1_000`.
pub(crate) fn whole(text: &str) -> Option<i64> {
    let text = without_underscores(text.trim())?;
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|byte| byte == b'0') => digits,
        _ => &text,
    };
    digits.parse().ok()
}

/// The truth value that `text` is for pydantic.
pub(crate) fn truth(text: &str) -> Option<bool> {
    let is_any = |words: [&str; 6]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_any(["true", "t", "yes", "y", "on", "1"]) {
        return Some(true);
    }
    is_any(["false", "f", "no", "n", "off", "0"]).then_some(false)
}

fn number(text: &str) -> Option<f64> {
    without_underscores(text.trim())?.parse().ok()
}

/// Python allows single underscores between digits.
fn without_underscores(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(text.into());
    }
    let is_odd = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!is_odd).then(|| text.replace('_', "").into())
}

/// A value of a query string.
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

impl<'de> Text<'de> {
    fn read<T>(&self, read: fn(&str) -> Option<T>, expected: &str) -> Result<T, Error> {
        let found = || shortened(&self.0, SHOWN_CHARACTERS);
        read(&self.0).ok_or_else(|| Error::custom(format_args!("expected {expected}, found {:?}", found())))
    }

    fn into_plain(self) -> CowStrDeserializer<'de, Error> {
        self.0.into_deserializer()
    }
}

impl<'de> IntoDeserializer<'de, Error> for Text<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Text<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.into_plain().deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.into_plain().deserialize_enum(name, variants, visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.read(truth, "true or false")?)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.read(whole, "a whole number")?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // Beyond `i64`, digits alone.
        let read = |text: &str| text.parse().ok().or_else(|| u64::try_from(whole(text)?).ok());
        visitor.visit_u64(self.read(read, "a whole number from 0")?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.read(number, "a number")?)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u128 f32 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map struct identifier ignored_any
    }
}
