//! Verdicts in JSON: the complete text, a fenced block, or an object within prose; also almost valid JSON.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;
use serde_json::Value;

use super::{
    claim::Claim,
    others::{is_of_other, named, parts},
    pattern,
};
use crate::lenient;

static FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```[a-zA-Z]*\s*\n?(.*?)```"));
/// A key and its value in invalid JSON: with single quotes, or truncated.
static ENTRY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?:\\?["'“”‘’](?<key>[^"'“”‘’\\\n{}:,]{1,40})\\?["'“”‘’]|[{,]\s*(?<bare>[A-Za-z_]{1,40}))\s*:\s*(?:\\?["'“”‘’](?<text>[^"'“”‘’\\\n]{1,40})\\?["'“”‘’]|(?<plain>[^\s"'“”‘’,}\]\[{]{1,20}(?:,[0-9]{1,2})?(?:\s*/\s*[0-9]{1,4})?))\s*(?<end>[,}\]\n]|/[/ ]|#|\\n|$)"#,
    )
});

/// Short texts are always read to their end.
const FREE_BYTES: usize = 64 << 10;

/// A value, and how reliable it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) value: Value,
    /// Whether the text ends directly after it, so that it may be incomplete.
    pub(super) is_cut: bool,
}

/// The values of the keys in `keys`, with the position of the object. In an object, verdicts on the whole answer take
/// precedence, then those at the least depth.
pub(super) fn entries(text: &str, keys: &[&str]) -> Vec<Claim<Entry>> {
    let mut claims = Vec::new();
    let mut has_others = false;
    let others = parts(text);
    // An object in a part of a text that is not JSON as a whole.
    let is_of_others = |place: &Range<usize>| others.iter().any(|part| part.contains(&place.start));
    for (object, place) in objects(text).into_iter().filter(|(_, place)| !is_of_others(place)) {
        let mut found = Vec::new();
        has_others |= has_other(&object, keys);
        collect(&object, keys, (true, 0), &mut found);
        if found.iter().any(|(_, value)| !value.is_null()) {
            found.retain(|(_, value)| !value.is_null());
        }
        let rank = found.iter().map(|(rank, _)| *rank).min();
        let best = found.into_iter().filter(|(each, _)| Some(*each) == rank);
        claims.extend(best.map(|(_, value)| Claim {
            value: Entry { value, is_cut: false },
            start: place.start,
            core: place.start,
            end: place.end,
        }));
    }
    if claims.is_empty() && !has_others { in_pieces(text, keys) } else { claims }
}

/// Whether the text was meant to be an object, even if it is invalid: its strings must not be parsed as prose.
pub(super) fn is_meant(text: &str) -> bool {
    static OBJECT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"^\s*(?:```[a-zA-Z]*\s*)?\{\s*["'“‘][^"'“”‘’\n{}]{1,40}["'”’]\s*:"#));
    let behind = text.rfind('}').map_or("", |end| &text[end..]);
    OBJECT.is_match(text) && !behind.chars().any(char::is_alphanumeric)
}

fn objects(text: &str) -> Vec<(Value, Range<usize>)> {
    let is_object = |text: &str| match lenient::from_str(text).ok()? {
        object @ (Value::Object(_) | Value::Array(_)) => Some(object),
        // Encoded as a JSON string.
        Value::String(text) => lenient::from_str(&text).ok().filter(Value::is_object),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    };
    if let Some(object) = is_object(text) {
        return vec![(object, 0..text.len())];
    }
    let fences = FENCE.captures_iter(text).filter_map(|fence| fence.get(1).zip(fence.get(0)));
    let fenced: Vec<_> =
        fences.filter_map(|(inside, whole)| Some((is_object(inside.as_str())?, whole.range()))).collect();
    if !fenced.is_empty() {
        return fenced;
    }
    let mut objects = Vec::new();
    let mut start = 0;
    // A deeply nested object without an end would be read again from each of its braces.
    let mut left = text.len().saturating_mul(8).saturating_add(FREE_BYTES);
    while let Some(place) = text[start..].find('{') {
        start += place;
        let mut stream = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        match stream.next() {
            Some(Ok(object)) => {
                let end = start + stream.byte_offset();
                objects.push((object, start..end));
                start = end;
            }
            Some(Err(error)) => {
                let Some(rest) = left.checked_sub(bytes_until(&text[start..], &error)) else { break };
                left = rest;
                start += 1;
            }
            None => break,
        }
    }
    objects
}

/// How many bytes of `text` were read before the error.
fn bytes_until(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len);
    lines.sum::<usize>() + error.column()
}

/// Whether it is of a part of the answer, and its depth; the minimum wins.
type Rank = (bool, usize);

fn collect(value: &Value, keys: &[&str], (is_of_part, depth): Rank, found: &mut Vec<(Rank, Value)>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let key = named(key);
                if is_of_other(&key) {
                    continue;
                }
                let is_of_part = is_of_part && !is_of_whole(&key);
                let is_verdict = keys.contains(&&key[..]);
                let inner = value.get("value").filter(|value| value.is_number() || value.is_string());
                if is_verdict && (inner.is_some() || !(value.is_object() || value.is_array())) {
                    found.push(((is_of_part, depth), inner.unwrap_or(value).clone()));
                } else {
                    collect(value, keys, (is_of_part, depth + 1), found);
                }
            }
        }
        Value::Array(values) => {
            values.iter().for_each(|value| collect(value, keys, (is_of_part, depth + 1), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether there is a verdict only within such a value.
fn has_other(value: &Value, keys: &[&str]) -> bool {
    match value {
        Value::Object(entries) => entries.iter().any(|(key, value)| {
            let mut found = Vec::new();
            if is_of_other(&named(key)) {
                collect(value, keys, (true, 0), &mut found);
            }
            !found.is_empty() || has_other(value, keys)
        }),
        Value::Array(values) => values.iter().any(|value| has_other(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn is_of_whole(key: &str) -> bool {
    key.starts_with("overall") || key.starts_with("final")
}

fn in_pieces(text: &str, keys: &[&str]) -> Vec<Claim<Entry>> {
    let Some(object) = text.find('{') else { return Vec::new() };
    let mut found: Vec<(bool, Claim<Entry>)> = Vec::new();
    for entry in ENTRY.captures_iter(&text[object..]) {
        let key = entry
            .name("key")
            .or_else(|| entry.name("bare"))
            .map_or_else(String::new, |key| named(key.as_str()));
        if !keys.contains(&&key[..]) {
            continue;
        }
        let (is_quoted, value) = match (entry.name("text"), entry.name("plain")) {
            (Some(text), _) => (true, text),
            (None, Some(plain)) => (false, plain),
            (None, None) => continue,
        };
        let is_cut = !is_quoted && object + value.end() == text.trim_end().len();
        let value = Entry { value: Value::String(value.as_str().trim().to_owned()), is_cut };
        let place = entry.get_match();
        let (start, end) = (object + place.start(), object + place.end());
        let claim = Claim { value, start, core: start, end };
        found.push((is_of_whole(&key), claim));
    }
    let has_whole = found.iter().any(|(is_of_whole, _)| *is_of_whole);
    found.into_iter().filter(|(is_of_whole, _)| *is_of_whole || !has_whole).map(|(_, claim)| claim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ends_where_braces_without_an_end_would_be_read_again_and_again() {
        let text = |braces: usize| format!(r#"{}[ {{"score": 7}}"#, r#"{"a":"#.repeat(braces));
        assert_eq!(objects(&text(10)).len(), 1);
        assert!(objects(&text(20_000)).is_empty());
    }
}
