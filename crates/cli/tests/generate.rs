//! `panopticon generate`.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;

use crate::{json, panopticon, run};

fn generate(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Settings that other commands refuse make no difference.
    let ended = run(panopticon(folder.path(), &["generate"]).args(arguments).env("LOG_LEVEL", "loud"));
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    ended.stdout
}

#[test]
fn completions_name_every_command_and_bash_accepts_its_script() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = generate(&["completions", shell]);
        for word in ["maintain", "on-reject", "panopticon"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let script = generate(&["completions", "bash"]);
    let read = Command::new("bash").args(["-c", &format!("{script}\ncomplete -p panopticon")]).output();
    let read = read.expect("bash runs");
    assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pages = folder.path().join("new/man1");
    let printed = generate(&["man", pages.to_str().expect("the path is text")]);
    let reference = generate(&["reference"]);
    // `panopticon index apply` is described in panopticon-index-apply.1.
    let headings =
        reference.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(" panopticon"));
    let mut expected: Vec<String> =
        headings.map(|rest| format!("panopticon{}.1", rest.replace(' ', "-"))).collect();
    let entries = fs::read_dir(&pages).expect("the folder lists");
    let mut written: Vec<String> = entries
        .map(|entry| entry.expect("the entry reads").file_name().to_string_lossy().into_owned())
        .collect();
    expected.sort();
    written.sort();
    assert!(expected.len() > 20, "{reference}");
    assert_eq!(written, expected);
    assert!(printed.starts_with(&format!("wrote {} manual pages to ", written.len())), "{printed}");
    for name in written {
        let page = fs::read_to_string(pages.join(&name)).expect("the page reads");
        assert!(page.contains(".TH panopticon") && page.contains(".SH NAME"), "{name}: {page}");
    }
}

#[test]
fn every_default_in_the_generated_env_file_is_the_default() {
    let text = generate(&["env"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let configured = || json(&run(&mut panopticon(folder.path(), &["config", "--json"])));
    let before = configured();
    fs::write(folder.path().join(".env"), &text).expect("the file is written");
    assert_eq!(configured(), before, "all lines are comments");

    // Prose has a space after its #.
    let settings = text.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let settings: BTreeMap<&str, &str> =
        settings.filter(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')).collect();
    let mut names: Vec<&str> = before.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(settings.keys().copied().collect::<Vec<_>>(), names);
    let given: BTreeMap<&str, &str> = settings.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    assert!(given.len() > 20, "{given:?}");
    let lines: Vec<String> = given.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    fs::write(folder.path().join(".env"), lines.concat()).expect("the file is written");
    let after = configured();
    for name in given.keys().filter(|name| **name != "PANOPTICON_DATA_DIR") {
        assert_eq!(after[name]["value"], before[name]["value"], "{name}");
        assert!(
            after[name]["origin"].as_str().is_some_and(|origin| origin.ends_with(".env")),
            "{name}: {after}"
        );
    }
}

#[test]
fn compose_file_sets_only_settings_and_needs_no_other_file() {
    let text = generate(&["compose"]);
    assert!(!text.contains("file: ./"), "{text}");
    let (_, rest) =
        text.split_once("x-environment: &environment\n").expect("the services have an environment");
    let (environment, _) = rest.split_once("\n\n").expect("it ends");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = json(&run(&mut panopticon(folder.path(), &["config", "--json"])));
    let names: Vec<&str> = environment
        .lines()
        .filter_map(|line| line.trim().split_once(':').map(|(name, _)| name))
        .filter(|name| !name.starts_with('#'))
        .collect();
    assert!(names.contains(&"DATABASE_URL") && names.len() > 10, "{names:?}");
    for name in names {
        assert_ne!(config[name], Value::Null, "{name} is a setting");
    }
}
