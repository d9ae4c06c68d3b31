//! A lenient JSON parser, which returns a value and the problems found.

use serde_json::{Map, Number, Value};

use crate::{
    in_place::in_place,
    problem::{Problem, ProblemKind},
};

/// Maximum depth of a value. Many parsers stop at 128 levels, and responses add some.
const MAX_DEPTH: usize = 100;
/// Maximum reported problems of a value; further ones are only counted.
const MAX_PROBLEMS: usize = 100;
/// Texts from this size on delay no other tasks; decoding this much takes about a millisecond.
const LARGE_BYTES: usize = 128 << 10;

/// A decoded JSON text.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Its value.
    pub value: Value,
    /// Differences from the text; their field is empty.
    pub problems: Vec<Problem>,
}

/// Decodes `text`, a value of a row or a client. Invalid JSON becomes a JSON string of the text.
pub fn decode(text: &str) -> Decoded {
    decode_within(text, MAX_DEPTH)
}

/// Decodes `text`, a response that contains values of rows.
pub fn decode_answer(text: &str) -> Decoded {
    decode_within(text, MAX_DEPTH + 20)
}

fn decode_within(text: &str, max_depth: usize) -> Decoded {
    match text.len() > LARGE_BYTES {
        true => in_place(|| decode_now(text, max_depth)),
        false => decode_now(text, max_depth),
    }
}

fn decode_now(text: &str, max_depth: usize) -> Decoded {
    let mut parser = Parser { text, at: 0, path: String::new(), max_depth, problems: Vec::new(), unnamed: 0 };
    parser.skip_blanks();
    let value = parser.value(0).and_then(|value| {
        parser.skip_blanks();
        (parser.at == text.len()).then_some(value)
    });
    let Some(value) = value else {
        let problem = Problem::new("", ProblemKind::NotJson, text);
        return Decoded { value: Value::String(text.to_owned()), problems: vec![problem] };
    };
    let Parser { mut problems, unnamed, .. } = parser;
    if unnamed > 0 {
        problems.push(Problem::new("", ProblemKind::More, unnamed.to_string()));
    }
    Decoded { value, problems }
}

/// Every method returns `None` if the text is not JSON.
struct Parser<'t> {
    text: &'t str,
    /// The byte position, on a character boundary.
    at: usize,
    /// The path of the current value, such as `a.b[1]`.
    path: String,
    max_depth: usize,
    problems: Vec<Problem>,
    /// Number of unreported problems.
    unnamed: u64,
}

