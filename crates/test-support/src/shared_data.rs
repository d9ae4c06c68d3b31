//! The shared data: real answers, errors and judgements. Tests without them are skipped.

use std::{fs::File, io::Read as _};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::{chroma_directory::workspace, skip};

/// The lines of a file of `../shared/data`; a skip and none if it is missing.
pub fn shared_lines(name: &str) -> Vec<Value> {
    let path = workspace().join("../shared/data").join(name);
    let Ok(mut file) = File::open(&path) else {
        skip(&format!("{} does not exist", path.display()));
        return Vec::new();
    };
    let mut lines = String::new();
    let read = if name.ends_with(".gz") {
        GzDecoder::new(file).read_to_string(&mut lines)
    } else {
        file.read_to_string(&mut lines)
    };
    read.expect("the file is complete");
    lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}
