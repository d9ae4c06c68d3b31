//! Agreement with the authors' own parsing of public judge texts. Requires `../shared`.

use judge::parse::{Reading, Scale, Winner, read_score, read_winner};
use serde_json::Value;

use test_support::shared_lines as lines;

/// Cases of `kind`; none without the shared data.
fn cases(kind: &str) -> Vec<Value> {
    let mut cases = lines("judge_text_cases.jsonl.gz");
    cases.retain(|case| case["kind"] == kind);
    cases
}

/// Prints every disagreement; requires that wrong ones are at most `most_wrong`, and that 99.5 % agree.
struct Tally {
    agreed: usize,
    unread: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn new() -> Self {
        Self { agreed: 0, unread: 0, wrong: Vec::new() }
    }

    fn add<T: PartialEq + std::fmt::Debug>(&mut self, case: &Value, read: Option<T>, expected: T) {
        let text = case["judge_text"].as_str().expect("a text");
        let end: String = text.chars().rev().take(90).collect::<Vec<_>>().into_iter().rev().collect();
        match read {
            Some(read) if read == expected => self.agreed += 1,
            None => {
                self.unread += 1;
                println!("unread, expected {expected:?}: {end:?}");
            }
            Some(read) => self.wrong.push(format!("{read:?}, expected {expected:?}: {end:?}")),
        }
    }

    fn require(&self, most_wrong: usize) {
        let all = self.agreed + self.unread + self.wrong.len();
        println!("{} of {all} agree, {} unread", self.agreed, self.unread);
        for wrong in &self.wrong {
            println!("{wrong}");
        }
        assert!(self.wrong.len() <= most_wrong, "{:#?}", self.wrong);
        assert!(self.agreed * 1_000 >= all * 995, "{} of {all} agree", self.agreed);
    }
}

fn scale(case: &Value) -> Scale {
    let bound = |key: &str| case[key].as_f64().expect("the case has a scale");
    Scale { min: bound("lo"), max: bound("hi") }
}

#[test]
fn scores_agree_with_upstream() {
    let mut tally = Tally::new();
    for case in cases("score") {
        let metric = case["metric"].as_str().expect("a metric");
        let read = read_score(case["judge_text"].as_str().expect("a text"), Some(scale(&case)));
        match metric {
            "prometheus_rubric" => assert!(matches!(read, Reading::Unread(_)), "{read:?} of {case}"),
            "vicuna_pair_score" => {
                let Reading::Pair(first, second) = read else { panic!("{read:?} of {case}") };
                let expected = case["expected"].as_f64().expect("a score");
                assert!(expected == first || expected == second, "{read:?} of {case}");
            }
            _ => {
                let read = if let Reading::Score(score) = read { Some(score) } else { None };
                tally.add(&case, read, case["expected"].as_f64().expect("a score"));
            }
        }
    }
    tally.require(0);
}

#[test]
fn winners_agree_with_upstream() {
    let mut tally = Tally::new();
    for case in cases("winner") {
        if !case["metric"].as_str().expect("a metric").starts_with("llmbar") {
            continue;
        }
        let read = read_winner(case["judge_text"].as_str().expect("a text")).ok();
        let swapped = case["swapped"].as_bool().expect("a flag");
        let read = read.map(|winner| if swapped { winner.swapped() } else { winner });
        let expected = match case["expected"].as_str() {
            Some("a") => Winner::A,
            Some("b") => Winner::B,
            other => panic!("expected a or b, found {other:?}"),
        };
        tally.add(&case, read, expected);
    }
    tally.require(8);
}

/// Texts that upstream could not parse may be parsed here, but only in forms that label the score.
#[test]
fn texts_that_upstream_left_unread_are_read_only_with_a_label() {
    for case in cases("score_unparseable_upstream") {
        if let Reading::Score(score) =
            read_score(case["judge_text"].as_str().expect("a text"), Some(scale(&case)))
        {
            let text = case["judge_text"].as_str().expect("a text").to_lowercase();
            assert!(
                text.contains("rating") || text.contains("점수") || text.contains("score"),
                "{score} of {text}"
            );
        }
    }
}
