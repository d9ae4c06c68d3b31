//! Texts with their vectors. Embedding takes a quarter of an hour, so they are cached in `target/bench`.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use bench::folder;
use embed::Model;

use super::corpus::{self, Text, TextSet};

pub(super) const DIMENSION: usize = 384;
/// Texts per call of the model.
const TOGETHER: usize = 2_048;

/// Texts and their vectors, of length one.
pub(super) struct Corpus {
    pub(super) texts: Vec<Text>,
    vectors: Vec<f32>,
}

impl Corpus {
    /// The first `count` texts of all, and their vectors by `model`.
    pub(super) fn read(model: &Path, count: usize) -> Result<Self> {
        let mut texts = corpus::texts()?;
        anyhow::ensure!(texts.len() >= count, "there are {} texts, fewer than {count}", texts.len());
        texts.truncate(count);
        Self::of(texts, model, "vectors.f32")
    }

    /// Up to `most` texts of a set, and their vectors by `model`.
    pub(super) fn of_set(set: TextSet, model: &Path, most: usize) -> Result<Self> {
        let mut texts = set.texts()?;
        texts.truncate(most);
        Self::of(texts, model, &format!("vectors-{}.f32", set.name()))
    }

    fn of(texts: Vec<Text>, model: &Path, cache: &str) -> Result<Self> {
        let path = folder()?.join(cache);
        let mut vectors = kept(&path, &texts)?;
        if vectors.len() < texts.len() * DIMENSION {
            embed(&path, model, &texts, &mut vectors)?;
        }
        Ok(Self { texts, vectors })
    }

    pub(super) fn vector(&self, number: usize) -> &[f32] {
        &self.vectors[number * DIMENSION..(number + 1) * DIMENSION]
    }
}

/// The vectors that an earlier run has cached, in the order of the texts. Each follows its text's hash, which detects
/// vectors of other texts.
fn kept(path: &Path, texts: &[Text]) -> Result<Vec<f32>> {
    let Ok(file) = File::open(path) else { return Ok(Vec::new()) };
    let (mut file, mut vectors) = (BufReader::with_capacity(1 << 20, file), Vec::new());
    let mut record = [0; 8 + 4 * DIMENSION];
    for text in texts {
        if file.read_exact(&mut record).is_err() || record[..8] != corpus::hash(&text.text).to_le_bytes() {
            break;
        }
        vectors.extend(
            record[8..]
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        );
    }
    Ok(vectors)
}

/// Embeds the texts whose vectors are missing, and caches them.
fn embed(path: &Path, model: &Path, texts: &[Text], vectors: &mut Vec<f32>) -> Result<()> {
    let model = Model::load(model)?;
    let there = vectors.len() / DIMENSION;
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = file.with_context(|| format!("failed to open `{}`", path.display()))?;
    file.set_len((there * (8 + 4 * DIMENSION)) as u64)?;
    let mut file = BufWriter::new(file);
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0))?;
    for (part, batch) in texts[there..].chunks(TOGETHER).enumerate() {
        eprintln!("embedding {} of {}", there + part * TOGETHER, texts.len());
        let embedded = model.embed(&batch.iter().map(|text| text.text.as_str()).collect::<Vec<_>>())?;
        for (text, embedding) in batch.iter().zip(&embedded) {
            file.write_all(&corpus::hash(&text.text).to_le_bytes())?;
            for component in embedding.as_slice() {
                file.write_all(&component.to_le_bytes())?;
            }
            vectors.extend(embedding.as_slice());
        }
    }
    file.flush()?;
    Ok(())
}
