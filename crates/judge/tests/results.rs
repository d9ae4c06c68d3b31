//! Evaluation of stored judgements.

use judge::{
    outcome::{Counts, Outcome},
    parse::Winner,
    results::{
        Gathering, JudgeVerdict, Judgement, Judgements, Method, Rating, ScoreLabel, WinnerLabel,
        compare_models, compare_selections, largest_regressions, score_confusion, scores_agree,
        summarize_pairs, summarize_scores, winner_confusion, winners_agree,
    },
    rubric::panel::Combination,
    statistics::Bootstrap,
};

use Outcome::{Failed, Refused, Scored, Unanswered, Unparsed};

fn method(combination: Combination) -> Method {
    Method { combination, bootstrap: Bootstrap { replicates: 500, ..Bootstrap::default() } }
}

fn scored<'r>(query: &'r str, model: &'r str, judge: &'r str, score: Outcome<f64>) -> Judgement<'r> {
    Judgement {
        query,
        model: Some(model),
        theme: Some("physics"),
        metric: Some("quality"),
        judge: Some(judge),
        run: None,
        repeat: None,
        verdict: JudgeVerdict::Score { score, is_out_of_range: score == Scored(11.0) },
    }
}

fn compared<'r>(
    query: &'r str,
    (model, opponent): (&'r str, &'r str),
    is_swapped: bool,
    winner: Outcome<Winner>,
) -> Judgement<'r> {
    let verdict = JudgeVerdict::Comparison { opponent: Some(opponent), is_swapped, winner };
    Judgement { verdict, ..scored(query, model, "judge", Failed) }
}

fn gathered<'r>(judgements: impl IntoIterator<Item = Judgement<'r>>) -> Judgements {
    let mut gathering = Gathering::default();
    judgements.into_iter().for_each(|judgement| gathering.add(&judgement));
    gathering.finish()
}

/// Two judges, one of them with repeats; every kind of outcome.
fn scores() -> Vec<Judgement<'static>> {
    vec![
        scored("q1", "m", "one", Scored(4.0)),
        scored("q1", "m", "one", Scored(4.0)),
        scored("q1", "m", "one", Scored(7.0)),
        scored("q1", "m", "two", Scored(9.0)),
        scored("q2", "m", "one", Refused),
        scored("q2", "m", "two", Failed),
        scored("q3", "m", "one", Scored(3.0)),
        scored("q3", "m", "two", Unparsed),
        scored("q4", "m", "one", Unanswered),
        scored("q1", "n", "one", Scored(11.0)),
        Judgement { theme: None, ..scored("q1", "m", "one", Scored(1.0)) },
    ]
}

#[test]
fn query_counts_once_regardless_of_its_judgements() {
    let summaries = summarize_scores(&gathered(scores()), &method(Combination::Mean));
    let groups: Vec<_> = summaries.iter().map(|one| (one.theme.as_deref(), one.model.as_deref())).collect();
    assert_eq!(groups, [(None, Some("m")), (Some("physics"), Some("m")), (Some("physics"), Some("n"))]);
    let m = &summaries[1];
    // For q1, the first judge's mean is 5 and the second's is 9; q3 has 3.
    assert_eq!((m.summary.queries, m.summary.mean, m.summary.standard_error), (2, Some(5.0), Some(2.0)));
    let interval = m.summary.interval.expect("two queries have one");
    assert_eq!((interval.low, interval.high), (3.0, 7.0));
    let counts = Counts { scored: 5, unparsed: 1, refused: 1, failed: 1, unanswered: 1 };
    assert_eq!((m.summary.counts, m.queries_without_score, m.out_of_range), (counts, 2, 0));
    assert_eq!((summaries[2].summary.mean, summaries[2].out_of_range), (Some(11.0), 1));
    // By majority, q1 is the mean of 4 and 9.
    let majority = summarize_scores(&gathered(scores()), &method(Combination::Majority));
    assert_eq!(majority[1].summary.mean, Some((6.5 + 3.0) / 2.0));
}

