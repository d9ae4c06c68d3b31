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

/// Texts of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextSet {
    /// WordNet's glosses.
    Glosses,
    /// Sentences of all texts of the evaluation data.
    Sentences,
    /// Whole queries of the evaluation data.
    Questions,
    /// Whole outputs of models of the evaluation data.
    Outputs,
    /// Paragraphs of this project's Rust.
    Code,
}

impl TextSet {
    pub(super) const ALL: [Self; 5] =
        [Self::Glosses, Self::Sentences, Self::Questions, Self::Outputs, Self::Code];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Glosses => "glosses",
            Self::Sentences => "sentences",
            Self::Questions => "questions",
            Self::Outputs => "outputs",
            Self::Code => "code",
        }
    }

    /// All distinct texts, in a deterministic order that mixes the sources.
    pub(super) fn texts(self) -> Result<Vec<Text>> {
        let texts = match self {
            Self::Glosses => glosses()?,
            Self::Sentences => {
                let mut texts = Vec::new();
                for whole in DATA.into_iter().map(data).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
                    let source = whole.source;
                    let parts = sentences(&whole.text).into_iter();
                    texts.extend(parts.map(|text| Text { text, source: source.clone() }));
                }
                texts
            }
            Self::Questions => data(DATA[0])?,
            Self::Outputs => data(DATA[1])?,
            Self::Code => code(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))?,
        };
        Ok(mixed(texts))
    }
}

/// All distinct sentences and glosses, in a deterministic order that mixes the sources.
pub(super) fn texts() -> Result<Vec<Text>> {
    Ok(mixed([TextSet::Sentences.texts()?, TextSet::Glosses.texts()?].concat()))
}

fn mixed(texts: Vec<Text>) -> Vec<Text> {
    let mut seen = HashSet::new();
    let hashed = texts.into_iter().map(|text| (hash(&text.text), text));
    let mut texts: Vec<(u64, Text)> = hashed.filter(|(hash, _)| seen.insert(*hash)).collect();
    texts.sort_unstable_by_key(|(hash, _)| *hash);
    texts.into_iter().map(|(_, text)| text).collect()
}

/// The texts of a file of the evaluation data.
fn data(name: &str) -> Result<Vec<Text>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    ensure!(path.exists(), "`{}` is missing: this benchmark searches real texts", path.display());
    let mut texts = Vec::new();
    for line in unzipped(&path)?.lines() {
        let row: Value = serde_json::from_str(line)?;
        let source = row["theme"].as_str().unwrap_or(name);
        let fields = ["text", "output_a", "output_b"].into_iter().filter_map(|field| row[field].as_str());
        texts.extend(fields.map(|text| Text { text: text.to_owned(), source: source.to_owned() }));
    }
    Ok(texts)
}

fn glosses() -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for part in ["noun", "verb", "adj", "adv"] {
        let path = wordnet()?.join(format!("data.{part}"));
        let bytes = fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
        // Latin-1; indented lines at the start hold the licence.
        let content: String = bytes.into_iter().map(char::from).collect();
        let entries = content.lines().filter(|line| !line.starts_with(' '));
        let glosses = entries.filter_map(|line| line.split_once('|'));
        texts.extend(
            glosses.map(|(_, gloss)| Text { text: gloss.trim().to_owned(), source: part.to_owned() }),
        );
    }
    Ok(texts)
}

/// Paragraphs of the `.rs` files below a folder.
fn code(folder: &Path) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            texts.extend(code(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let content = fs::read_to_string(&path)?;
            let paragraphs = content.split("\n\n").map(str::trim).filter(|text| text.len() >= SHORTEST);
            texts.extend(paragraphs.map(|text| Text { text: text.to_owned(), source: "rs".to_owned() }));
        }
    }
    Ok(texts)
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
