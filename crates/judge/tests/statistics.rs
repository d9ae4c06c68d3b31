//! Statistics compared with independently computed values: by NumPy, SciPy and Inspect AI, by hand, or by definition.

use judge::{
    outcome::{Counts, Outcome},
    parse::Winner,
    rubric::pairwise::Consistency,
    statistics::{
        Bootstrap, Comparison, Interval, agreement, compare, position, summarize, win_rate, winner_agreement,
    },
};

use Outcome::{Failed, Refused, Scored, Unparsed};

const SCORES: [(&str, f64); 11] = [
    ("q1", 7.0),
    ("q1", 8.0),
    ("q1", 9.0),
    ("q2", 3.0),
    ("q2", 2.0),
    ("q3", 5.0),
    ("q4", 10.0),
    ("q4", 9.0),
    ("q4", 10.0),
    ("q4", 8.0),
    ("q5", 6.0),
];

fn scores() -> Vec<(&'static str, Outcome<f64>)> {
    SCORES.into_iter().map(|(query, score)| (query, Scored(score))).collect()
}

fn assert_near(value: Option<f64>, expected: f64, tolerance: f64) {
    let value = value.expect("there is a value");
    assert!((value - expected).abs() <= tolerance, "{value}, expected {expected} within {tolerance}");
}

#[test]
fn standard_errors_are_those_of_inspect_ai() {
    let summary = summarize(scores(), &Bootstrap::default());
    assert_eq!((summary.queries, summary.mean), (5, Some(7.0)));
    // `_clustered_stderr` of inspect-ai 0.3.285.
    assert_near(summary.standard_error, 1.348399724926484, 1e-12);
    // With one score per query: the ordinary one, numpy.std(ddof=1) / sqrt(n).
    let alone = SCORES.iter().enumerate().map(|(query, (_, score))| (query, Scored(*score)));
    assert_near(summarize(alone, &Bootstrap::default()).standard_error, 0.8201995322647244, 1e-12);
}

#[test]
fn interval_is_drawn_by_query_and_reproducible() {
    let bootstrap = Bootstrap::default();
    let interval = summarize(scores(), &bootstrap).interval.expect("an interval");
    // 400,000 replicates by NumPy: 3.714286 to 8.714286; the means of five clusters have few distinct values.
    assert!((interval.low - 3.714286).abs() < 0.1, "{interval:?}");
    assert!((interval.high - 8.714286).abs() < 0.1, "{interval:?}");
    let mut backwards = scores();
    backwards.reverse();
    assert_eq!(summarize(backwards, &bootstrap).interval, Some(interval), "in any order");
    let other = Bootstrap { seed: 1, replicates: 100, ..bootstrap };
    assert_ne!(summarize(scores(), &other).interval, Some(interval));
    let narrow = Bootstrap { level: 0.5, ..bootstrap };
    let Interval { low, high } = summarize(scores(), &narrow).interval.expect("an interval");
    assert!(interval.low < low && high < interval.high);
}

