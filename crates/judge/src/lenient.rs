//! Parsing of almost valid JSON, as models and their servers write it.
//!
//! Invalid parts are replaced, as by other clients: half of a surrogate pair and invalid UTF-8 become U+FFFD; a byte
//! order mark is skipped. A number out of the range of `f64`, `NaN` and `Infinity` become null, as does a list or object
//! at a depth that is not parsed.

use std::borrow::Cow;

use serde_json::Value;

/// Parses `bytes`.
///
/// # Errors
/// When it is not JSON even so.
pub fn from_slice(bytes: &[u8]) -> serde_json::Result<Value> {
    from_str(&String::from_utf8_lossy(bytes))
}

/// Parses `text`. Takes a second pass over it, and memory of its size, only if it is not valid JSON.
///
/// # Errors
/// When it is not JSON even so.
pub fn from_str(text: &str) -> serde_json::Result<Value> {
    let text = without_mark(text);
    serde_json::from_str(text).or_else(|_| serde_json::from_str(&mended(text)))
}

/// The values at the beginning of `text`, up to what is not JSON.
pub(crate) fn leading_values(text: &str) -> Vec<Value> {
    let mended = mended(without_mark(text));
    serde_json::Deserializer::from_str(&mended).into_iter().map_while(Result::ok).collect()
}

/// The text after byte order marks and white space.
pub(crate) fn without_mark(text: &str) -> &str {
    text.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace())
}

/// Less than the limit of `serde_json`.
const MAX_DEPTH: usize = 126;

/// `text` with its invalid parts replaced, where the replacement is clear.
fn mended(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_string = false;
    let mut depth = 0_usize;
    while let Some(first) = rest.chars().next() {
        let (written, length) = if is_string { in_string(rest, first) } else { between(rest, first) };
        if first == '"' {
            is_string = !is_string;
        }
        let is_too_deep = depth > MAX_DEPTH;
        match first {
            '[' | '{' if !is_string => depth += 1,
            ']' | '}' if !is_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        // The place of a value that is too deep is taken by null.
        if !is_too_deep && depth > MAX_DEPTH {
            mended.push_str("null");
        } else if !is_too_deep {
            mended.push_str(&written);
        }
        rest = &rest[length..];
    }
    mended
}

/// The replacement for the beginning of `rest`, which is in a string, and the number of bytes that it replaces.
fn in_string(rest: &str, first: char) -> (Cow<'_, str>, usize) {
    let as_it_is = |length: usize| (Cow::Borrowed(&rest[..length]), length);
    if u32::from(first) < 0x20 {
        return (Cow::Owned(format!("\\u{:04x}", u32::from(first))), 1);
    }
    if first != '\\' {
        return as_it_is(first.len_utf8());
    }
    match rest[1..].chars().next() {
        Some('u') => match (escaped(rest), rest.get(6..).and_then(escaped)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => as_it_is(12),
            (Some(0xd800..0xe000), _) => (Cow::Borrowed("\\ufffd"), 6),
            (Some(_), _) => as_it_is(6),
            (None, _) => (Cow::Borrowed("\\\\u"), 2),
        },
        Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => as_it_is(2),
        // Formulas and apostrophes with a backslash.
        _ => (Cow::Borrowed("\\\\"), 1),
    }
}

/// The number of the escape `\uXXXX` at the start of `text`.
fn escaped(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(())?;
    u32::from_str_radix(digits, 16).ok()
}

/// As [`in_string`], outside of strings.
fn between(rest: &str, first: char) -> (Cow<'_, str>, usize) {
    for word in ["NaN", "Infinity", "-Infinity"] {
        if rest.starts_with(word) {
            return (Cow::Borrowed("null"), word.len());
        }
    }
    if first == '-' || first.is_ascii_digit() {
        let is_other = |c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
        let number = &rest[..rest.find(is_other).unwrap_or(rest.len())];
        let is_too_large = number.parse::<f64>().is_ok_and(f64::is_infinite);
        return (Cow::Borrowed(if is_too_large { "null" } else { number }), number.len());
    }
    let is_last = |behind: &str| behind.trim_start().starts_with(['}', ']']);
    let comma_before_end = first == ',' && is_last(&rest[1..]);
    (Cow::Borrowed(if comma_before_end { "" } else { &rest[..first.len_utf8()] }), first.len_utf8())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn almost_valid_json_is_parsed_as_intended() {
        let check = |text: &str, expected: Value| assert_eq!(from_str(text).expect(text), expected, "{text}");
        check(r#"{"a": "Paris \ud83d"}"#, json!({"a": "Paris \u{fffd}"}));
        check(
            r#"{"a": "\ude00\ud83d\ud83d\ude00\uD83DX"}"#,
            json!({"a": "\u{fffd}\u{fffd}\u{1f600}\u{fffd}X"}),
        );
        check(r#"{"a\ud83d": 1}"#, json!({"a\u{fffd}": 1}));
        check(r#""\\ud83d \ud83d""#, json!("\\ud83d \u{fffd}"));
        check("\u{feff}{\"a\": 1}", json!({"a": 1}));
        check("\u{feff} \n\u{feff}[1, 2,]", json!([1, 2]));
        check(r#"[NaN, -Infinity, Infinity, 1e400, -1e400, "NaN", -2]"#, {
            json!([null, null, null, null, null, "NaN", -2])
        });
        check("[\"a\nb\u{1}\"]", json!(["a\nb\u{1}"]));
        check(r#"["\(x\)", "it\'s", "\u12"]"#, json!(["\\(x\\)", "it\\'s", "\\u12"]));
        assert_eq!(from_slice(b"\xef\xbb\xbf\"half \xf0\x9f\"").expect("a string"), "half \u{fffd}");
        let nested =
            |depth: usize| format!(r#"{{"a": {}"]}}"{}, "b": 1}}"#, "[".repeat(depth), "]".repeat(depth));
        for depth in [1, 120, 126, 127, 128, 200, 100_000] {
            assert_eq!(from_str(&nested(depth)).expect("an object")["b"], 1, "{depth}");
        }
        let objects = format!(r#"{{"x": {}1{}, "b": 2}}"#, r#"{"[":"#.repeat(300), "}".repeat(300));
        assert_eq!(from_str(&objects).expect("an object")["b"], 2);
        for behind in ["\n\n[DONE]", "\n\ndata: [DONE]", "}", "\0", "<!-- x -->", "{\"c\": 3}"] {
            assert_eq!(leading_values(&format!("{}{behind}", nested(200)))[0]["b"], 1, "{behind}");
        }
        assert!(leading_values("").is_empty() && leading_values("[DONE]").is_empty());
        for broken in ["", "{", "{\"a\": \"\\ud83d", "nonsense", "[1 2]", "\"\\"] {
            assert!(from_str(broken).is_err(), "{broken}");
        }
        assert!(
            from_str("{\"a\": \"\\ud83d").expect_err("cut").is_eof(),
            "it is known that the end is missing"
        );
    }
}
