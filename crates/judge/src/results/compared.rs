//! Comparison of two models, or two selections, on their shared queries.

use std::collections::BTreeMap;

use super::{Judgements, Method, gathering::Score, scores::by_query};
use crate::{
    outcome::{Counts, Outcome},
    statistics::{Comparison, compare},
};

/// Probability of finding a real difference.
const POWER: f64 = 0.8;
/// The p-value below which a difference is considered found.
const ALPHA: f64 = 0.05;

/// Two sets of scores by one metric, query by query.
#[derive(Clone, Debug, PartialEq)]
pub struct Compared {
    /// The metric.
    pub metric: Option<String>,
    /// The first model.
    pub first: Option<String>,
    /// The second model.
    pub second: Option<String>,
    /// The comparison; its counts are of judgements.
    pub comparison: Comparison,
    /// Number of queries that are required to find the observed difference with probability 0.8 and a p-value below
    /// 0.05. None without an observed difference.
    pub queries_needed: Option<u64>,
}

/// Scores of one model by one metric.
type Scores<'j> = (&'j Judgements, &'j [Score]);

/// Compares model `first` with model `second` by each metric for which one of them has scores, over all themes.
pub fn compare_models(judgements: &Judgements, first: &str, second: &str, method: &Method) -> Vec<Compared> {
    let sorted = &by_model(judgements);
    let of = |wanted| {
        let of_models = groups(judgements, sorted).filter(move |((_, model), _)| *model == Some(wanted));
        of_models.map(|((metric, _), scores)| (metric, scores))
    };
    let names = (Some(first.to_owned()), Some(second.to_owned()));
    paired(of(first), of(second))
        .into_iter()
        .map(|(metric, scores)| compared(metric, names.clone(), scores, method))
        .collect()
}

/// Compares `first` with `second`, such as two runs, by each model and metric for which one of them has scores, over
/// all themes.
pub fn compare_selections(first: &Judgements, second: &Judgements, method: &Method) -> Vec<Compared> {
    let (first_sorted, second_sorted) = (&by_model(first), &by_model(second));
    paired(groups(first, first_sorted), groups(second, second_sorted))
        .into_iter()
        .map(|((metric, model), scores)| {
            let model = model.map(str::to_owned);
            compared(metric, (model.clone(), model), scores, method)
        })
        .collect()
}

/// Scores of two models on a query.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryDifference {
    /// The metric.
    pub metric: Option<String>,
    /// The key of the query.
    pub query: String,
    /// The score of the first model.
    pub first: f64,
    /// The score of the second model.
    pub second: f64,
}

/// Up to `most` queries on which the first of `models` scores lower than the second, largest difference first.
pub fn largest_regressions(
    judgements: &Judgements,
    models: (&str, &str),
    method: &Method,
    most: usize,
) -> Vec<QueryDifference> {
    let sorted = &by_model(judgements);
    let of = |wanted| {
        let of_models = groups(judgements, sorted).filter(move |((_, model), _)| *model == Some(wanted));
        of_models.map(|((metric, _), scores)| (metric, scores))
    };
    let mut worse: Vec<QueryDifference> = Vec::new();
    for (metric, (first, second)) in paired(of(models.0), of(models.1)) {
        let by_name =
            |scores| of_queries(scores, method).filter_map(|(query, score)| Some((query?, score.scored()?)));
        for (query, (first, second)) in paired(by_name(first), by_name(second)) {
            let (Some(first), Some(second)) = (first, second) else { continue };
            if first < second {
                let metric = metric.map(str::to_owned);
                worse.push(QueryDifference { metric, query: query.to_owned(), first, second });
            }
        }
    }
    let difference = |one: &QueryDifference| one.first - one.second;
    // Equal differences stay in the order of metric and query.
    worse.sort_by(|a, b| difference(a).total_cmp(&difference(b)));
    worse.truncate(most);
    worse
}

/// The scores of each metric and model; the input is sorted by these.
fn groups<'j>(
    judgements: &'j Judgements,
    sorted: &'j [Score],
) -> impl Iterator<Item = ((Option<&'j str>, Option<&'j str>), Scores<'j>)> {
    let groups = sorted.chunk_by(|a, b| (a.metric, a.model) == (b.metric, b.model));
    groups.map(move |group| {
        ((judgements.text(group[0].metric), judgements.text(group[0].model)), (judgements, group))
    })
}

/// The scores sorted by metric and model first.
fn by_model(judgements: &Judgements) -> Vec<Score> {
    let mut scores = judgements.scores.clone();
    // Stable, to keep the order within groups.
    scores.sort_by_key(|one| (one.metric, one.model));
    scores
}

/// Groups elements by key, in the order of keys.
fn paired<K: Ord, V>(
    first: impl Iterator<Item = (K, V)>,
    second: impl Iterator<Item = (K, V)>,
) -> BTreeMap<K, (Option<V>, Option<V>)> {
    let mut pairs: BTreeMap<K, (Option<V>, Option<V>)> = BTreeMap::new();
    for (key, value) in first {
        pairs.entry(key).or_insert((None, None)).0 = Some(value);
    }
    for (key, value) in second {
        pairs.entry(key).or_insert((None, None)).1 = Some(value);
    }
    pairs
}

fn compared(
    metric: Option<&str>,
    (first, second): (Option<String>, Option<String>),
    scores: (Option<Scores<'_>>, Option<Scores<'_>>),
    method: &Method,
) -> Compared {
    let comparison = Comparison {
        first: counts(scores.0),
        second: counts(scores.1),
        ..compare(of_queries(scores.0, method), of_queries(scores.1, method), &method.bootstrap)
    };
    let queries_needed =
        comparison.difference.and_then(|difference| comparison.queries_needed(difference, ALPHA, POWER));
    Compared { metric: metric.map(str::to_owned), first, second, comparison, queries_needed }
}

fn counts(scores: Option<Scores<'_>>) -> Counts {
    Counts::of(scores.into_iter().flat_map(|(_, scores)| scores).map(|one| &one.score))
}

/// The score of each query, by the query's name: the numbers of names differ between two selections.
fn of_queries<'j>(
    scores: Option<Scores<'j>>,
    method: &Method,
) -> impl Iterator<Item = (Option<&'j str>, Outcome<f64>)> {
    let combination = method.combination;
    scores.into_iter().flat_map(move |(judgements, scores)| {
        by_query(scores, combination)
            .filter_map(move |(query, score)| Some((judgements.text(query), Outcome::Scored(score?))))
    })
}
