//! Texts to embed, store and search for.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use serde_json::Value;

/// The source of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Texts that the query service stores.
    Queries,
    /// Those, and outputs of models.
    QueriesAndOutputs,
}

/// `count` texts of mixed length, up to `longest` bytes, and their source: real ones of `kind` next to the workspace,
/// or texts made of the embed crate's reference set. Deterministic for a `seed`.
///
/// # Errors
/// When there are fewer, or they cannot be read.
pub fn texts(kind: Kind, count: usize, longest: usize, seed: u64) -> Result<(Vec<String>, &'static str)> {
    let (names, source): (&[&str], _) = match kind {
        Kind::Queries => (&["queries.jsonl.gz"], "real queries"),
        Kind::QueriesAndOutputs => (&["queries.jsonl.gz", "outputs.jsonl.gz"], "real prompts and answers"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    for name in names {
        let path = root.join("../../../shared/data").join(name);
        if path.exists() {
            let lines = Command::new("gzip").arg("-dc").arg(path).output()?.stdout;
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let row: Value = serde_json::from_slice(line)?;
                texts.extend(row["text"].as_str().filter(|text| text.len() <= longest).map(str::to_owned));
            }
        }
    }
    let mut random = Random(seed);
    if texts.is_empty() {
        let lines = fs::read_to_string(root.join("../embed/testdata/reference_texts.jsonl"))?;
        let parts = lines.lines().map(serde_json::from_str).collect::<Result<Vec<String>, _>>()?;
        let parts: Vec<String> = parts.into_iter().filter(|part| part.len() <= longest).collect();
        let joined = (0..count).map(|_| {
            let parts_of_text = if longest == usize::MAX { 1 + random.below(6) } else { 1 };
            (0..parts_of_text)
                .map(|_| parts[random.below(parts.len())].as_str())
                .collect::<Vec<_>>()
                .join(" ")
        });
        return Ok((joined.collect(), "made of the reference texts"));
    }
    ensure!(texts.len() >= count, "expected {count} texts of up to {longest} bytes, found {}", texts.len());
    let chosen = (0..count).map(|_| texts.swap_remove(random.below(texts.len())));
    Ok((chosen.collect(), source))
}

/// A small generator (xorshift64*), so that the selection is deterministic.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}
