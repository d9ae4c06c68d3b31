//! Agreement of real judges with real people, and their position bias. Requires `../shared`.
//!
//! The expected numbers were computed independently, in Python, from the same files; for MT-Bench as in FastChat's
//! `compute_agreement.py`, where each vote of a person is a pair and an inconsistent verdict is a tie.

use judge::{
    outcome::Outcome,
    parse::{Winner, read_winner},
    rubric::{Unreadable, Verdict, pairwise::combine},
    statistics::{position, winner_agreement},
};
use serde_json::Value;

use test_support::shared_lines as lines;

fn winner(label: &str) -> Winner {
    match label {
        "a" => Winner::A,
        "b" => Winner::B,
        "tie" | "tie (inconsistent)" => Winner::Tie,
        other => panic!("no such label: {other}"),
    }
}

/// Labels of a judge and people on a set, without people's labels that have no verdict of the judge.
fn labels(source: &str, judge: &str) -> Vec<(Outcome<Winner>, Winner)> {
    let rows = lines("human_judgments.jsonl.gz").into_iter().filter(|row| row["source"] == source);
    rows.filter_map(|row| {
        let judge = row["llm_judges"][judge].as_str()?;
        Some((Outcome::Scored(winner(judge)), winner(row["human_label"].as_str().expect("a label"))))
    })
    .collect()
}

#[test]
fn gpt_4_agrees_with_people_as_mt_bench_counts_it() {
    let labels = labels("mt_bench", "gpt-4_pair");
    if labels.is_empty() {
        return;
    }
    let agreement = winner_agreement(labels);
    // 68.1 % and 89.0 %; the complete set gives 66.2 % and 85.6 %.
    assert_eq!((agreement.with_ties.agreed, agreement.with_ties.pairs), (1187, 1743));
    assert_eq!((agreement.without_ties.agreed, agreement.without_ties.pairs), (967, 1087));
    assert_eq!(agreement.ties, 656);
    let kappa = agreement.with_ties.kappa.expect("they differ");
    assert!((kappa - 0.5144885714629249).abs() < 1e-12, "{kappa}");
    let kappa = agreement.without_ties.kappa.expect("they differ");
    assert!((kappa - 0.7791682749933974).abs() < 1e-12, "{kappa}");
}

#[test]
fn smaller_judges_agree_less_on_pandalm() {
    for (judge, with_ties, without_ties) in
        [("gpt-3.5-turbo", (293, 416), (288, 359)), ("pandalm-7b", (281, 433), (265, 346))]
    {
        let labels = labels("pandalm", judge);
        if labels.is_empty() {
            return;
        }
        let agreement = winner_agreement(labels);
        assert_eq!((agreement.with_ties.agreed, agreement.with_ties.pairs), with_ties, "{judge}");
        assert_eq!((agreement.without_ties.agreed, agreement.without_ties.pairs), without_ties, "{judge}");
    }
}

/// The answers of six judges in both orders, parsed and combined, compared with the authors' verdicts.
#[test]
fn both_orders_give_the_verdicts_of_the_authors() {
    let mut rows = lines("pairwise.jsonl.gz");
    rows.retain(|row| row["metric"] == "mtbench_pairwise_AB_BA");
    if rows.is_empty() {
        return;
    }
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let read = |words: &Value| match read_winner(&text(words)) {
        Ok(winner) => Verdict::Given(winner),
        Err(unread) => Verdict::Unparsed(Unreadable::Text(unread)),
    };
    let (mut outcomes, mut differing) = (Vec::new(), Vec::new());
    for row in &rows {
        let combined =
            combine(read(&row["judge_text"]), read(&row["metadata"]["judge_text_swapped"])).outcome();
        if let Outcome::Scored(pair) = combined {
            let theirs = match text(&row["winner"]) {
                winner if winner == row["model_a"] => Winner::A,
                winner if winner == row["model_b"] => Winner::B,
                _ => Winner::Tie,
            };
            if pair.winner != theirs && row["winner"] != "error" {
                differing.push(format!("{:?}, theirs {}: {}", pair, row["winner"], row["metadata"]["extra"]));
            }
        }
        outcomes.push(combined.map(|pair| pair.consistency));
    }
    let bias = position(outcomes);
    println!("{bias:?}, {} differ: {:?}", differing.len(), &differing[..differing.len().min(5)]);
    assert_eq!(bias.counts.scored + bias.counts.left_out(), 4590);
    // As with their own winners of both orders; except for one consistent pair they could not parse, and one we cannot.
    let expected = (3022, 1140, 175, 244, 9);
    let ours =
        (bias.consistent, bias.prefers_first, bias.prefers_second, bias.half_ties, bias.counts.left_out());
    assert_eq!(ours, expected);
    assert!(differing.is_empty());
}
