//! Verdicts as judges write them, and texts that only look like verdicts: `verdicts.jsonl`, one text per line, with the
//! expected value on a scale from 1 to 10, or on its own scale; null is none.

use judge::parse::{Reading, Scale, read_score, read_winner};
use serde_json::{Value, json};

use test_support::shared_lines;

const TEN: Scale = Scale { min: 1.0, max: 10.0 };

fn read(kind: &str, scale: Scale, text: &str) -> Value {
    if kind == "winner" {
        return read_winner(text).map_or(Value::Null, |winner| winner.as_str().into());
    }
    match read_score(text, Some(scale)) {
        Reading::Score(score) => json!(score),
        Reading::Pair(first, second) => json!([first, second]),
        Reading::Unread(_) => Value::Null,
    }
}

fn check(cases: &[Value]) {
    let mut wrong = Vec::new();
    for case in cases {
        let kind = case["kind"].as_str().unwrap_or("score");
        let expected =
            case["expected"].as_f64().map_or_else(|| case["expected"].clone(), |score| json!(score));
        let bound = |at: usize| case["scale"][at].as_f64();
        let scale = bound(0).zip(bound(1)).map_or(TEN, |(min, max)| Scale { min, max });
        let read = read(kind, scale, case["text"].as_str().expect("a text"));
        if read != expected {
            wrong.push(format!("{read}, expected {expected}: {}", case["text"]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_verdicts_are_read() {
    let lines = include_str!("verdicts.jsonl").lines();
    let cases: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    check(&cases);
}

#[test]
fn obvious_verdicts_are_read() {
    check(&shared_lines("../cases/judge-plain-verdicts-unread/answers.jsonl"));
}
