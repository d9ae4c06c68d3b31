//! `panopticon judge parse`: text in, verdict out; `panopticon judge agreement`: judges next to people.

use std::{io::Write as _, process::Stdio};

use serde_json::{Value, json};
use test_support::TestDatabase;

use crate::{Run, json as object, panopticon, run_with};

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

#[tokio::test]
async fn judges_are_compared_with_the_stored_labels_of_people() {
    let database = TestDatabase::prepared().await;
    let url = database.url();
    let agreement = async |arguments: &[&str]| {
        run_with(&[&["judge", "agreement"], arguments].concat(), &[("DATABASE_URL", &url)]).await
    };
    let nothing = agreement(&[]).await;
    assert_eq!(
        (nothing.code, nothing.stdout.as_str()),
        (0, "labels: 0\nno judgement is of a labelled answer\n")
    );
    database
        .execute(
            "insert into evaluation_results (id, query_id, model_id, evaluation_prompt_id, score, judge_model)
            select 'r' || place, 'q' || place, 'm', 'helpful', score, 'judge'
            from unnest(array[7, 4, 9, null]) with ordinality as given (score, place);
            insert into labels (id, annotator, item, query_id, evaluation_prompt_id, model_a, score, labelled_at)
            select gen_random_uuid(), annotator, decode(md5(place::text), 'hex'), 'q' || place, metric, 'm', score, now()
            from (values
                ('ann', 1, 'helpful', 7), ('ann', 2, 'helpful', 5), ('ann', 4, 'helpful', 3), ('bob', 3, 'helpful', 9),
                ('bob', 8, 'helpful', 1), ('bob', 1, 'other', 1)
            ) as given (annotator, place, metric, score)",
        )
        .await;
    let all = agreement(&["--json"]).await;
    assert_eq!(all.code, 0, "{}", all.stderr);
    let all = object(&all);
    assert_eq!((&all["labels"], &all["older_left_out"]), (&json!(6), &json!(false)));
    let [scores] = &all["scores"].as_array().expect("a list")[..] else { panic!("one judge: {all}") };
    for (name, value) in [("agreed", 2), ("pairs", 3), ("not_judged", 1)] {
        assert_eq!(scores[name], value, "{name}: {scores}");
    }
    assert_eq!((&scores["counts"]["unparsed"], &scores["judge_model"]), (&json!(1), &json!("judge")));
    let lines = agreement(&["--annotator", "bob"]).await;
    let expected = "labels: 3\nscores of judge by helpful: 100.0 % agree (1 of 1), kappa -\n  left out: 0 unparsed, 0 refused, 0 failed, 0 unanswered, 1 not judged\n";
    assert_eq!(lines.stdout, expected);
    let none = object(&agreement(&["--json", "--judge", "other"]).await);
    assert_eq!(none["scores"], Value::from(Vec::<Value>::new()));
}
