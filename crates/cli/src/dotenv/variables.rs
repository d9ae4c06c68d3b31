//! The variables of a `.env` file: the last binding of each name, with `${NAME}` and `${NAME:-default}` expanded.

use std::{collections::HashMap, ffi::OsString};

use super::parser::{Binding, Content, bindings};

/// Lines that refer to each other can expand to any amount of text; these limits are many times what files need.
const MAX_VALUE_BYTES: usize = 64 << 10;
const MAX_TOTAL_BYTES: usize = 4 << 20;

/// The content of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables {
    /// By name: the line of its last binding, and the value, if it has one.
    pub(crate) bound: HashMap<String, (usize, Option<String>)>,
    /// Lines that cannot be read, with the skipped text.
    pub(crate) unreadable: Vec<(usize, String)>,
}

impl Variables {
    /// Reads `text`. References are looked up in `environment` first, as in python-dotenv.
    pub(crate) fn read(text: &str, environment: impl Fn(&str) -> Option<OsString>) -> Self {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let mut variables = Self::default();
        let mut total = 0;
        for Binding { line, content } in bindings(&text) {
            match content {
                Content::Unreadable(passed) => variables.unreadable.push((line, passed.to_owned())),
                Content::Variable(name, None) => {
                    variables.bound.insert(name.to_owned(), (line, None));
                }
                Content::Variable(name, Some(value)) => {
                    let left = MAX_VALUE_BYTES.min(MAX_TOTAL_BYTES - total);
                    let meant = |name: &str| {
                        let bound = || {
                            // `NAME` without `=` expands to nothing.
                            variables.bound.get(name).map(|(_, value)| value.clone().unwrap_or_default())
                        };
                        environment(name).map(OsString::into_string).or_else(|| bound().map(Ok)).transpose()
                    };
                    match replaced(&value, left, meant) {
                        Some(value) => {
                            total += value.len();
                            variables.bound.insert(name.to_owned(), (line, Some(value)));
                        }
                        None => variables.unreadable.push((line, format!("{name}="))),
                    }
                }
            }
        }
        variables
    }
}