/// For 1,000 samples of a known distribution, about 950 of the 95 % intervals contain the true mean.
#[test]
fn interval_contains_the_true_mean_at_its_confidence_level() {
    let mut state = 42_u64;
    let mut uniform = || {
        // Knuth's MMIX generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let bootstrap = Bootstrap { replicates: 400, ..Bootstrap::default() };
    let hits = (0..1000).filter(|_| {
        // Three scores per query with a large common component.
        let sample: Vec<_> = (0..60)
            .flat_map(|query| {
                let shared = uniform();
                [(); 3].map(|()| (query, Scored(shared + 0.2 * uniform())))
            })
            .collect();
        let interval = summarize(sample, &bootstrap).interval.expect("an interval");
        (interval.low..=interval.high).contains(&0.6)
    });
    let hits = hits.count();
    assert!((920..=970).contains(&hits), "{hits} of 1000");
}

#[test]
fn missing_measurements_are_counted_and_change_nothing() {
    let mut mixed = scores();
    mixed.extend([("q1", Unparsed), ("q6", Refused), ("q7", Failed), ("q7", Failed)]);
    let (whole, with_gaps) =
        (summarize(scores(), &Bootstrap::default()), summarize(mixed, &Bootstrap::default()));
    assert_eq!(with_gaps.counts, Counts { scored: 11, unparsed: 1, refused: 1, failed: 2, unanswered: 0 });
    assert_eq!(with_gaps.counts.left_out(), 4);
    assert_eq!((with_gaps.mean, with_gaps.interval), (whole.mean, whole.interval));
    let nothing = summarize([("q", Unparsed)], &Bootstrap::default());
    assert_eq!((nothing.mean, nothing.standard_error, nothing.interval), (None, None, None));
    let one = summarize([("q", Scored(3.0)), ("q", Scored(5.0))], &Bootstrap::default());
    assert_eq!((one.mean, one.standard_error, one.interval), (Some(4.0), None, None));
}

#[test]
fn tie_is_half_a_win() {
    let winners = [Winner::A, Winner::A, Winner::B, Winner::Tie].into_iter().enumerate();
    let winners = winners.map(|(query, winner)| (query, Scored(winner))).chain([(9, Refused)]);
    let rate = win_rate(winners, &Bootstrap::default());
    assert_eq!((rate.wins, rate.losses, rate.ties, rate.rate.counts.refused), (2, 1, 1, 1));
    assert_eq!(rate.rate.mean, Some(0.625));
    // numpy.std([1, 1, 0, .5], ddof=1) / 2
    assert_near(rate.rate.standard_error, 0.23935677693908453, 1e-12);
}

const FIRST: [f64; 7] = [7.0, 3.0, 5.0, 9.5, 6.0, 8.0, 4.5];
const SECOND: [f64; 7] = [6.0, 3.5, 4.0, 8.0, 6.0, 6.5, 4.0];

fn by_query(scores: &[f64]) -> Vec<(usize, Outcome<f64>)> {
    scores.iter().map(|score| Scored(*score)).enumerate().collect()
}

fn comparison() -> Comparison {
    compare(by_query(&FIRST), by_query(&SECOND), &Bootstrap::default())
}

#[test]
fn paired_models_are_compared_as_scipy_does() {
    let comparison = comparison();
    assert_eq!((comparison.queries, comparison.first_better, comparison.second_better), (7, 5, 1));
    // scipy.stats.ttest_rel
    assert_near(comparison.difference, 0.7142857142857143, 1e-12);
    assert_near(comparison.standard_error, 0.2857142857142857, 1e-12);
    assert_near(comparison.p_value, 0.0465282322841673, 1e-9);
    let interval = comparison.interval.expect("an interval");
    assert!(interval.low > 0.0 && interval.high < 1.5, "{interval:?}");
    // (norm.ppf(.975) + norm.ppf(.8))² · var / effect²: 17.94 and 448.5.
    assert_eq!(comparison.queries_needed(0.5, 0.05, 0.8), Some(18));
    assert_eq!(comparison.queries_needed(-0.1, 0.05, 0.8), Some(449));
    assert_eq!(comparison.queries_needed(0.0, 0.05, 0.8), None, "nothing finds no difference");
}

#[test]
fn only_shared_queries_are_compared() {
    let mut first = by_query(&FIRST);
    first.extend([(100, Scored(1.0)), (101, Unparsed), (0, Refused)]);
    let mut second = by_query(&SECOND);
    second.extend([(101, Scored(1.0)), (102, Scored(1.0))]);
    let all = compare(first, second, &Bootstrap::default());
    assert_eq!((all.queries, all.only_first, all.only_second), (7, 1, 2));
    assert_eq!((all.difference, all.p_value), (comparison().difference, comparison().p_value));
    assert_eq!(all.first, Counts { scored: 8, unparsed: 1, refused: 1, failed: 0, unanswered: 0 });
    assert_eq!(all.second.scored, 9);
    // Repeats of a query count as one.
    let repeated = by_query(&FIRST).into_iter().chain([(0, Scored(7.0)), (0, Scored(7.0))]);
    let repeated = compare(repeated, by_query(&SECOND), &Bootstrap::default());
    assert_eq!(repeated.difference, comparison().difference);
}

#[test]
fn comparison_without_scores_has_no_values() {
    let nothing = compare(by_query(&FIRST), Vec::new(), &Bootstrap::default());
    assert_eq!((nothing.queries, nothing.difference, nothing.p_value), (0, None, None));
    let same = compare(by_query(&FIRST), by_query(&FIRST), &Bootstrap::default());
    assert_eq!((same.difference, same.standard_error, same.p_value), (Some(0.0), Some(0.0), None));
    assert_eq!(same.queries_needed(1.0, 0.05, 0.8), Some(2));
}

/// The example of Cohen's kappa in J. Sim and C. Wright 2005, as in many textbooks: 20, 5, 10 and 15 of 50.
#[test]
fn kappa_is_that_of_the_textbook() {
    let cells = [("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15)];
    let pairs = cells.into_iter().flat_map(|(judge, person, n)| vec![(Scored(judge), person); n]);
    let agreement = agreement(pairs.chain([(Refused, "yes"), (Unparsed, "no")]));
    assert_eq!((agreement.agreed, agreement.pairs), (35, 50));
    assert_eq!(agreement.rate(), Some(0.7));
    assert_near(agreement.kappa, 0.4, 1e-12);
    assert_eq!(agreement.counts.left_out(), 2);
}

#[test]
fn kappa_at_its_limits() {
    let kappa = |pairs: &[(i32, i32)]| agreement(pairs.iter().map(|(a, b)| (Scored(*a), *b))).kappa;
    assert_eq!(kappa(&[(1, 1), (2, 2)]), Some(1.0));
    assert_eq!(kappa(&[(1, 2), (2, 1)]), Some(-1.0));
    assert_eq!(kappa(&[(1, 2), (1, 2)]), Some(0.0), "each always says one thing, and never the same");
    assert_eq!(kappa(&[(1, 1), (1, 1)]), None, "chance leaves no room");
    let nothing = agreement::<i32>([]);
    assert_eq!((nothing.rate(), nothing.kappa), (None, None));
}

#[test]
fn pairs_with_a_tie_are_excluded_without_ties() {
    use Winner::{A, B, Tie};
    let pairs = [(A, A), (A, B), (A, Tie), (Tie, B), (Tie, Tie), (B, B)];
    let pairs = pairs.map(|(judge, person)| (Scored(judge), person));
    let agreement = winner_agreement(pairs.into_iter().chain([(Failed, A), (Failed, Tie)]));
    assert_eq!((agreement.with_ties.agreed, agreement.with_ties.pairs), (3, 6));
    assert_eq!((agreement.without_ties.agreed, agreement.without_ties.pairs), (2, 3));
    assert_eq!((agreement.ties, agreement.with_ties.counts.failed), (3, 2));
}

#[test]
fn position_bias_is_counted_by_direction() {
    use Consistency::{Consistent, HalfTie, PrefersFirst, PrefersSecond};
    let pairs = [Consistent, Consistent, PrefersFirst, HalfTie, PrefersSecond].map(Scored);
    let bias = position(pairs.into_iter().chain([Unparsed]));
    assert_eq!((bias.consistent, bias.prefers_first, bias.prefers_second, bias.half_ties), (2, 1, 1, 1));
    assert_eq!(bias.consistency(), Some(0.4));
    assert_eq!(bias.counts.unparsed, 1);
    assert_eq!(position([]).consistency(), None);
}

#[test]
fn scores_near_the_limits_of_f64_have_no_p_value() {
    let scores = |sign: f64| (0..5).map(move |query| (query, Scored(sign * f64::MAX / f64::from(query + 1))));
    let comparison = compare(scores(1.0), scores(-1.0), &Bootstrap::default());
    assert_eq!((comparison.queries, comparison.p_value), (5, None));
}
