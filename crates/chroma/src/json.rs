//! Parser of the JSON in Chroma's logs and configurations.
//!
//! Up to 0.6 the log was written by Python's `json.dumps`, which extends JSON: bare `NaN` and `Infinity`, and
//! unpaired surrogate escapes such as `\ud800`. A strict parser would lose these rows. This one accepts all valid
//! JSON, does not convert integers to floats, and limits nesting to [`DEPTH_LIMIT`].

use crate::text::{self, Decoded};

/// Metadata is flat, and Chroma's schemas nest ten levels deep. The limit prevents a stack overflow by recursion.
const DEPTH_LIMIT: u32 = 64;

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// A number without fraction and exponent.
    Int(i64),
    /// Any other number, `NaN` and the infinities.
    Float(f64),
    /// An integer of more than 64 bits, as text.
    BigInt(String),
    Text(Decoded),
    List(Vec<Json>),
    Object(Vec<(Decoded, Json)>),
}

/// Position and expectation of a syntax error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at byte {offset} of the JSON text")]
pub(crate) struct JsonError {
    offset: usize,
    expected: &'static str,
}

/// Parses a whole text.
pub(crate) fn parse(input: &[u8]) -> Result<Json, JsonError> {
    let mut parser = Parser { input, offset: 0 };
    let json = parser.value(0)?;
    parser.skip_whitespace();
    if parser.peek().is_some() { Err(parser.expected("the end")) } else { Ok(json) }
}

impl Json {
    /// The value of a key of an object; the last duplicate wins, as in Python and serde_json.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(entries) => {
                entries.iter().rev().find(|(name, _)| name.text == key).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(decoded) => Some(&decoded.text),
            _ => None,
        }
    }
}

struct Parser<'a> {
    input: &'a [u8],
    offset: usize,
}

