//! A compact representation of judgements: interned names and numbers.

use std::{cmp::Ordering, collections::HashMap};

use crate::{outcome::Outcome, parse::Winner};

/// A judgement as it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement<'r> {
    /// Identifies its query.
    pub query: &'r str,
    /// The model that gave the answer.
    pub model: Option<&'r str>,
    /// The query's theme.
    pub theme: Option<&'r str>,
    /// The metric.
    pub metric: Option<&'r str>,
    /// The judge.
    pub judge: Option<&'r str>,
    /// Its run.
    pub run: Option<&'r str>,
    /// Number of the repeat.
    pub repeat: Option<&'r str>,
    /// The verdict.
    pub verdict: JudgeVerdict<'r>,
}

/// A judge's verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JudgeVerdict<'r> {
    /// On one answer.
    Score {
        /// The score.
        score: Outcome<f64>,
        /// Whether it is outside the metric's scale.
        is_out_of_range: bool,
    },
    /// On two answers, in one order.
    Comparison {
        /// The model of the other answer.
        opponent: Option<&'r str>,
        /// Whether the opponent's answer was first.
        is_swapped: bool,
        /// [`Winner::A`] is the judgement's own model, wherever its answer was.
        winner: Outcome<Winner>,
    },
}

/// Size of a group's numbers without its names.
const GROUP_BYTES: usize = 256;

/// Collects judgements.
#[derive(Debug, Default)]
pub struct Gathering {
    places: HashMap<Box<str>, Name>,
    /// Total size of the names except those of queries, in bytes.
    label_bytes: usize,
    scores: Vec<Score>,
    comparisons: Vec<Comparison>,
}

/// Sorted judgements.
#[derive(Debug, Default)]
pub struct Judgements {
    /// All names, sorted; [`Name`] counts from 1.
    names: Vec<Box<str>>,
    pub(super) scores: Vec<Score>,
    pub(super) comparisons: Vec<Comparison>,
}

/// A name's position, from 1; 0 if there is no name. In order of arrival during collection, sorted afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(u32);

/// A verdict on one answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) metric: Name,
    pub(super) theme: Name,
    pub(super) model: Name,
    pub(super) query: Name,
    pub(super) judge: Name,
    pub(super) score: Outcome<f64>,
    pub(super) is_out_of_range: bool,
}

/// A verdict on two answers, in one order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) pair: Pair,
    /// What the two orders of one comparison have in common, within a pair.
    pub(super) unit: Unit,
    pub(super) is_swapped: bool,
    pub(super) winner: Outcome<Winner>,
}

/// Two models, by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pair {
    pub(super) metric: Name,
    pub(super) theme: Name,
    pub(super) first: Name,
    pub(super) second: Name,
}

/// One comparison of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Unit {
    pub(super) query: Name,
    pub(super) judge: Name,
    run: Name,
    repeat: Name,
    /// Whether the second of the pair is the judgement's own model, and the first its opponent.
    pub(super) is_turned: bool,
}

