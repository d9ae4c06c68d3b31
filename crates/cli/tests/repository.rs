//! Rules of the repository that no lint checks.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::layers::parts;

/// Maximum lines of a source file. Longer files are listed in [`LONGER`], which may only shrink.
const MAX_LINES: usize = 600;
const LONGER: [&str; 0] = [];

fn sources() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder lists") {
            let path = entry.expect("the entry reads").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(path);
            }
        }
    }
    assert!(sources.len() > 50, "the sources are found");
    sources
}

fn contains_any(path: &Path, words: &[&str]) -> bool {
    let text = fs::read_to_string(path).expect("the file reads");
    words.iter().any(|word| text.contains(word))
}

fn ends_with_any(path: &Path, ends: &[&str]) -> bool {
    ends.iter().any(|end| path.ends_with(end))
}

#[test]
fn source_files_do_not_exceed_the_maximum_length() {
    for path in sources() {
        let lines = fs::read_to_string(&path).expect("the file reads").lines().count();
        assert!(lines <= MAX_LINES || ends_with_any(&path, &LONGER), "{}: {lines} lines", path.display());
    }
}

#[test]
fn sql_is_used_only_in_the_postgres_store() {
    for path in sources() {
        let text = path.to_string_lossy().replace('\\', "/");
        // Tests read tables; test-support makes databases and clusters.
        let allowed = ["store/src/postgres/", "/tests/", "test-support/src/"];
        if allowed.iter().any(|folder| text.contains(folder)) {
            continue;
        }
        let uses_sql = contains_any(&path, &["sqlx::query", "sqlx::raw_sql", "query!("]);
        assert!(!uses_sql, "{}: SQL belongs in store::postgres", path.display());
    }
}

#[test]
fn run_time_sql_is_built_only_in_sql() {
    for path in sources() {
        let text = path.to_string_lossy().replace('\\', "/");
        let product = text.contains("/src/") && !text.contains("test-support");
        let allowed = ends_with_any(&path, &["store/src/postgres/sql/mod.rs"]);
        let builds = product && contains_any(&path, &["AssertSqlSafe"]);
        assert!(!builds || allowed, "{}: only the root of sql may assert that SQL is safe", path.display());
    }
}

/// Whether `path` is a source of a library that is part of the product.
fn is_library(path: &Path) -> bool {
    let text = path.to_string_lossy().replace('\\', "/");
    ["records", "chroma", "embed", "store", "migrate", "provision", "judge", "server", "upkeep"]
        .iter()
        .any(|name| text.contains(&format!("/{name}/src/")))
}

#[test]
fn libraries_read_no_environment() {
    for path in sources() {
        let reads = is_library(&path) && contains_any(&path, &["env::var"]);
        assert!(!reads, "{}: libraries take configuration as arguments", path.display());
    }
}

#[test]
fn locks_are_those_of_records() {
    for path in sources() {
        let text = path.to_string_lossy().replace('\\', "/");
        let product = text.contains("/src/") && !text.contains("test-support/");
        let allowed = ends_with_any(&path, &["records/src/lock.rs"]);
        let poisons = product && contains_any(&path, &["PoisonError", ".lock().expect(", ".lock().unwrap("]);
        assert!(!poisons || allowed, "{}: use `records::lock`, which has the one policy", path.display());
    }
}

/// The names of all settings.
fn variables() -> impl Iterator<Item = &'static str> {
    include_str!("names/settings.txt").lines().filter_map(|line| line.split(' ').next())
}

/// Whether `text` has the word `name`, except as a format argument.
fn says(text: &str, name: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(name).any(|(place, _)| {
        let (before, after) = (&text[..place], &text[place + name.len()..]);
        !before.ends_with(|character| is_word(character) || character == '{') && !after.starts_with(is_word)
    })
}

#[test]
fn variables_are_named_only_in_the_table_of_settings() {
    assert!(says("set `API_KEY`", "API_KEY") && !says("set {API_KEY}, or OPENAI_API_KEY", "API_KEY"));
    let mut tables = 0;
    for path in sources().iter().filter(|path| path.to_string_lossy().contains("/cli/src/")) {
        if ends_with_any(path, &["settings/table.rs"]) {
            tables += 1;
            continue;
        }
        let (_, literals) = parts(&fs::read_to_string(path).expect("the file reads"));
        for name in variables() {
            let literal = literals.iter().find(|literal| says(literal, name));
            assert!(literal.is_none(), "{}: {literal:?}: use the row of {name}", path.display());
        }
    }
    assert_eq!(tables, 1);
}