impl Parser<'_> {
    fn expected(&self, expected: &'static str) -> JsonError {
        JsonError { offset: self.offset, expected }
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.offset).copied()
    }

    fn rest(&self) -> &[u8] {
        self.input.get(self.offset..).unwrap_or_default()
    }

    /// Consumes `token` if it is next. The offset never exceeds the length, so it cannot overflow.
    fn take(&mut self, token: &[u8]) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.offset += token.len();
        }
        found
    }

    fn skip_whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.offset += 1;
        }
    }

    fn value(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.skip_whitespace();
        match self.peek() {
            Some(b'{' | b'[') if depth >= DEPTH_LIMIT => Err(self.expected("at most 64 levels of nesting")),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.list(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            _ if self.take(b"null") => Ok(Json::Null),
            _ if self.take(b"true") => Ok(Json::Bool(true)),
            _ if self.take(b"false") => Ok(Json::Bool(false)),
            _ if self.take(b"NaN") => Ok(Json::Float(f64::NAN)),
            _ if self.take(b"Infinity") => Ok(Json::Float(f64::INFINITY)),
            _ if self.take(b"-Infinity") => Ok(Json::Float(f64::NEG_INFINITY)),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.offset += 1;
        let mut entries = Vec::new();
        self.skip_whitespace();
        if self.take(b"}") {
            return Ok(Json::Object(entries));
        }
        loop {
            self.skip_whitespace();
            let key = self.string()?;
            self.skip_whitespace();
            if !self.take(b":") {
                return Err(self.expected("`:`"));
            }
            entries.push((key, self.value(depth + 1)?));
            self.skip_whitespace();
            if self.take(b"}") {
                return Ok(Json::Object(entries));
            }
            if !self.take(b",") {
                return Err(self.expected("`,` or `}`"));
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.offset += 1;
        let mut elements = Vec::new();
        self.skip_whitespace();
        if self.take(b"]") {
            return Ok(Json::List(elements));
        }
        loop {
            elements.push(self.value(depth + 1)?);
            self.skip_whitespace();
            if self.take(b"]") {
                return Ok(Json::List(elements));
            }
            if !self.take(b",") {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let rest = self.rest();
        let end = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        let number = rest.get(..end).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default();
        let unsigned = number.strip_prefix('-').unwrap_or(number);
        let json = if !unsigned.starts_with(|c: char| c.is_ascii_digit()) {
            None
        } else if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
            Some(number.parse().map_or_else(|_| Json::BigInt(number.to_owned()), Json::Int))
        } else {
            // The standard library rounds correctly; serde_json does so only with a feature (FORMAT §3).
            number.parse().ok().map(Json::Float)
        };
        let json = json.ok_or_else(|| self.expected("a value"))?;
        self.offset += end;
        Ok(json)
    }

    fn string(&mut self) -> Result<Decoded, JsonError> {
        if !self.take(b"\"") {
            return Err(self.expected("`\"`"));
        }
        let mut bytes = Vec::new();
        loop {
            let rest = self.rest();
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(rest.len());
            bytes.extend_from_slice(rest.get(..plain).unwrap_or_default());
            self.offset += plain;
            if self.take(b"\"") {
                return Ok(text::decode_owned(bytes));
            }
            if !self.take(b"\\") {
                return Err(self.expected("the string's closing `\"`"));
            }
            self.escape(&mut bytes)?;
        }
    }

    fn escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), JsonError> {
        let plain = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode_escape(bytes),
            _ => return Err(self.expected("an escape")),
        };
        self.offset += 1;
        bytes.push(plain);
        Ok(())
    }

    /// `uXXXX`, with the second half of a surrogate pair if there is one. A lone surrogate becomes the three bytes of
    /// Python's `surrogatepass`.
    fn unicode_escape(&mut self, bytes: &mut Vec<u8>) -> Result<(), JsonError> {
        self.offset += 1;
        let unit = self.four_hex_digits()?;
        let mut code = unit;
        if (0xd800..0xdc00).contains(&unit) && self.rest().starts_with(b"\\u") {
            let before = self.offset;
            self.offset += 2;
            let low = self.four_hex_digits()?;
            if (0xdc00..0xe000).contains(&low) {
                code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            } else {
                self.offset = before;
            }
        }
        match char::from_u32(code) {
            Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => bytes.extend([
                0xe0 | (code >> 12) as u8,
                0x80 | (code >> 6 & 0x3f) as u8,
                0x80 | (code & 0x3f) as u8,
            ]),
        }
        Ok(())
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonError> {
        let digits = self.rest().first_chunk::<4>().copied().unwrap_or_default();
        let mut code = 0;
        for digit in digits {
            let digit =
                char::from(digit).to_digit(16).ok_or_else(|| self.expected("four hexadecimal digits"))?;
            code = code * 16 + digit;
        }
        self.offset += 4;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expected: Expect) {
        let found = match parse(input.as_bytes()) {
            Ok(json) => format!("{json:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn numbers_keep_their_type() {
        check(
            "[1, 1.0, -0, -0.0, 1e2, 9223372036854775807, -9223372036854775808]",
            expect![
                "List([Int(1), Float(1.0), Int(0), Float(-0.0), Float(100.0), Int(9223372036854775807), Int(-9223372036854775808)])"
            ],
        );
        check(
            "[9223372036854775808, 0.1]",
            expect![[r#"List([BigInt("9223372036854775808"), Float(0.1)])"#]],
        );
    }

    #[test]
    fn python_extensions_of_json_are_accepted() {
        check("[NaN, Infinity, -Infinity]", expect!["List([Float(NaN), Float(inf), Float(-inf)])"]);
        check(
            r#""\ud83c\udf88 \ud800 x""#,
            expect![[
                r#"Text(Decoded { text: "🎈 ��� x", original: Some([240, 159, 142, 136, 32, 237, 160, 128, 32, 120]) })"#
            ]],
        );
        check(
            r#""\ud800\ud83c\udf88\udc00""#,
            expect![[
                r#"Text(Decoded { text: "���🎈���", original: Some([237, 160, 128, 240, 159, 142, 136, 237, 176, 128]) })"#
            ]],
        );
    }

    #[test]
    fn invalid_json_is_rejected_with_its_offset() {
        check("", expect!["expected a value at byte 0 of the JSON text"]);
        check(r#"{"a":1"#, expect!["expected `,` or `}` at byte 6 of the JSON text"]);
        check(r#"{"a":1} x"#, expect!["expected the end at byte 8 of the JSON text"]);
        check(r#"["\u12g4"]"#, expect!["expected four hexadecimal digits at byte 4 of the JSON text"]);
        check("[--1]", expect!["expected a value at byte 1 of the JSON text"]);
        check("nan", expect!["expected a value at byte 0 of the JSON text"]);
        check(
            &"[".repeat(100_000),
            expect!["expected at most 64 levels of nesting at byte 64 of the JSON text"],
        );
    }

    proptest! {
        #[test]
        fn any_bytes_cause_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn output_of_serde_json_is_parsed(string in any::<String>(), float in any::<f64>(), int in any::<i64>()) {
            let written = serde_json::json!({ "s": string, "f": float, "i": int }).to_string();
            let json = parse(written.as_bytes()).unwrap();
            prop_assert_eq!(json.get("s").and_then(Json::as_str), Some(string.as_str()));
            prop_assert_eq!(json.get("i"), Some(&Json::Int(int)));
            if float.is_finite() {
                prop_assert_eq!(json.get("f"), Some(&Json::Float(float)));
            }
        }
    }
}
