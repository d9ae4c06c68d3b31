//! Agreement of people with each other, by metric and kind of label.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    parse::Winner,
    statistics::{Alpha, Bootstrap, LabelScale, krippendorff},
};

/// What one person says of an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonLabel<'l> {
    /// The person.
    pub annotator: &'l str,
    /// Identifies the query and the model, or the two models.
    pub item: &'l [u8],
    /// The metric.
    pub metric: Option<&'l str>,
    /// What the person says.
    pub verdict: PersonVerdict,
}

/// A verdict of a person.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PersonVerdict {
    /// The score of one answer: a finite number.
    Score(f64),
    /// The better of two answers, in an order that all labels of the item share.
    Winner(Winner),
}

/// How far people agree with each other by one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotatorsAgree {
    /// The metric.
    pub metric: Option<String>,
    /// Of which kind the labels are.
    pub scale: LabelScale,
    /// Number of people.
    pub annotators: u64,
    /// Items with the label of one person only, which the numbers below exclude.
    pub alone: u64,
    /// Pairs of labels of one item by different people.
    pub pairs: u64,
    /// Those of which both are equal.
    pub same: u64,
    /// Krippendorff's alpha: nominal of winners, interval of scores.
    pub alpha: Alpha,
}

/// Compares the labels of people, one per person and item.
pub fn annotators_agree<'l>(
    labels: impl IntoIterator<Item = PersonLabel<'l>>,
    bootstrap: &Bootstrap,
) -> Vec<AnnotatorsAgree> {
    #[derive(Default)]
    struct Group<'l> {
        annotators: BTreeSet<&'l str>,
        items: BTreeMap<&'l [u8], Vec<f64>>,
    }
    let mut groups: BTreeMap<(Option<&str>, bool), Group<'_>> = BTreeMap::new();
    for label in labels {
        let (is_winner, value) = match label.verdict {
            PersonVerdict::Score(score) => (false, score),
            PersonVerdict::Winner(Winner::A) => (true, 1.0),
            PersonVerdict::Winner(Winner::Tie) => (true, 0.0),
            PersonVerdict::Winner(Winner::B) => (true, -1.0),
        };
        let group = groups.entry((label.metric, is_winner)).or_default();
        group.annotators.insert(label.annotator);
        group.items.entry(label.item).or_default().push(value);
    }
    let agreements = groups.into_iter().map(|((metric, is_winner), Group { annotators, items })| {
        let mut units: Vec<Vec<f64>> = items.into_values().collect();
        // Sums do not depend on the order of the input.
        units.iter_mut().for_each(|labels| labels.sort_unstable_by(f64::total_cmp));
        let pairs_of = |count: usize| (count * count.saturating_sub(1) / 2) as u64;
        let same_of =
            |labels: &Vec<f64>| labels.chunk_by(|a, b| a == b).map(|same| pairs_of(same.len())).sum::<u64>();
        let scale = if is_winner { LabelScale::Nominal } else { LabelScale::Interval };
        AnnotatorsAgree {
            metric: metric.map(str::to_owned),
            scale,
            annotators: annotators.len() as u64,
            alone: units.iter().filter(|labels| labels.len() < 2).count() as u64,
            pairs: units.iter().map(|labels| pairs_of(labels.len())).sum(),
            same: units.iter().map(same_of).sum(),
            alpha: krippendorff(&units, scale, bootstrap),
        }
    });
    agreements.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_compared_by_metric_and_kind() {
        let label = |annotator, item: &'static str, metric, verdict| PersonLabel {
            annotator,
            item: item.as_bytes(),
            metric: Some(metric),
            verdict,
        };
        let labels = [
            label("ann", "1", "m", PersonVerdict::Score(7.0)),
            label("bob", "1", "m", PersonVerdict::Score(7.0)),
            label("ann", "2", "m", PersonVerdict::Score(2.0)),
            label("bob", "2", "m", PersonVerdict::Score(3.0)),
            label("cid", "2", "m", PersonVerdict::Score(3.0)),
            label("cid", "3", "m", PersonVerdict::Score(9.0)),
            label("ann", "4", "m", PersonVerdict::Winner(Winner::A)),
            label("bob", "4", "m", PersonVerdict::Winner(Winner::B)),
            label("ann", "1", "other", PersonVerdict::Score(1.0)),
        ];
        let bootstrap = Bootstrap { replicates: 100, ..Bootstrap::default() };
        let [scores, winners, other] = &annotators_agree(labels, &bootstrap)[..] else {
            panic!("three groups")
        };
        assert_eq!((scores.annotators, scores.alone, scores.pairs, scores.same), (3, 1, 4, 2));
        assert_eq!((scores.alpha.units, scores.alpha.labels, scores.scale), (2, 5, LabelScale::Interval));
        assert!(scores.alpha.alpha.is_some_and(|alpha| alpha > 0.9), "{scores:?}");
        assert_eq!((winners.pairs, winners.same, winners.scale), (1, 0, LabelScale::Nominal));
        assert_eq!((other.alone, other.alpha.alpha), (1, None));
        let backwards: Vec<PersonLabel<'_>> = labels.into_iter().rev().collect();
        assert_eq!(annotators_agree(backwards, &bootstrap)[0], *scores, "in any order");
    }
}
