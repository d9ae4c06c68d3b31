//! Real texts: sentences of the evaluation data next to the workspace, and WordNet's glosses.

use std::{
    collections::HashSet,
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use bench::folder;
use serde_json::Value;

/// The source of the sentences.
const DATA: [&str; 3] = ["queries.jsonl.gz", "outputs.jsonl.gz", "pairwise.jsonl.gz"];
/// Shorter ones are headings and list numbers.
const SHORTEST: usize = 12;

/// A text and its category.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    /// The data's theme, or WordNet's part of speech: texts of the same are near each other.
    pub(super) source: String,
}

/// All distinct texts, in a deterministic order that mixes the sources.
pub(super) fn texts() -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for name in DATA {
        let path = data.join(name);
        ensure!(path.exists(), "`{}` is missing: this benchmark searches real texts", path.display());
        for line in unzipped(&path)?.lines() {
            let row: Value = serde_json::from_str(line)?;
            let source = row["theme"].as_str().unwrap_or(name);
            for field in ["text", "output_a", "output_b"] {
                texts.extend(
                    row[field].as_str().into_iter().flat_map(sentences).map(|text| (text, source.to_owned())),
                );
            }
        }
    }
    for part in ["noun", "verb", "adj", "adv"] {
        let path = wordnet()?.join(format!("data.{part}"));
        let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        // Latin-1; indented lines at the start hold the licence.
        let content: String = bytes.into_iter().map(char::from).collect();
        let entries = content.lines().filter(|line| !line.starts_with(' '));
        texts.extend(
            entries
                .filter_map(|line| line.split_once('|'))
                .map(|(_, gloss)| (gloss.trim().to_owned(), part.to_owned())),
        );
    }
    let mut seen = HashSet::new();
    let mut texts: Vec<(u64, Text)> = texts
        .into_iter()
        .filter(|(text, _)| seen.insert(hash(text)))
        .map(|(text, source)| (hash(&text), Text { text, source }))
        .collect();
    texts.sort_unstable_by_key(|(hash, _)| *hash);
    Ok(texts.into_iter().map(|(_, text)| text).collect())
}

/// A hash of a text, independent of its meaning (FNV-1a, mixed).
pub(super) fn hash(text: &str) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    let hash = text.bytes().fold(0xCBF2_9CE4_8422_2325, fnv);
    (hash ^ (hash >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Parts that end with a full stop, a question or exclamation mark, or a line.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    for line in text.lines() {
        let mut begin = 0;
        for (at, sign) in line.char_indices() {
            let end = at + sign.len_utf8();
            if matches!(sign, '.' | '?' | '!') && line[end..].starts_with(' ') {
                sentences.push(&line[begin..end]);
                begin = end;
            }
        }
        sentences.push(&line[begin..]);
    }
    sentences
        .into_iter()
        .map(str::trim)
        .filter(|sentence| sentence.len() >= SHORTEST)
        .map(str::to_owned)
        .collect()
}

fn unzipped(path: &Path) -> Result<String> {
    let mut gzip = Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to run gzip")?;
    let mut text = String::new();
    gzip.stdout.take().context("no standard output")?.read_to_string(&mut text)?;
    ensure!(gzip.wait()?.success(), "failed to unzip `{}`", path.display());
    Ok(text)
}

/// WordNet's folder: `PANOPTICON_BENCH_WORDNET`, the system's, or that of Debian's package, which is downloaded once.
fn wordnet() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("PANOPTICON_BENCH_WORDNET") {
        return Ok(folder.into());
    }
    let installed = PathBuf::from("/usr/share/wordnet");
    if installed.exists() {
        return Ok(installed);
    }
    let kept = folder()?.join("wordnet");
    let found = kept.join("usr/share/wordnet");
    if !found.exists() {
        fs::create_dir_all(&kept)?;
        let run = |program: &str, arguments: &[&str]| {
            let status =
                Command::new(program).args(arguments).current_dir(&kept).stderr(Stdio::null()).status();
            let is_done = status.is_ok_and(|status| status.success());
            ensure!(
                is_done,
                "`{program}` failed: install Debian's wordnet-base, or name its folder in PANOPTICON_BENCH_WORDNET"
            );
            anyhow::Ok(())
        };
        run("apt-get", &["download", "wordnet-base"])?;
        let package = fs::read_dir(&kept)?.filter_map(Result::ok).map(|entry| entry.path());
        let package =
            package.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
        let package = package.context("apt-get has downloaded no package")?;
        run("dpkg", &["-x", bench::utf8(&package)?, "."])?;
    }
    Ok(found)
}
