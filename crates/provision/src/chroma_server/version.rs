//! The version of Chroma that wrote a directory, the installed one, and whether the latter may open the directory.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, ErrorKind, Read as _},
    path::Path,
    process::{Command, Stdio},
};

use chroma::{Kind, PersistDirectory, VersionRange};

use super::{ChromaError, ChromaProgram, Consent};

/// A file with the version that last opened the directory. Releases that migrate nothing do not change a directory, so
/// its tables do not distinguish a release that this reader does not know from an older one.
const MARKER: &str = "panopticon-chroma-version";

/// `chroma --version` prints the version of the command line, which differs: 1.4.4 for Chroma 1.5.9.
const ASK_PACKAGE: &str = "import importlib.metadata; print(importlib.metadata.version('chromadb'))";

/// Maximum length of a first line that names an interpreter.
const MOST_LINE_BYTES: u64 = 1_000;

/// The version of Chroma that `program` runs. pip installs a script that names its Python, which knows the version of the
/// package; any other program is asked with `--version`.
pub(super) fn of_program(program: &ChromaProgram) -> Result<String, ChromaError> {
    if let Some(python) = interpreter(program.path())
        && let Some(version) = ask(Command::new(&python[0]).args(&python[1..]).args(["-c", ASK_PACKAGE]))
    {
        return Ok(version);
    }
    let mut command = Command::new(program.path());
    match command.arg("--version").stdin(Stdio::null()).output() {
        Ok(output) => {
            // Chroma 0.x has no such option, and a wrapper may have none.
            let printed = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let version = printed.split_whitespace().next_back().unwrap_or("of an unknown version");
            Ok(version.to_owned())
        }
        Err(source) if source.kind() == ErrorKind::NotFound => Err(ChromaError::NotInstalled),
        Err(source) => Err(ChromaError::Spawn { program: program.path().to_owned(), source }),
    }
}

/// The words after `#!`, if they name a Python; `None` also if the file cannot be read.
fn interpreter(script: &Path) -> Option<Vec<String>> {
    let mut line = String::new();
    BufReader::new(File::open(script).ok()?.take(MOST_LINE_BYTES)).read_line(&mut line).ok()?;
    let words: Vec<String> = line.strip_prefix("#!")?.split_whitespace().map(str::to_owned).collect();
    let name = Path::new(words.last()?).file_name()?.to_str()?;
    name.starts_with("python").then_some(words)
}

fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !version.is_empty()).then_some(version)
}

/// Whether Chroma `installed` may open `directory`.
pub(super) fn check(directory: &Path, installed: &str, consent: Consent) -> Result<(), ChromaError> {
    if fs::read_to_string(directory.join(MARKER)).is_ok_and(|version| version.trim() == installed) {
        return Ok(());
    }
    let opened = PersistDirectory::open(directory);
    let overview = match opened.and_then(|persisted| persisted.overview()) {
        Ok(overview) => overview,
        Err(chroma::Error::NoDatabase { .. }) => return Ok(()),
        Err(error) => {
            let source = Box::new(error);
            return Err(ChromaError::Unreadable { directory: directory.to_owned(), source });
        }
    };
    if overview.kind == Kind::Parquet {
        return Err(ChromaError::TooOld { directory: directory.to_owned() });
    }
    let VersionRange { min, max } = overview.version;
    if consent == Consent::Given || is_within(installed, overview.version) {
        return Ok(());
    }
    let written_by = match max {
        Some(max) if max == min => min.to_owned(),
        Some(max) => format!("{min} to {max}"),
        None => format!("newer than {min}"),
    };
    Err(ChromaError::NeedsConsent {
        directory: directory.to_owned(),
        written_by,
        installed: installed.to_owned(),
    })
}

/// Records that `version` has opened the directory.
pub(super) fn note(directory: &Path, version: &str) -> Result<(), ChromaError> {
    let path = directory.join(MARKER);
    fs::write(&path, format!("{version}\n")).map_err(|source| ChromaError::File {
        verb: "write",
        path,
        source,
    })
}

/// Whether `version` does not change the directory. A version with a part that is not a number, such as a development
/// version, counts as unknown.
fn is_within(version: &str, range: VersionRange) -> bool {
    let (Some(version), Some(min)) = (numbers(version), numbers(range.min)) else { return false };
    let max = range.max.and_then(numbers);
    min <= version && max.is_some_and(|max| version <= max)
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_releases_of_the_range_are_within_it() {
        let range = VersionRange { min: "0.5.6", max: Some("0.6.3") };
        let within = |version| is_within(version, range);
        assert!(within("0.5.6") && within("0.5.23") && within("0.6.3"));
        assert!(!within("0.5.5") && !within("0.6.4") && !within("1.5.9"));
        assert!(!within("0.6.0.dev1") && !within("0.6") && !within("unknown"));
        assert!(!is_within("1.5.9", VersionRange { min: "1.5.0", max: None }));
    }

    #[test]
    fn interpreter_of_a_script_is_read_from_its_first_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let check = |content: &[u8], expected: Option<&[&str]>| {
            let path = folder.path().join("chroma");
            fs::write(&path, content).expect("the file is written");
            let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
            assert_eq!(interpreter(&path), expected, "{}", content.escape_ascii());
        };
        check(b"#!/venv/bin/python3.11\nimport x\n", Some(&["/venv/bin/python3.11"]));
        check(b"#!/usr/bin/env python3\n", Some(&["/usr/bin/env", "python3"]));
        check(b"#!/usr/bin/env bash\n", None);
        check(b"\x7fELF\xff\xfe", None);
        check(b"", None);
    }
}
