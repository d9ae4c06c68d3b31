//! The parser of the JSON in logs and configurations.

use crate::json::{self, Json};

/// Parses the input, writes the result and parses it again; both results must be equal.
pub fn json(bytes: &[u8]) {
    let Ok(parsed) = json::parse(bytes) else { return };
    let mut text = Vec::new();
    write(&parsed, &mut text);
    let again = json::parse(&text).expect("what was written is JSON");
    // NaN is not equal to itself, but its text is.
    assert_eq!(format!("{again:?}"), format!("{parsed:?}"), "{}", text.escape_ascii());
}

/// Writes like Python's `json.dumps`; text that is not Unicode is written as its bytes.
pub(super) fn write(json: &Json, text: &mut Vec<u8>) {
    match json {
        Json::Null => text.extend(b"null"),
        Json::Bool(value) => text.extend(value.to_string().bytes()),
        Json::Int(number) => text.extend(number.to_string().bytes()),
        Json::Float(number) if number.is_nan() => text.extend(b"NaN"),
        Json::Float(number) if number.is_infinite() => {
            text.extend_from_slice(if *number > 0.0 { b"Infinity" } else { b"-Infinity" });
        }
        Json::Float(number) => text.extend(format!("{number:?}").bytes()),
        Json::BigInt(digits) => text.extend(digits.bytes()),
        Json::Text(decoded) => {
            write_text(decoded.original.as_deref().unwrap_or(decoded.text.as_bytes()), text)
        }
        Json::List(elements) => {
            text.push(b'[');
            for (number, element) in elements.iter().enumerate() {
                text.extend((number > 0).then_some(b','));
                write(element, text);
            }
            text.push(b']');
        }
        Json::Object(entries) => {
            text.push(b'{');
            for (number, (key, value)) in entries.iter().enumerate() {
                text.extend((number > 0).then_some(b','));
                write_text(key.original.as_deref().unwrap_or(key.text.as_bytes()), text);
                text.push(b':');
                write(value, text);
            }
            text.push(b'}');
        }
    }
}

/// A string with escaped control characters and lone surrogates.
fn write_text(bytes: &[u8], text: &mut Vec<u8>) {
    text.push(b'"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend([b'\\', *byte]),
            0..0x20 => text.extend(format!("\\u{byte:04x}").bytes()),
            _ => text.push(*byte),
        }
    }
    text.push(b'"');
}
