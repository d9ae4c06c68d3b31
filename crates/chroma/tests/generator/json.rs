//! The metadata of log rows, as Python and Rust write them.

use records::MetadataValue;

use super::{Fields, Release};

/// The JSON of a row.
pub(super) fn write(release: Release, fields: &Fields) -> String {
    let mut entries: Vec<String> = Vec::new();
    let mut put = |key: &str, value: String| entries.push(format!("{}: {value}", text(release, key)));
    for (key, value) in [("chroma:document", &fields.document), ("chroma:uri", &fields.uri)] {
        if let Some(value) = value {
            put(key, text(release, value));
        }
    }
    for (key, entry) in &fields.metadata {
        put(key, entry.as_ref().map_or_else(|| "null".to_owned(), |entry| value(release, entry)));
    }
    format!("{{{}}}", entries.join(", "))
}

fn value(release: Release, entry: &MetadataValue) -> String {
    match entry {
        MetadataValue::Text(entry) => text(release, entry),
        MetadataValue::Int(number) => number.to_string(),
        MetadataValue::Bool(entry) => entry.to_string(),
        MetadataValue::Float(number) if number.is_infinite() => {
            if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        MetadataValue::Float(number) => format!("{number:?}"),
        MetadataValue::List(list) => {
            let list: Vec<String> = list.iter().map(|entry| value(release, entry)).collect();
            format!("[{}]", list.join(", "))
        }
    }
}

/// Python escapes all non-ASCII characters, Rust only what JSON requires.
fn text(release: Release, text: &str) -> String {
    let json = serde_json::to_string(text).unwrap();
    let escape = |c: char| match c {
        c if release == Release::Last || c.is_ascii() => c.to_string(),
        c => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
    };
    json.chars().map(escape).collect()
}
