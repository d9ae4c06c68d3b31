//! Unpacks fixtures, our own from `testdata/fixtures` and the shared ones from `../shared/chroma/fixtures` next to the
//! workspace, and reads their expectations.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::run_mode::skip;

/// Tenant, database, collection.
pub(crate) type CollectionName = (String, String, String);

/// The content of a `.model.jsonl` or `.expected.jsonl`: records by collection and id.
pub(crate) type Expectations = BTreeMap<CollectionName, BTreeMap<String, ExpectedRecord>>;

#[derive(Clone)]
pub(crate) struct ExpectedRecord {
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: serde_json::Map<String, Value>,
    pub(crate) embedding: Option<Vec<f32>>,
}

/// NaN and the infinities, which JSON cannot express, as strings in expectations.
pub(crate) const NOT_FINITE: [&str; 3] = ["\0NaN", "\0Infinity", "\0-Infinity"];

/// Unpacks `<name>.tar.gz`; `None`, with a message, if the fixture is not available.
pub(crate) fn unpack(name: &str) -> Option<TempDir> {
    let folders = ["testdata/fixtures", "../../../shared/chroma/fixtures"];
    let [own, archive] = folders
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(format!("{name}.tar.gz")));
    let archive = if own.exists() { own } else { archive };
    if !archive.exists() {
        skip(&format!("no fixture `{}`", archive.display()));
        return None;
    }
    let directory = TempDir::new().unwrap();
    // -S keeps the holes of sparse files.
    let status =
        Command::new("tar").arg("-xzSf").arg(&archive).arg("-C").arg(directory.path()).status().unwrap();
    assert!(status.success());
    // The archives contain read-only directories; some tests change their copy.
    assert!(Command::new("chmod").args(["-R", "u+w"]).arg(directory.path()).status().unwrap().success());
    Some(directory)
}

pub(crate) fn expectations(path: PathBuf) -> Option<Expectations> {
    let lines = fs::read_to_string(path).ok()?;
    let mut expectations = Expectations::new();
    for line in lines.lines() {
        let line = line
            .replace(": NaN", r#": "\u0000NaN""#)
            .replace(": Infinity", r#": "\u0000Infinity""#)
            .replace(": -Infinity", r#": "\u0000-Infinity""#);
        let value: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let collection = text("_collection").or_else(|| text("collection"));
        let (Some(collection), None) = (collection, value.get("_get_error")) else { continue };
        let name = (text("tenant").unwrap(), text("database").unwrap(), collection);
        let records = expectations.entry(name).or_default();
        if let Some(id) = text("id") {
            let record = ExpectedRecord {
                document: text("document"),
                uri: text("uri"),
                metadata: value["metadata"].as_object().cloned().unwrap_or_default(),
                embedding: text("embedding").map(|base64| floats(&decode_base64(&base64))),
            };
            records.insert(id, record);
        }
    }
    Some(expectations)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|component| f32::from_le_bytes(component.try_into().unwrap())).collect()
}

fn decode_base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        bits = bits << 6 | alphabet.iter().position(|letter| *letter == c).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    bytes
}

/// Writes a file with an old time: the reader waits until recently written files are stable.
pub(crate) fn write_old(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

/// Every file in a directory, recursively, with its content.
pub(crate) fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}
