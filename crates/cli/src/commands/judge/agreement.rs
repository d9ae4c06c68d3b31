//! `panopticon judge agreement`: judges next to the stored labels of people.

use std::collections::HashSet;

use judge::{
    outcome::Counts,
    results::{
        Gathering, ScoresAgree, WinnersAgree, query_keys, scores_agree, stored_judgement, stored_labels,
        winners_agree,
    },
    rubric::panel::Combination,
    statistics::Agreement,
};
use serde_json::{Value, json};
use store::postgres::{Database, LabelSelection, ResultSelection, StoredJudgement};

use crate::{
    arguments::AgreementArguments,
    configuration::Configuration,
    connection::Connection,
    exit::{ExitCode, Failure},
    output::{excerpt, print, print_json},
};

/// Labels that are compared at most, the newest ones.
const MOST_LABELS: u32 = 100_000;
/// Most characters of a name in a line.
const NAME_WIDTH: usize = 60;

/// The comparison.
struct Compared {
    labels: usize,
    older_left_out: bool,
    scores: Vec<ScoresAgree>,
    winners: Vec<WinnersAgree>,
}

pub(super) async fn run(
    configuration: &Configuration,
    arguments: AgreementArguments,
) -> Result<ExitCode, Failure> {
    let connection = Connection::open(configuration).await?;
    let is_json = arguments.json;
    let compared = compare(&connection.database, arguments).await;
    connection.close().await?;
    let compared = compared?;
    if is_json {
        print_json(&compared.to_json())?
    } else {
        print(&compared.to_text())?
    }
    Ok(ExitCode::Complete)
}

async fn compare(database: &Database, arguments: AgreementArguments) -> Result<Compared, Failure> {
    let AgreementArguments { annotator, metric, judge, json: _ } = arguments;
    database.prepare_schema().await?;
    let selection = LabelSelection { annotator, ..LabelSelection::default() };
    let (stored, is_whole) = database.labels(&selection, MOST_LABELS).await?;
    let (scores, winners) = stored_labels(stored);
    let queries = scores.iter().map(|label| &label.query);
    let wanted: HashSet<&String> = queries.chain(winners.iter().map(|label| &label.query)).collect();
    let selection =
        ResultSelection { evaluation_prompt_id: metric, judge_model: judge, ..ResultSelection::default() };
    let add = |gathering: &mut Gathering, stored: StoredJudgement<'_>| {
        for key in query_keys(&stored).into_iter().flatten().map(|key| key.to_string()) {
            if wanted.contains(&key) {
                gathering.add(&stored_judgement(&stored, &key));
            }
        }
    };
    let gathering = database.gather_judgements(&selection, add).await?;
    let judgements = gathering.finish();
    Ok(Compared {
        labels: scores.len() + winners.len(),
        older_left_out: !is_whole,
        scores: scores_agree(&judgements, &scores, Combination::Majority),
        winners: winners_agree(&judgements, &winners),
    })
}

impl Compared {
    /// The same as the API's `data`, without position bias.
    fn to_json(&self) -> Value {
        let scores = self.scores.iter().map(|one| {
            let Agreement { agreed, pairs, kappa, counts } = one.agreement;
            json!({
                "evaluation_prompt_id": one.metric, "judge_model": one.judge, "agreed": agreed, "pairs": pairs,
                "accuracy": one.agreement.rate(), "kappa": kappa, "counts": counts, "not_judged": one.not_judged,
            })
        });
        let winners = self.winners.iter().map(|one| {
            let rate = |of: Agreement| {
                json!({"agreed": of.agreed, "pairs": of.pairs, "accuracy": of.rate(), "kappa": of.kappa})
            };
            json!({
                "evaluation_prompt_id": one.metric, "judge_model": one.judge,
                "three_way": rate(one.agreement.with_ties), "without_ties": rate(one.agreement.without_ties),
                "ties": one.agreement.ties, "counts": one.agreement.with_ties.counts, "not_judged": one.not_judged,
            })
        });
        json!({
            "labels": self.labels, "older_left_out": self.older_left_out,
            "scores": scores.collect::<Vec<_>>(), "winners": winners.collect::<Vec<_>>(),
        })
    }

    fn to_text(&self) -> String {
        let mut lines = vec![format!("labels: {}", self.labels)];
        if self.older_left_out {
            lines.push(format!("older labels than the newest {MOST_LABELS} are left out"));
        }
        let of = |judge: &Option<String>, metric: &Option<String>| {
            let name = |name: &Option<String>| excerpt(name.as_deref().unwrap_or("unknown"), NAME_WIDTH);
            format!("{} by {}", name(judge), name(metric))
        };
        for one in &self.scores {
            lines.push(format!("scores of {}: {}", of(&one.judge, &one.metric), rate(one.agreement)));
            lines.push(left_out(one.agreement.counts, one.not_judged));
        }
        for one in &self.winners {
            let (three_way, without_ties) = (one.agreement.with_ties, one.agreement.without_ties);
            lines.push(format!("winners of {}: {}", of(&one.judge, &one.metric), rate(three_way)));
            lines.push(format!("  without ties: {}", rate(without_ties)));
            lines.push(left_out(three_way.counts, one.not_judged));
        }
        if self.scores.is_empty() && self.winners.is_empty() {
            lines.push("no judgement is of a labelled answer".to_owned());
        }
        lines.join("\n")
    }
}

fn rate(agreement: Agreement) -> String {
    let share = agreement.rate().map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
    let kappa = agreement.kappa.map_or_else(|| "-".to_owned(), |kappa| format!("{kappa:.3}"));
    format!("{share} agree ({} of {}), kappa {kappa}", agreement.agreed, agreement.pairs)
}

fn left_out(counts: Counts, not_judged: u64) -> String {
    let Counts { scored: _, unparsed, refused, failed, unanswered } = counts;
    format!(
        "  left out: {unparsed} unparsed, {refused} refused, {failed} failed, {unanswered} unanswered, {not_judged} not judged"
    )
}
