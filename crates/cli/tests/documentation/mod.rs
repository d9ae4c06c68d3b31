//! The documents of the repository: the site builds, links resolve, commands work as shown, and generated pages agree
//! with the binary. `UPDATE_EXPECT=1` rewrites the generated pages.

mod book;
mod generated;
mod links;
mod shell_blocks;

use std::{
    fs,
    path::{Path, PathBuf},
};

use records::oldest;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// The Markdown files of the site, of the root and of `sample`, by path.
fn documents() -> Vec<PathBuf> {
    let root = repository();
    let mut documents = Vec::new();
    for folder in ["", "docs", "docs/reference", "sample"] {
        for entry in fs::read_dir(root.join(folder)).expect("the folder lists") {
            let path = entry.expect("the entry reads").path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents.sort();
    assert!(documents.len() > 15, "the documents are found");
    documents
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn documents_name_the_oldest_supported_versions() {
    let [major, minor] = oldest::PGVECTOR;
    let needed = format!("PostgreSQL {} or newer with pgvector {major}.{minor} or newer", oldest::POSTGRESQL);
    for document in ["database.md", "get-started.md", "move-from-chroma.md"] {
        let text = read(&repository().join("docs").join(document));
        let words: Vec<&str> = text.split_whitespace().collect();
        assert!(words.join(" ").contains(&needed), "{document}: {needed}");
    }
}
