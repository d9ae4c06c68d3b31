//! The model, the reference files, and the comparison of vectors.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use embed::{Kernel, Model, ModelConfig};
pub(crate) use test_support::model_dir;

pub(crate) fn load(kernel: Kernel, threads: usize) -> Model {
    let threads = NonZeroUsize::new(threads).expect("tests ask for a thread");
    Model::load_with(&model_dir(), ModelConfig { threads, kernel }).expect("the model loads")
}

/// The kernels that this machine can run; prints the others.
pub(crate) fn kernels() -> Vec<Kernel> {
    let (available, lacking): (Vec<_>, Vec<_>) = Kernel::ALL.into_iter().partition(|k| k.is_available());
    for kernel in lacking {
        println!("not on this processor: {kernel}");
    }
    available
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn json_lines<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let file = BufReader::new(File::open(testdata(name)).expect("the reference files are there"));
    file.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

pub(crate) fn reference_texts() -> Vec<String> {
    json_lines("reference_texts.jsonl")
}

pub(crate) fn reference_tokens() -> Vec<Vec<u32>> {
    json_lines("reference_tokens.jsonl")
}

/// `[384]` for each reference text.
pub(crate) fn reference_vectors() -> Vec<Vec<f32>> {
    let bytes = fs::read(testdata("reference_vectors.f32")).expect("the reference files are there");
    bytes.chunks_exact(384 * 4).map(f32s).collect()
}

/// Little-endian f32.
pub(crate) fn f32s(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// A file of the shared folder next to the workspace; a skip and `None` if it is missing.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if path.exists() {
        return Some(path);
    }
    test_support::skip(&format!("{} does not exist", path.display()));
    None
}

/// The largest differences from the expected vectors.
#[derive(Default)]
pub(crate) struct Deviation {
    pub(crate) max_abs: f64,
    pub(crate) one_minus_cos: f64,
    pub(crate) norm: f64,
}

impl Deviation {
    pub(crate) fn add(&mut self, found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        let (mut dot, mut found_squared, mut expected_squared) = (0.0, 0.0, 0.0);
        for (f, e) in found.iter().zip(expected) {
            let (f, e) = (f64::from(*f), f64::from(*e));
            self.max_abs = self.max_abs.max((f - e).abs());
            dot += f * e;
            found_squared += f * f;
            expected_squared += e * e;
        }
        let cos = dot / (found_squared * expected_squared).sqrt();
        self.one_minus_cos = self.one_minus_cos.max(1.0 - cos);
        self.norm = self.norm.max((found_squared.sqrt() - 1.0).abs());
    }
}
