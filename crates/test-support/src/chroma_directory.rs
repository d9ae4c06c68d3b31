//! Chroma directories for tests: copies of the shared fixtures and of the project's sample.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::skip;

pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Unpacks the fixture archive `name` into a temporary folder: one of the project (such as `small-1.5.9`) or a shared one
/// (such as `1.5.9`). A skip and `None` if the shared fixtures are not next to the project.
pub fn fixture(name: &str) -> Option<TempDir> {
    let folders = ["crates/chroma/testdata/fixtures", "../shared/chroma/fixtures"];
    let [own, archive] = folders.map(|folder| workspace().join(folder).join(format!("{name}.tar.gz")));
    let archive = if own.is_file() { own } else { archive };
    if !archive.is_file() {
        skip(&format!("needs the shared fixture {name}.tar.gz next to the project"));
        return None;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // `tar` preserves sparse files, which some fixtures have.
    let status = Command::new("tar").arg("-xzSf").arg(&archive).arg("-C").arg(folder.path()).status();
    assert!(status.expect("tar runs").success(), "{} unpacks", archive.display());
    Some(folder)
}

/// A copy of one directory of the project's sample, such as `query_storage_data`.
pub fn sample(name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy_folder(&workspace().join("sample").join(name), folder.path());
    folder
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the folder lists") {
        let entry = entry.expect("the entry reads");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("the entry has a type").is_dir() {
            fs::create_dir(&target).expect("a folder can be made");
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file copies");
        }
    }
}

/// Names and contents of all files below `folder`, to compare before with after.
pub fn folder_digest(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder lists") {
            let path = entry.expect("the entry reads").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let content = fs::read(&path).expect("the file reads");
                files.push((path, content));
            }
        }
    }
    files.sort();
    files
}