impl<'t> Parser<'t> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.peek()? {
            b'{' | b'[' if depth >= self.max_depth => {
                let json = self.skip_nested()?;
                self.problem(ProblemKind::TooDeep, json);
                Some(Value::String(json.to_owned()))
            }
            b'{' => self.object(depth + 1),
            b'[' => self.list(depth + 1),
            b'"' => {
                let (text, literal) = self.string()?;
                if let Some(literal) = literal {
                    self.problem(ProblemKind::NotUnicode, literal);
                }
                Some(Value::String(text))
            }
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'n' => self.word("null", Value::Null),
            _ => self.number(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut object = Map::new();
        self.skip_blanks();
        if self.take(b'}') {
            return Some(Value::Object(object));
        }
        let outer = self.path.len();
        loop {
            self.skip_blanks();
            let (key, literal) = self.string()?;
            self.skip_blanks();
            if !self.take(b':') {
                return None;
            }
            self.skip_blanks();
            if outer > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if let Some(literal) = literal {
                self.problem(ProblemKind::NotUnicode, literal);
            }
            let value = self.value(depth)?;
            if let Some(earlier) = object.insert(key, value) {
                self.problem(ProblemKind::DuplicateKey, &earlier.to_string());
            }
            self.path.truncate(outer);
            self.skip_blanks();
            if self.take(b'}') {
                return Some(Value::Object(object));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.at += 1;
        let mut list = Vec::new();
        self.skip_blanks();
        if self.take(b']') {
            return Some(Value::Array(list));
        }
        let outer = self.path.len();
        loop {
            self.skip_blanks();
            self.path.push_str(&format!("[{}]", list.len()));
            list.push(self.value(depth)?);
            self.path.truncate(outer);
            self.skip_blanks();
            if self.take(b']') {
                return Some(Value::Array(list));
            }
            if !self.take(b',') {
                return None;
            }
        }
    }

    /// A string, and its source if it is not valid Unicode.
    fn string(&mut self) -> Option<(String, Option<&'t str>)> {
        if !self.take(b'"') {
            return None;
        }
        let start = self.at;
        let (mut text, mut is_unicode) = (String::new(), true);
        loop {
            let rest = self.text.get(self.at..)?;
            let plain = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 1,
                // A control character, which must be escaped.
                _ => return None,
            }
            let escape = self.peek()?;
            self.at += 1;
            text.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let unit = self.unit()?;
                    let character = self.character(unit);
                    is_unicode &= character.is_some();
                    character.unwrap_or(char::REPLACEMENT_CHARACTER)
                }
                _ => return None,
            });
        }
        let literal = &self.text[start..self.at];
        self.at += 1;
        Some((text, (!is_unicode).then_some(literal)))
    }

    /// The character that begins with the UTF-16 unit `unit`; `None` for a lone surrogate.
    fn character(&mut self, unit: u16) -> Option<char> {
        if let Some(character) = char::from_u32(unit.into()) {
            return Some(character);
        }
        let before = self.at;
        if self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            if let Some(second) = self.unit()
                && let Some(Ok(character)) = char::decode_utf16([unit, second]).next()
            {
                return Some(character);
            }
        }
        self.at = before;
        None
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        self.take(b'-');
        let whole = self.digits();
        if whole == 0 || whole > 1 && self.text.as_bytes()[self.at - whole] == b'0' {
            return None;
        }
        if self.take(b'.') && self.digits() == 0 {
            return None;
        }
        if self.take(b'e') || self.take(b'E') {
            let _has_sign = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return None;
            }
        }
        Some(Value::Number(Number::from_string_unchecked(self.text[start..self.at].to_owned())))
    }

    fn digits(&mut self) -> usize {
        let digits = self.text[self.at..].bytes().take_while(u8::is_ascii_digit).count();
        self.at += digits;
        digits
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.text[self.at..].starts_with(word).then(|| self.at += word.len())?;
        Some(value)
    }

    /// Skips the array or object that begins here.
    fn skip_nested(&mut self) -> Option<&'t str> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            // Multi-byte characters occur only inside strings, or it is not JSON.
            self.at += 1;
            if depth == 0 {
                return self.text.get(start..self.at);
            }
            if !self.text.is_char_boundary(self.at) {
                return None;
            }
        }
    }

    fn problem(&mut self, kind: ProblemKind, original: &str) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.unnamed += 1;
            return;
        }
        let problem = Problem::new("", kind, original);
        let key = (!self.path.is_empty()).then(|| self.path.clone());
        self.problems.push(Problem { key, ..problem });
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &Expect) {
        let Decoded { value, problems } = decode(text);
        let problems: Vec<_> = problems
            .iter()
            .map(|problem| format!("{:?} {} {}", problem.key, problem.kind.as_str(), problem.original))
            .collect();
        expected.assert_eq(&format!("{value} {problems:?}"));
    }

    #[test]
    fn invalid_value_does_not_affect_others() {
        check(
            r#" {"a": [1, 2.50, "x"], "b": null, "c": true} "#,
            &expect![[r#"{"a":[1,2.50,"x"],"b":null,"c":true} []"#]],
        );
        check(
            r#"{"raw": "a\ud83d", "k": "\ud83d\ude00", "l": "\ude00\ud83dz", "\udead": 1}"#,
            &expect![[
                r#"{"k":"😀","l":"��z","raw":"a�","�":1} ["Some(\"raw\") not_unicode a\\ud83d", "Some(\"l\") not_unicode \\ude00\\ud83dz", "Some(\"�\") not_unicode \\udead"]"#
            ]],
        );
        check(
            r#"{"a": 1e400, "b": 123456789012345678901234567890, "c": -0.0, "d": 1E+5}"#,
            &expect![[r#"{"a":1e400,"b":123456789012345678901234567890,"c":-0.0,"d":1E+5} []"#]],
        );
        check(
            r#"{"a": {"b": 1, "b": [2]}, "n": "\u0000"}"#,
            &expect![[r#"{"a":{"b":[2]},"n":"\u0000"} ["Some(\"a.b\") duplicate_key 1"]"#]],
        );
        check(
            r#"{"$serde_json::private::Number": "x"}"#,
            &expect![[r#"{"$serde_json::private::Number":"x"} []"#]],
        );
        for text in [
            "",
            "{",
            "[1,]",
            "01",
            "1.",
            "\"\u{1}\"",
            "nul",
            "{\"a\" 1}",
            "\"\\x\"",
            "\"\\u12g4\"",
            "é",
            "1 2",
        ] {
            let Decoded { value, problems } = decode(text);
            assert_eq!(value, Value::String(text.to_owned()));
            assert_eq!(problems[0].kind, ProblemKind::NotJson);
        }
    }

    #[test]
    fn depth_and_problems_are_bounded() {
        let deep = format!("{}\"é]\"{}", "[".repeat(100_000), "]".repeat(100_000));
        let Decoded { value, problems } = decode(&deep);
        assert_eq!(problems.len(), 1);
        assert_eq!((problems[0].kind, problems[0].original.len()), (ProblemKind::TooDeep, deep.len() - 200));
        let mut inner = &value;
        while let Value::Array(list) = inner {
            inner = &list[0];
        }
        assert_eq!(inner.as_str(), Some(&*problems[0].original));
        let odd = format!("[{}1]", r#""\ud800","#.repeat(250));
        let problems = decode(&odd).problems;
        assert_eq!((problems.len(), &*problems[100].original), (101, "150"));
    }

    proptest! {
        #[test]
        fn what_serde_json_reads_is_read_alike(text in "[\\[\\]{}\",:0-9a-f\\\\udD.eE+ -]{0,40}") {
            let ours = decode(&text);
            match serde_json::from_str::<Value>(&text) {
                Ok(value) => prop_assert!(crate::json::says_the_same(&ours.value, &value)),
                Err(_) => prop_assert!(!ours.problems.is_empty()),
            }
        }
    }
}
