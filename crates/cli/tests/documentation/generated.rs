//! Pages that are generated from code: the command line and the routes of the services.

use std::{fmt::Write as _, fs, path::Path, process::Stdio};

use super::{read, repository};
use crate::{json, panopticon, run};

const ROUTES_START: &str =
    "<!-- Generated from crates/server/tests/routes.txt by the same command as cli.md. -->\n";

/// Compares `path` with the expected text, or writes it if `UPDATE_EXPECT` is set.
fn check(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, expected).expect("the page is written");
    }
    assert!(
        read(path) == expected,
        "{} is out of date: run `UPDATE_EXPECT=1 cargo test -p panopticon documentation`",
        path.display()
    );
}

fn help(command: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut help = panopticon(folder.path(), command);
    // Without a terminal, clap wraps lines at 100 columns.
    let ended = run(help.arg("--help").stdin(Stdio::null()));
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.stdout
}

#[test]
fn command_line_page_agrees_with_help() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = run(&mut panopticon(folder.path(), &["generate", "reference"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    for command in [&[][..], &["migrate"], &["index", "apply"], &["config"]] {
        let help = help(command);
        let text = help.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        let name = ["panopticon"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
        let section = format!("# {name}\n\n```text\n{}\n```\n", text.trim_end());
        assert!(ended.stdout.contains(&section), "{section}");
    }
    check(&repository().join("docs/reference/cli.md"), &ended.stdout);
}

#[test]
fn routes_page_lists_the_routes_of_the_services() {
    let root = repository();
    let path = root.join("docs/reference/http.md");
    let page = read(&path);
    let (prose, _) = page.split_once(ROUTES_START).expect("docs/reference/http.md has the generated table");
    let mut expected = format!("{prose}{ROUTES_START}\n| method | path | |\n|---|---|---|\n");
    for line in read(&root.join("crates/server/tests/routes.txt")).lines() {
        let (method, rest) = line.split_once(char::is_whitespace).expect("a line has a method");
        let (path, summary) = rest.trim().split_once("  ").unwrap_or((rest.trim(), ""));
        writeln!(expected, "| `{method}` | `{path}` | {} |", summary.trim()).expect("a String takes it");
    }
    check(&path, &expected);
}

#[test]
fn exit_codes_of_help_and_page_are_the_same() {
    let help = help(&[]);
    let (_, list) = help.split_once("Exit codes:\n").expect("help lists exit codes");
    // Continued lines are indented further.
    let code = |line: &str| line.strip_prefix("  ")?.split_whitespace().next()?.parse::<u8>().ok();
    let of_help: Vec<u8> = list.lines().filter(|line| !line.starts_with("   ")).filter_map(code).collect();
    let page = read(&repository().join("docs/reference/exit-codes.md"));
    let row = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse::<u8>().ok();
    let of_page: Vec<u8> = page.lines().filter_map(row).collect();
    assert!(of_help.len() >= 9, "{of_help:?}");
    assert_eq!(of_page, of_help);
}

#[test]
fn settings_page_and_help_have_each_setting_of_config_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = json(&run(&mut panopticon(folder.path(), &["config", "--json"])));
    let mut of_config: Vec<&str> = config
        .as_object()
        .expect("an object of settings")
        .keys()
        .map(String::as_str)
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    let page = read(&repository().join("docs/reference/settings.md"));
    // The first cells of the tables.
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let mut of_page: Vec<&str> = rows.map(|name| name.trim_end_matches('`')).collect();
    let help = help(&["config"]);
    let (_, list) = help.split_once("Variables").expect("help lists variables");
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let mut of_help: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    assert!(of_config.len() > 40, "{of_config:?}");
    for names in [&mut of_config, &mut of_page, &mut of_help] {
        names.sort_unstable();
    }
    assert_eq!(of_page, of_config);
    assert_eq!(of_help, of_config);
}
