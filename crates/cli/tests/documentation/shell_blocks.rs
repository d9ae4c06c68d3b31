//! The shell blocks of "Get started" and "Move from Chroma" work as shown.
//!
//! A block with the info string `sh` is run; `sh,no-test` marks one that a test cannot run, such as an installation. The
//! blocks of a page share one shell, in a folder with `sample`; a failing command ends the page. A `text` block shows
//! lines of the output of the `sh` block before it: each of them, except those with `…`, must be printed.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use test_support::TestDatabase;

use super::{read, repository};
use crate::{demo::fresh_data_dir, panopticon};

/// A block that is run, and the lines that it must print.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    commands: String,
    printed: Vec<String>,
}

/// The blocks to run, and the number of those that are not run.
fn blocks(page: &str) -> (Vec<Block>, usize) {
    let (mut blocks, mut untested) = (Vec::new(), 0);
    let mut info = None;
    // Whether a `text` block would show the output of the last block.
    let mut was_run = false;
    for event in Parser::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(string))) => {
                info = Some((string, String::new()))
            }
            Event::Text(text) => {
                if let Some((_, block)) = &mut info {
                    block.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let Some((info, text)) = info.take() else { continue };
                match (&*info, was_run) {
                    ("sh", _) => blocks.push(Block { commands: text, printed: Vec::new() }),
                    ("sh,no-test", _) => untested += 1,
                    ("text", true) => {
                        let shown = text.lines().filter(|line| !line.contains('…') && !line.is_empty());
                        let block: &mut Block = blocks.last_mut().expect("a block was run");
                        block.printed.extend(shown.map(str::to_owned));
                    }
                    _ => {}
                }
                was_run = &*info == "sh";
            }
            _ => {}
        }
    }
    (blocks, untested)
}

/// A line without seconds, which differ between runs.
fn constant(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_seconds = |at: usize| words[at].parse::<f64>().is_ok() && words.get(at + 1) == Some(&"s");
    let kept: Vec<&str> = (0..words.len()).map(|at| if is_seconds(at) { "#" } else { words[at] }).collect();
    kept.join(" ")
}

/// Runs the blocks of `page` in one shell, with `environment` in addition to that of every test.
fn run_page(page: &str, environment: &[(&str, &str)]) {
    let (blocks, untested) = blocks(&read(&repository().join("docs").join(page)));
    assert!(blocks.len() >= 4, "{page} has blocks to run: {}", blocks.len());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("a folder is made");
    symlink(env!("CARGO_BIN_EXE_panopticon"), bin.join("panopticon")).expect("a link is made");
    // The sample is never written to, which a test of the reader proves.
    symlink(repository().join("sample"), folder.path().join("sample")).expect("a link is made");

    let mut script = "set -eu\n".to_owned();
    for (number, block) in blocks.iter().enumerate() {
        script += &format!("exec > output-{number}\n{}\n", block.commands);
    }
    // The environment of `panopticon` in all tests.
    let of_tests = panopticon(folder.path(), &[]);
    let mut shell = Command::new("bash");
    shell.current_dir(folder.path()).env_clear().args(["-c", &script]);
    shell.envs(of_tests.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let path = std::env::var("PATH").expect("PATH is text");
    shell.env("PATH", format!("{}:{path}", bin.display())).envs(environment.iter().copied());
    let messages = folder.path().join("messages");
    shell.stderr(File::create(&messages).expect("a file is made"));
    let status = shell.status().expect("bash runs");
    let output = |number: usize| fs::read_to_string(folder.path().join(format!("output-{number}")));
    let last = (0..blocks.len()).take_while(|number| output(*number).is_ok()).last();
    let last = last.map(|number| &blocks[number].commands);
    assert!(status.success(), "{page}: {last:?} ended with {status}: {}", read(&messages));

    for (number, block) in blocks.iter().enumerate() {
        let output = output(number).expect("every block has run");
        let printed: Vec<String> = output.lines().map(constant).collect();
        for line in &block.printed {
            assert!(
                printed.contains(&constant(line)),
                "{page} shows a line that is not printed: {line}\n{output}"
            );
        }
    }
    println!("{page}: {} blocks were run, {untested} are marked `no-test`", blocks.len());
}

#[test]
fn get_started_works_as_printed() {
    let data_dir = fresh_data_dir();
    run_page("get-started.md", &[("PANOPTICON_DATA_DIR", text(data_dir.path()))]);
}

#[tokio::test]
async fn move_from_chroma_works_as_printed() {
    let database = TestDatabase::create().await;
    let url = database.url();
    let page = move || run_page("move-from-chroma.md", &[("DATABASE_URL", &url)]);
    tokio::task::spawn_blocking(page).await.expect("the page runs");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the names of temporary folders are Unicode")
}

#[test]
fn blocks_are_distinguished_by_their_info_string() {
    let page =
        "```sh\necho a\n```\n```text\na\n…\n```\n```sh,no-test\nb\n```\n```text\nb\n```\n```sh\nc\n```\n";
    let block = |commands: &str, printed: &[&str]| Block {
        commands: commands.to_owned(),
        printed: printed.iter().copied().map(str::to_owned).collect(),
    };
    assert_eq!(blocks(page), (vec![block("echo a\n", &["a"]), block("c\n", &[])], 1));
    assert_eq!(constant("verified, 0.1 s on 18.6"), "verified, # s on 18.6");
}

#[test]
fn get_started_shows_the_output_in_the_readme() {
    let shown: Vec<String> = read(&repository().join("docs/get-started.md")).lines().map(constant).collect();
    let (blocks, _) = blocks(&read(&repository().join("README.md")));
    let printed: Vec<&String> = blocks.iter().flat_map(|block| &block.printed).collect();
    assert!(printed.len() >= 6, "the README shows output: {printed:?}");
    for line in printed {
        assert!(
            shown.contains(&constant(line)),
            "get-started.md, whose output is tested, does not show: {line}"
        );
    }
}