#[test]
fn results_do_not_depend_on_the_order_of_judgements() {
    let texts: Vec<String> = (0..50).map(|n| format!("q{n}")).collect();
    let all = || {
        let scores = texts.iter().enumerate().flat_map(|(n, query)| {
            [0.1, 0.7].map(|part| scored(query, "m", "one", Scored((n * 7 % 10) as f64 + part)))
        });
        scores.chain(texts.iter().enumerate().flat_map(|(n, query)| {
            let winner = [Winner::A, Winner::B, Winner::Tie][n % 3];
            [false, true].map(|is_swapped| compared(query, ("m", "n"), is_swapped, Scored(winner)))
        }))
    };
    let mut reversed: Vec<_> = all().collect();
    reversed.reverse();
    let (one, other) = (gathered(all()), gathered(reversed));
    let method = &method(Combination::Mean);
    assert_eq!(summarize_scores(&one, method), summarize_scores(&other, method));
    assert_eq!(summarize_pairs(&one, method), summarize_pairs(&other, method));
}

#[test]
fn pairs_are_counted_in_either_order_of_models() {
    use Winner::{A, B, Tie};
    let both = |query, models, in_order, swapped| {
        [compared(query, models, false, in_order), compared(query, models, true, swapped)]
    };
    let judgements = [
        // m wins both times.
        both("q1", ("m", "n"), Scored(A), Scored(A)),
        // n is stored as the model, and wins both times.
        both("q2", ("n", "m"), Scored(A), Scored(A)),
        // The first position wins: n in order, m swapped.
        both("q3", ("n", "m"), Scored(A), Scored(B)),
        both("q4", ("m", "n"), Scored(Tie), Scored(Tie)),
        both("q5", ("m", "n"), Scored(A), Scored(Tie)),
        both("q6", ("m", "n"), Scored(A), Refused),
        both("q7", ("m", "n"), Unanswered, Unanswered),
    ];
    let half = compared("q8", ("m", "n"), true, Scored(A));
    let judgements = gathered(judgements.into_iter().flatten().chain([half]));
    let summaries = summarize_pairs(&judgements, &method(Combination::Mean));
    assert_eq!(summaries.len(), 1);
    let pair = &summaries[0];
    assert_eq!((pair.first.as_deref(), pair.second.as_deref()), (Some("m"), Some("n")));
    assert_eq!((pair.wins, pair.losses, pair.ties, pair.incomplete), (1, 1, 3, 1));
    let position = pair.position;
    let seen = (position.consistent, position.prefers_first, position.prefers_second, position.half_ties);
    assert_eq!(seen, (3, 1, 0, 1));
    assert_eq!((pair.rate.queries, pair.rate.mean), (5, Some(0.5)));
    assert_eq!(pair.rate.counts, Counts { scored: 5, unparsed: 0, refused: 1, failed: 0, unanswered: 1 });
}

#[test]
fn repeats_of_a_comparison_are_distinct() {
    let repeats = [("0", Winner::A), ("1", Winner::A), ("2", Winner::B)];
    let judgements = || {
        gathered(repeats.into_iter().flat_map(|(repeat, winner)| {
            [false, true].map(|is_swapped| Judgement {
                repeat: Some(repeat),
                ..compared("q", ("m", "n"), is_swapped, Scored(winner))
            })
        }))
    };
    let rate = |combination| {
        let pair = &summarize_pairs(&judgements(), &method(combination))[0];
        assert_eq!((pair.wins, pair.losses, pair.ties, pair.position.consistent), (2, 1, 0, 3));
        pair.rate.mean.expect("there are comparisons")
    };
    assert!((rate(Combination::Mean) - 2.0 / 3.0).abs() < 1e-12);
    assert_eq!(rate(Combination::Majority), 1.0);
}

#[test]
fn regressions_are_the_queries_on_which_both_have_scores_and_the_first_is_lower() {
    let first = [("q1", 9.0), ("q2", 5.0), ("q3", 1.0), ("q4", 6.0), ("q5", 1.0)];
    let second = [("q1", 5.0), ("q2", 6.0), ("q3", 6.0), ("q4", 6.0), ("q6", 9.0)];
    let of = |model: &'static str, scores: &[(&'static str, f64)]| -> Vec<Judgement<'static>> {
        scores.iter().map(|(query, score)| scored(query, model, "one", Scored(*score))).collect()
    };
    let mut all = of("m", &first);
    all.extend(of("n", &second));
    all.extend([scored("q5", "n", "one", Refused), scored("q2", "m", "two", Scored(3.0))]);
    let judgements = gathered(all);
    let method = &method(Combination::Mean);
    let worse = |most| -> Vec<(String, f64, f64)> {
        let worse = largest_regressions(&judgements, ("m", "n"), method, most);
        worse.into_iter().map(|one| (one.query, one.first, one.second)).collect()
    };
    let [largest, next] = [("q3".to_owned(), 1.0, 6.0), ("q2".to_owned(), 4.0, 6.0)];
    assert_eq!(worse(9), [largest.clone(), next]);
    assert_eq!(worse(1), [largest]);
    assert!(largest_regressions(&judgements, ("m", "x"), method, 9).is_empty());
}

