//! `panopticon judge parse`: text in, verdict out.

use std::{io::Write as _, process::Stdio};

use crate::{Run, panopticon};

fn parse(arguments: &[&str], text: &str) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), &[&["judge", "parse"], arguments].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the binary ends");
    Run {
        code: output.status.code().expect("it exits by itself"),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
    }
}

#[test]
fn one_text_gives_one_answer() {
    let scored = parse(&["--min", "1", "--max", "10"], "Clear.\n\nRating: [[8]]");
    assert_eq!((scored.code, scored.stdout.as_str()), (0, "{\"score\":8.0,\"status\":\"scored\"}\n"));
    let beyond = parse(&["--min", "1", "--max", "10"], "Rating: 12");
    assert_eq!(beyond.stdout, "{\"out_of_range\":true,\"score\":12.0,\"status\":\"scored\"}\n");
    let unread = parse(&[], "A good answer.");
    assert!(unread.stdout.starts_with("{\"reason\":\"") && unread.stdout.contains("\"status\":\"unparsed\""));
}

#[test]
fn digits_of_other_scripts_are_scores() {
    for text in ["٨", "Score: ८", "[[৮]]", "۸/۱۰", "๘", "𝟖", "{\"score\": \"٨\"}"] {
        let run = parse(&["--min", "1", "--max", "10"], text);
        assert_eq!((run.code, run.stdout.as_str()), (0, "{\"score\":8.0,\"status\":\"scored\"}\n"), "{text}");
    }
    let run = parse(&["--min", "nan", "--max", "10"], "8");
    assert_eq!(run.code, 2, "{}", run.stdout);
}

#[test]
fn each_line_gives_one_answer_and_an_invalid_one_does_not_stop_the_others() {
    let texts = "{\"text\": \"Output (b) is better.\"}\n{\"text\": \"Both are good.\"}\n{\"no\": 1}\nno\n\n\u{feff}{\"text\": \"[[A]] \\ud83d\"}";
    let run = parse(&["--kind", "winner", "--jsonl"], texts);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!((run.code, lines.len()), (2, 6), "{}", run.stdout);
    assert_eq!(lines[0], "{\"status\":\"scored\",\"winner\":\"b\"}");
    assert!(lines[2].contains("line 3") && lines[2].contains("invalid"), "{}", lines[2]);
    assert_eq!(lines[5], "{\"status\":\"scored\",\"winner\":\"a\"}");
    assert!(run.stderr.contains("3 of 6 lines") && run.stderr.contains("first is line 3"), "{}", run.stderr);
}
