//! Errors of loading damaged or missing model files.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use embed::{EmbedError, Kernel, LoadError, Model, ModelConfig};

use crate::support;

/// A copy of the model directory in which one file can be damaged.
struct Damaged(PathBuf);

impl Damaged {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("embed-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        for file in ["model.safetensors", "tokenizer.json"] {
            let link = dir.join(file);
            fs::remove_file(&link).ok();
            std::os::unix::fs::symlink(support::model_dir().join(file), link).unwrap();
        }
        Self(dir)
    }

    fn replace(&self, file: &str, content: &[u8]) {
        fs::remove_file(self.0.join(file)).unwrap();
        fs::write(self.0.join(file), content).unwrap();
    }

    fn error(&self) -> LoadError {
        let config = ModelConfig { threads: NonZeroUsize::MIN, kernel: Kernel::detect() };
        Model::load_with(&self.0, config).err().expect("a damaged model is refused")
    }
}

impl Drop for Damaged {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn weights() -> Vec<u8> {
    fs::read(support::model_dir().join("model.safetensors")).unwrap()
}

#[test]
fn a_missing_file_is_named() {
    let error = Model::load(Path::new("/nonexistent")).err().unwrap();
    assert!(matches!(&error, LoadError::Read { path, .. } if path.starts_with("/nonexistent")), "{error:?}");
}

#[test]
fn truncated_weights_are_refused() {
    let weights = weights();
    for len in [0, 7, 8, 5000, 11_416, weights.len() / 2, weights.len() - 1] {
        let damaged = Damaged::new("truncated");
        damaged.replace("model.safetensors", &weights[..len]);
        let error = damaged.error();
        assert!(matches!(error, LoadError::Weights { .. } | LoadError::Read { .. }), "{len}: {error:?}");
    }
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let mut weights = weights();
    let header = String::from_utf8_lossy(&weights[8..11_416]).into_owned();
    let changed = header.replacen("[384,1536]", "[1536,384]", 1);
    assert_ne!(header, changed);
    weights[8..11_416].copy_from_slice(changed.as_bytes());
    let damaged = Damaged::new("shape");
    damaged.replace("model.safetensors", &weights);
    let error = damaged.error().to_string();
    assert!(error.contains("encoder.layer.0.output.dense.weight"), "{error}");
    assert!(error.ends_with("expected F32 [384, 1536], found F32 [1536, 384]"), "{error}");
}

#[test]
fn a_damaged_tokenizer_is_refused() {
    let damaged = Damaged::new("tokenizer");
    damaged.replace("tokenizer.json", b"{\"version\": \"1.0\"");
    assert!(matches!(damaged.error(), LoadError::Tokenizer { .. }));
}

#[test]
fn truncating_or_overwriting_the_file_does_not_affect_a_loaded_model() {
    let damaged = Damaged::new("cut");
    let content = fs::read(support::model_dir().join("model.safetensors")).unwrap();
    damaged.replace("model.safetensors", &content);
    let config = ModelConfig { threads: NonZeroUsize::MIN, kernel: Kernel::detect() };
    let model = Model::load_with(&damaged.0, config).unwrap();
    // Words whose rows were not used before the file changes.
    let texts = ["the sun", "an uncommon vocabulary: zebra, quartz, fjord"];
    let before = Model::load(&support::model_dir()).unwrap().embed(&texts).unwrap();
    let file = fs::File::options().write(true).open(damaged.0.join("model.safetensors")).unwrap();
    file.set_len(content.len() as u64 / 2).unwrap();
    file.set_len(content.len() as u64).unwrap();
    file.set_len(0).unwrap();
    assert!(model.embed(&texts).unwrap() == before);
}

#[test]
fn overwritten_weights_are_told_from_a_text_that_cannot_be_embedded() {
    let weights = weights();
    let damaged = Damaged::new("overwritten");
    // The header is whole: only the values of tensors are others, all of them or some in the middle.
    let places = [0x5000..weights.len(), weights.len() / 2..weights.len() / 2 + 4096];
    for place in places {
        let mut overwritten = weights.clone();
        overwritten[place.clone()].fill(0xff);
        damaged.replace("model.safetensors", &overwritten);
        let error = damaged.error();
        assert!(matches!(error, LoadError::Damaged { .. }), "{place:?}: {error:?}");
        let words = error.to_string();
        assert!(words.starts_with("the model is damaged") && words.contains("overwritten"), "{words}");
        assert!(words.contains("model.safetensors") && words.contains("remove the file"), "{words}");
    }
    // Numbers, of which no vector comes: too large, and nothing.
    let config = ModelConfig { threads: NonZeroUsize::MIN, kernel: Kernel::detect() };
    for byte in [0x7e, 0] {
        let mut overwritten = weights.clone();
        overwritten[0x5000..].fill(byte);
        damaged.replace("model.safetensors", &overwritten);
        let model = Model::load_with(&damaged.0, config).expect("the weights are numbers");
        let error = model.embed(&["the sun"]).expect_err("the vector is none");
        assert!(
            matches!(&error, EmbedError::Damaged { path } if path.ends_with("model.safetensors")),
            "{error:?}"
        );
        assert!(error.to_string().contains("remove the file"), "{error}");
        model.embed_patiently(&["the sun", ""]).expect_err("the vectors are none");
    }
}
