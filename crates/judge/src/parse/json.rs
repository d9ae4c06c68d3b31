//! A verdict given as JSON: the whole text, a fenced block, or an object among words.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::pattern;
use crate::lenient;

static FENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?s)```[a-zA-Z]*\s*\n?(.*?)```"));

/// The values of every key that is one of `keys`, in all objects of the text, at any depth.
pub(super) fn values(text: &str, keys: &[&str]) -> Vec<Value> {
    let mut found = Vec::new();
    for object in objects(text) {
        collect(&object, keys, &mut found);
    }
    found
}

fn objects(text: &str) -> Vec<Value> {
    let is_object = |text: &str| lenient::from_str(text).ok().filter(Value::is_object);
    if let Some(object) = is_object(text) {
        return vec![object];
    }
    let fenced: Vec<Value> = FENCE.captures_iter(text).filter_map(|fence| is_object(&fence[1])).collect();
    if !fenced.is_empty() {
        return fenced;
    }
    let mut objects = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start..];
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match stream.next() {
            Some(Ok(object)) => {
                objects.push(object);
                rest = &rest[stream.byte_offset()..];
            }
            _ => rest = &rest[1..],
        }
    }
    objects
}

fn collect(value: &Value, keys: &[&str], found: &mut Vec<Value>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                if keys.iter().any(|wanted| key.trim().eq_ignore_ascii_case(wanted)) {
                    found.push(value.clone());
                } else {
                    collect(value, keys, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, keys, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