#[test]
fn models_and_runs_are_compared_on_the_queries_that_they_share() {
    let first = [("q1", 9.0), ("q2", 7.0), ("q3", 8.0), ("q9", 1.0)];
    let second = [("q1", 5.0), ("q2", 6.0), ("q3", 6.0), ("q4", 1.0), ("q5", 1.0)];
    let of = |model: &'static str, scores: &[(&'static str, f64)]| -> Vec<Judgement<'static>> {
        scores.iter().map(|(query, score)| scored(query, model, "one", Scored(*score))).collect()
    };
    let mut both = of("m", &first);
    both.extend(of("n", &second));
    both.push(scored("q6", "m", "one", Refused));
    let method = &method(Combination::Mean);
    let compared = compare_models(&gathered(both), "m", "n", method);
    assert_eq!(compared.len(), 1);
    let one = &compared[0];
    assert_eq!((one.metric.as_deref(), one.first.as_deref()), (Some("quality"), Some("m")));
    let comparison = one.comparison;
    assert_eq!((comparison.queries, comparison.only_first, comparison.only_second), (3, 1, 2));
    assert_eq!((comparison.first_better, comparison.second_better), (3, 0));
    assert_eq!((comparison.first.scored, comparison.first.refused, comparison.second.scored), (4, 1, 5));
    // Differences 4, 1 and 2: t is the root of 7, and with two degrees of freedom p is 1 - t / (t² + 2)^½.
    assert!((comparison.difference.expect("they share queries") - 7.0 / 3.0).abs() < 1e-12);
    assert!((comparison.p_value.expect("they differ") - 0.118_082_896_311_803_14).abs() < 1e-9);
    assert!(one.queries_needed.is_some_and(|needed| needed >= 2));
    assert!(compare_models(&gathered(of("m", &first)), "x", "y", method).is_empty());

    let runs = compare_selections(&gathered(of("m", &first)), &gathered(of("m", &second)), method);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].comparison.difference, comparison.difference);
    assert_eq!(runs[0].comparison.p_value, comparison.p_value);
    let apart = compare_selections(&gathered(of("m", &first)), &gathered(of("n", &second)), method);
    let seen: Vec<_> = apart.iter().map(|one| (one.first.as_deref(), one.comparison.queries)).collect();
    assert_eq!(seen, [(Some("m"), 0), (Some("n"), 0)]);
}

#[test]
fn labels_are_compared_with_each_judge_separately() {
    let label = |query: &str, model: &str, score| ScoreLabel {
        query: query.into(),
        metric: None,
        model: model.into(),
        score,
    };
    let labels = [
        label("q1", "m", 4.0),
        label("q1", "m", 5.0),
        label("q3", "m", 3.0),
        label("q2", "m", 1.0),
        label("q9", "m", 1.0),
    ];
    let mut judgements = scores();
    judgements.retain(|judgement| judgement.theme.is_some());
    let agree = scores_agree(&gathered(judgements), &labels, Combination::Majority);
    assert_eq!(agree.len(), 2);
    let one = &agree[0];
    assert_eq!((one.judge.as_deref(), one.not_judged), (Some("one"), 1));
    assert_eq!((one.agreement.agreed, one.agreement.pairs), (2, 3));
    assert_eq!((one.agreement.counts.scored, one.agreement.counts.refused), (3, 1));
    assert_eq!((agree[1].agreement.pairs, agree[1].agreement.counts.unparsed), (2, 1));

    let winner = |query: &str, first: &str, second: &str, winner| WinnerLabel {
        query: query.into(),
        metric: None,
        first: first.into(),
        second: second.into(),
        winner,
    };
    let both =
        |query, models, won| [false, true].map(|is_swapped| compared(query, models, is_swapped, Scored(won)));
    let mut judgements: Vec<_> = both("q1", ("m", "n"), Winner::A).into();
    judgements.extend(both("q2", ("n", "m"), Winner::A));
    judgements.push(compared("q3", ("m", "n"), false, Scored(Winner::A)));
    let labels = [
        winner("q1", "m", "n", Winner::A),
        winner("q1", "n", "m", Winner::B),
        winner("q2", "m", "n", Winner::B),
        winner("q2", "m", "n", Winner::A),
        winner("q2", "m", "n", Winner::Tie),
        winner("q3", "m", "n", Winner::A),
        winner("q4", "m", "n", Winner::A),
    ];
    let agree = winners_agree(&gathered(judgements), &labels);
    assert_eq!(agree.len(), 1);
    let agreement = agree[0].agreement;
    assert_eq!((agreement.with_ties.agreed, agreement.with_ties.pairs), (3, 5));
    assert_eq!((agreement.without_ties.agreed, agreement.without_ties.pairs, agreement.ties), (3, 4, 1));
    assert_eq!((agree[0].position.consistent, agree[0].not_judged), (2, 2));
}