/// `value` with its variables expanded; `None` if that takes more than `limit` bytes, or a variable is not Unicode.
fn replaced(
    value: &str,
    limit: usize,
    meant: impl Fn(&str) -> Result<Option<String>, OsString>,
) -> Option<String> {
    let mut replaced = String::new();
    let mut rest = value;
    // The next `}` and the next `:` or `}` are searched once, regardless of the number of `${` before them.
    let next = |from: usize, wanted: fn(char) -> bool| value[from..].find(wanted).map(|index| from + index);
    let (mut end_of_name, mut closing) = (Some(0), Some(0));
    while let Some(start) = rest.find("${") {
        let opening = value.len() - rest.len() + start;
        let name_from = opening + 2;
        if end_of_name.is_some_and(|at| at < name_from) {
            end_of_name = next(name_from, |c| matches!(c, '}' | ':'));
        }
        let Some(name_to) = end_of_name else { break };
        let name = &value[name_from..name_to];
        let after_name = &value[name_to..];
        let (default, end) = if after_name.starts_with('}') {
            (None, Some(name_to + 1))
        } else if after_name.starts_with(":-") {
            if closing.is_some_and(|at| at < name_to + 2) {
                closing = next(name_to + 2, |c| c == '}');
            }
            (closing.map(|at| &value[name_to + 2..at]), closing.map(|at| at + 1))
        } else {
            (None, None)
        };
        let Some(end) = end else {
            replaced.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        };
        replaced.push_str(&rest[..start]);
        // As in python-dotenv, a variable that is not set and has no default is empty.
        let text = meant(name).ok()?.unwrap_or_else(|| default.unwrap_or_default().to_owned());
        replaced.push_str(&text);
        rest = &value[end..];
        if replaced.len() > limit {
            return None;
        }
    }
    replaced.push_str(rest);
    (replaced.len() <= limit).then_some(replaced)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path, process::Command, time::Instant};

    use serde_json::Value;

    use super::*;

    const EXPECTED: &str = include_str!("../../testdata/dotenv/expected.jsonl");

    fn values(text: &str) -> Value {
        let environment = |name: &str| (name == "FROM_ENV").then(|| "environment".into());
        let bound = Variables::read(text, environment).bound;
        bound.into_iter().map(|(name, (_, value))| (name, Value::from(value))).collect()
    }

    #[test]
    fn files_are_read_as_python_dotenv_reads_them() {
        let mut count = 0;
        for line in EXPECTED.lines().skip(1) {
            let case: Value = serde_json::from_str(line).expect("a line of JSON");
            let text = case["text"].as_str().expect("a text");
            assert_eq!(values(text), case["values"], "{text:?}");
            count += 1;
        }
        assert!(count > 300, "{count}");
    }

    #[test]
    fn reference_to_a_variable_that_is_not_unicode_cannot_be_read() {
        use std::os::unix::ffi::OsStringExt as _;

        let environment = |name: &str| (name == "BYTES").then(|| OsString::from_vec(vec![b'a', 0xff]));
        let read = Variables::read("A=1\nB=x${BYTES}y\nC=${BYTES:-z}\nD=${A}\n", environment);
        let bound: BTreeSet<_> = read.bound.into_keys().collect();
        assert_eq!(bound, BTreeSet::from(["A".to_owned(), "D".to_owned()]));
        assert_eq!(read.unreadable, [(2, "B=".to_owned()), (3, "C=".to_owned())]);
    }

    #[test]
    fn expected_values_are_those_of_the_real_python_dotenv() {
        let version: Value = serde_json::from_str(EXPECTED.lines().next().expect("a line")).expect("JSON");
        let package = version["package"].as_str().expect("its name and version");
        let packages = test_support::python_packages("python-dotenv", &[package]);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/dotenv/expected.py");
        let output =
            Command::new("python3").arg(&script).env("PYTHONPATH", packages).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).expect("it prints text");
        for (printed, expected) in printed.lines().zip(EXPECTED.lines()) {
            assert_eq!(printed, expected);
        }
        assert_eq!(printed.lines().count(), EXPECTED.lines().count());
    }

    #[test]
    fn lines_that_cannot_be_read_are_named_by_their_number() {
        let text = "\u{feff}\r\n# comment\rA='don't'\nB=\"two\nlines\"\nC=\"open\nD=1\n";
        let read = Variables::read(text, |_| None);
        let lines: Vec<usize> = read.unreadable.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 6]);
        let line = |name: &str| read.bound[name].0;
        assert_eq!((line("B"), line("D")), (4, 7));
    }

    #[test]
    fn hostile_files_are_read_in_linear_time_and_space() {
        let started = Instant::now();
        let bomb: String = (0..200).map(|_| "A=${A}${A}xxxxxxxx\n").collect();
        let read = Variables::read(&bomb, |_| None);
        assert!(!read.unreadable.is_empty(), "doubling ends");
        let many: String = (0..50_000).map(|index| format!("B{index}=${{A}}\n")).collect();
        let read = Variables::read(&format!("A={}\n{many}", "x".repeat(60_000)), |_| None);
        let total: usize = read.bound.values().filter_map(|(_, value)| Some(value.as_ref()?.len())).sum();
        assert!(total <= MAX_TOTAL_BYTES, "{total}");
        for hostile in [
            "A=".to_owned() + &"${".repeat(500_000),
            "A=".to_owned() + &"${".repeat(500_000) + ":",
            "'".repeat(1_000_000),
            "A=\"\n".repeat(250_000),
            "A".repeat(1_000_000),
            " #".repeat(500_000),
        ] {
            Variables::read(&hostile, |_| None);
        }
        // A quadratic reader would take days.
        assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
    }
}