#[test]
fn unsafe_code_is_forbidden_in_all_crates_but_embed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |path: PathBuf| fs::read_to_string(path).expect("the manifest reads");
    assert!(read(root.join("Cargo.toml")).contains("\nunsafe_code = \"forbid\"\n"));
    for entry in fs::read_dir(root.join("crates")).expect("the folder lists") {
        let folder = entry.expect("the entry reads").path();
        let inherits = read(folder.join("Cargo.toml")).contains("\n[lints]\nworkspace = true\n");
        assert_eq!(inherits, !folder.ends_with("embed"), "{}", folder.display());
    }
}

#[test]
fn libraries_name_neither_variables_nor_flags() {
    let flags: BTreeSet<&str> = include_str!("../../../docs/reference/cli.md")
        .split(|character: char| !(character.is_ascii_lowercase() || character == '-'))
        .filter(|word| word.len() > 4 && word.starts_with("--") && !["--version", "--help"].contains(word))
        .collect();
    assert!(flags.contains("--on-reject") && flags.len() > 30, "{flags:?}");
    for path in sources().iter().filter(|path| is_library(path) && !path.ends_with("tests.rs")) {
        let (_, literals) = parts(&fs::read_to_string(path).expect("the file reads"));
        // Complete commands are fixes of `doctor` or of an alert.
        for literal in literals.iter().filter(|literal| !literal.contains("panopticon ")) {
            let variable = variables().find(|name| says(literal, name));
            // A literal that is only a flag is an argument of a child process.
            let mut words = literal.split([' ', '`', '(', ',']).filter(|word| *word != literal.as_str());
            let flag = words.find(|word| flags.contains(word));
            let named = variable.or(flag);
            assert!(named.is_none(), "{}: {literal:?}: only cli may name {named:?}", path.display());
        }
    }
}

/// The names in a folder of `fuzz/`, without extensions.
fn fuzz_names(folder: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(folder);
    let entries = fs::read_dir(&folder).expect("the folder lists");
    let stem = |path: PathBuf| path.file_stem().expect("an entry has a name").to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| stem(entry.expect("the entry reads").path())).collect();
    names.sort();
    names
}

/// The names in `replays! { … }` of all crates.
fn replayed() -> Vec<String> {
    let mut names = Vec::new();
    for path in sources().iter().filter(|path| path.ends_with("fuzzing/replay.rs")) {
        let text = fs::read_to_string(path).expect("the file reads");
        let (_, list) = text.rsplit_once("replays! {").expect("replay.rs lists targets");
        let (list, _) = list.split_once('}').expect("the list ends");
        names.extend(list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    names.sort();
    names
}

#[test]
fn every_fuzz_target_has_a_corpus_that_is_replayed() {
    let targets = fuzz_names("fuzz_targets");
    assert!(!targets.is_empty(), "there are targets");
    assert_eq!(fuzz_names("corpus"), targets, "fuzz/corpus has a folder for each file of fuzz/fuzz_targets");
    assert_eq!(replayed(), targets, "`replays!` of some crate's src/fuzzing/replay.rs lists each target");
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/Cargo.toml"));
    let manifest = manifest.expect("the file reads");
    for target in targets {
        assert!(manifest.contains(&format!("\nname = \"{target}\"\n")), "fuzz/Cargo.toml has a bin {target}");
    }
}

#[test]
fn no_comment_contains_a_doctest() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("the file reads");
        let mut in_block = false;
        for line in text.lines().map(str::trim_start) {
            let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
            let Some(fence) = comment.and_then(|comment| comment.trim_start().strip_prefix("```")) else {
                continue;
            };
            // A block of another language, such as `text`, is not run.
            let is_test = !in_block && matches!(fence.trim(), "" | "rust" | "no_run" | "should_panic");
            assert!(!is_test, "{}: `.ci/test` does not run doctests", path.display());
            in_block = !in_block;
        }
    }
}

#[test]
fn tests_are_skipped_only_by_skip() {
    for path in sources() {
        let says = contains_any(&path, &[r#"println!("skip"#, r#"println!("not run"#]);
        let allowed = ends_with_any(&path, &["test-support/src/run_mode.rs", "cli/tests/repository.rs"]);
        assert!(
            !says || allowed,
            "{}: use `test_support::skip`, which makes CI fail where a test is not run",
            path.display()
        );
    }
}