#[test]
fn labels_by_a_metric_are_compared_with_judgements_by_it_only() {
    let by = |metric: Option<&str>, query: &str, score| ScoreLabel {
        query: query.into(),
        metric: metric.map(str::to_owned),
        model: "m".into(),
        score,
    };
    let judgements = || {
        let one = scored("q1", "m", "one", Scored(4.4));
        let other = scored("q2", "m", "one", Scored(2.0));
        gathered([one, other, Judgement { metric: Some("other"), ..one }])
    };
    let metrics = |labels: &[ScoreLabel]| -> Vec<(Option<String>, u64, u64)> {
        let agree = scores_agree(&judgements(), labels, Combination::Mean);
        agree.into_iter().map(|one| (one.metric, one.agreement.pairs, one.not_judged)).collect()
    };
    let own = scored("q1", "m", "one", Scored(4.4)).metric.map(str::to_owned);
    let other = Some("other".to_owned());
    let both = [(own.clone(), 1, 0), (other.clone(), 1, 0)];
    let mut found = metrics(&[by(None, "q1", 4.0)]);
    found.sort_by_key(|(metric, ..)| *metric != own);
    assert_eq!(found, both);
    assert_eq!(metrics(&[by(Some("other"), "q1", 4.0), by(Some("other"), "q2", 4.0)]), [(other, 1, 1)]);
    assert_eq!(metrics(&[by(Some("third"), "q1", 4.0)]), []);

    let labels =
        [by(own.as_deref(), "q1", 4.0), by(own.as_deref(), "q1", 9.0), by(own.as_deref(), "q2", 2.0)];
    let [confusion] = &score_confusion(&judgements(), &labels, Combination::Mean)[..] else {
        panic!("one judge")
    };
    let cells: Vec<(String, String, u64)> = confusion
        .cells
        .iter()
        .map(|cell| (cell.people.to_string(), cell.judge.to_string(), cell.labels))
        .collect();
    let cell = |people: &str, judge: &str, labels| (people.to_owned(), judge.to_owned(), labels);
    assert_eq!(cells, [cell("2", "2", 1), cell("4", "4", 1), cell("9", "4", 1)]);
    let pair = [false, true].map(|is_swapped| compared("q1", ("m", "n"), is_swapped, Scored(Winner::A)));
    let label = |first: &str, second: &str| WinnerLabel {
        query: "q1".into(),
        metric: None,
        first: first.into(),
        second: second.into(),
        winner: Winner::A,
    };
    let [confusion] = &winner_confusion(&gathered(pair), &[label("m", "n"), label("n", "m")])[..] else {
        panic!("one judge")
    };
    let cells: Vec<(Rating, Rating)> = confusion.cells.iter().map(|cell| (cell.people, cell.judge)).collect();
    assert_eq!(cells, [(Rating::A, Rating::A), (Rating::A, Rating::B)], "in the order of the label");
}

/// `double precision` can store NaN and infinities.
#[test]
fn non_finite_scores_count_as_unparsed() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -f64::NAN];
    let judgements = (0..200).map(|place| {
        let score = if place % 2 == 0 { odd[place / 2 % 4] } else { (place % 7) as f64 };
        scored("q1", "m", "one", Scored(score))
    });
    let judgements = gathered(judgements.chain([scored("q2", "m", "one", Scored(3.0))]));
    let summaries = summarize_scores(&judgements, &method(Combination::Mean));
    assert_eq!(summaries[0].summary.counts, Counts { scored: 101, unparsed: 100, ..Counts::default() });
    assert!(summaries[0].summary.mean.is_some_and(f64::is_finite));
}