impl Gathering {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty() && self.comparisons.is_empty()
    }

    /// Total size of the distinct names of themes, models, metrics, judges and runs, in bytes.
    pub fn label_bytes(&self) -> usize {
        self.label_bytes
    }

    /// Adds a judgement. A stored score that is not a finite number counts as unparsed.
    pub fn add(&mut self, judgement: &Judgement<'_>) {
        let Judgement { query, model, theme, metric, judge, run, repeat, verdict } = *judgement;
        let [metric, theme, model, judge] = [metric, theme, model, judge].map(|name| self.name(name));
        let query = self.name_of_query(query);
        match verdict {
            JudgeVerdict::Score { score, is_out_of_range } => {
                let is_number = score.scored().is_none_or(f64::is_finite);
                let score = if is_number { score } else { Outcome::Unparsed };
                let is_out_of_range = is_out_of_range && is_number;
                self.scores.push(Score { metric, theme, model, query, judge, score, is_out_of_range });
            }
            JudgeVerdict::Comparison { opponent, is_swapped, winner } => {
                let [second, run, repeat] = [opponent, run, repeat].map(|name| self.name(name));
                let pair = Pair { metric, theme, first: model, second };
                let unit = Unit { query, judge, run, repeat, is_turned: false };
                self.comparisons.push(Comparison { pair, unit, is_swapped, winner });
            }
        }
    }

    /// Sorts everything.
    pub fn finish(self) -> Judgements {
        let Self { places, label_bytes: _, mut scores, mut comparisons } = self;
        let mut named: Vec<(Box<str>, Name)> = places.into_iter().collect();
        named.sort_unstable();
        let mut ranks = vec![Name(0); named.len() + 1];
        for (rank, (_, name)) in (1..).zip(&named) {
            ranks[name.0 as usize] = Name(rank);
        }
        let ranked = |name: &mut Name| *name = ranks[name.0 as usize];
        for score in &mut scores {
            let Score { metric, theme, model, query, judge, .. } = score;
            [metric, theme, model, query, judge].into_iter().for_each(ranked);
        }
        for comparison in &mut comparisons {
            let Pair { metric, theme, first, second } = &mut comparison.pair;
            let Unit { query, judge, run, repeat, is_turned } = &mut comparison.unit;
            [metric, theme, &mut *first, &mut *second, query, judge, run, repeat]
                .into_iter()
                .for_each(ranked);
            *is_turned = first > second;
            if *is_turned {
                std::mem::swap(first, second);
            }
        }
        scores.sort_unstable_by(Score::order);
        comparisons.sort_unstable_by_key(|one| {
            (one.pair, one.unit, one.is_swapped, one.winner.as_str(), one.winner.scored())
        });
        Judgements { names: named.into_iter().map(|(name, _)| name).collect(), scores, comparisons }
    }

    fn name(&mut self, name: Option<&str>) -> Name {
        let Some(name) = name else { return Name(0) };
        let known = self.places.len();
        let place = self.name_of_query(name);
        if self.places.len() > known {
            self.label_bytes += name.len();
        }
        place
    }

    fn name_of_query(&mut self, name: &str) -> Name {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = Name(u32::try_from(self.places.len() + 1).expect("names fit into memory"));
        self.places.insert(name.into(), place);
        place
    }
}

impl Judgements {
    /// Approximate size of the summaries by metric, theme and model, in bytes: each repeats the names of its group.
    pub fn summary_bytes(&self) -> usize {
        let length = |name| self.text(name).map_or(0, str::len);
        let scores =
            self.scores.chunk_by(|a, b| (a.metric, a.theme, a.model) == (b.metric, b.theme, b.model));
        let scores = scores.map(|group| [group[0].metric, group[0].theme, group[0].model, Name(0)]);
        let pairs = self.comparisons.chunk_by(|a, b| a.pair == b.pair);
        let pairs = pairs.map(|group| {
            let Pair { metric, theme, first, second } = group[0].pair;
            [metric, theme, first, second]
        });
        scores.chain(pairs).map(|names| GROUP_BYTES + names.map(length).iter().sum::<usize>()).sum()
    }

    pub(super) fn text(&self, name: Name) -> Option<&str> {
        let place = (name.0 as usize).checked_sub(1)?;
        Some(&self.names[place])
    }

    pub(super) fn owned(&self, name: Name) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    /// The name with this text, if there is one.
    pub(super) fn find(&self, text: &str) -> Option<Name> {
        let place = self.names.binary_search_by(|name| (**name).cmp(text)).ok()?;
        Some(Name(u32::try_from(place + 1).expect("names fit into memory")))
    }
}

impl Score {
    /// By all fields, so that sums do not depend on the order of the input.
    fn order(&self, other: &Self) -> Ordering {
        let key = |one: &Self| (one.metric, one.theme, one.model, one.query, one.judge, one.score.as_str());
        // Scores are finite here; others would compare as equal.
        key(self)
            .cmp(&key(other))
            .then_with(|| self.score.scored().partial_cmp(&other.score.scored()).unwrap_or(Ordering::Equal))
    }
}
