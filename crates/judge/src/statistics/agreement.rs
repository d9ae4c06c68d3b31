//! Agreement of a judge with people.

use crate::{
    outcome::{Counts, Outcome},
    parse::Winner,
};

/// How often a judge agrees with people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Pairs of equal labels.
    pub agreed: u64,
    /// Number of pairs of labels.
    pub pairs: u64,
    /// Cohen's kappa: the agreement beyond chance, as a share of the possible one; 1 is perfect, 0 is chance. None if
    /// both always give the same label.
    pub kappa: Option<f64>,
    /// Outcomes of the judge's labels. Pairs without the judge's label are excluded from the numbers above.
    pub counts: Counts,
}

/// Agreement on winners, as in MT-Bench (Zheng et al. 2023, section 4.2 and `compute_agreement.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WinnerAgreement {
    /// With A, B and tie: setup S1.
    pub with_ties: Agreement,
    /// With A and B only, for pairs without ties: setup S2.
    pub without_ties: Agreement,
    /// Pairs that `without_ties` excludes because at least one label is a tie.
    pub ties: u64,
}

impl Agreement {
    /// The share of pairs that agree, also called accuracy; none without pairs.
    pub fn rate(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.agreed as f64 / self.pairs as f64)
    }
}

/// Compares a judge's labels with people's, in pairs of judge and person.
pub fn agreement<L: Copy + Ord>(labels: impl IntoIterator<Item = (Outcome<L>, L)>) -> Agreement {
    let mut counts = Counts::default();
    let mut pairs = Vec::new();
    for (judge, person) in labels {
        counts.add(&judge);
        pairs.extend(judge.scored().map(|judge| (judge, person)));
    }
    let n = pairs.len() as f64;
    let agreed = pairs.iter().filter(|(judge, person)| judge == person).count();
    let mut labels: Vec<L> = pairs.iter().flat_map(|(judge, person)| [*judge, *person]).collect();
    labels.sort();
    labels.dedup();
    let share = |of: &dyn Fn(&(L, L)) -> bool| pairs.iter().filter(|pair| of(pair)).count() as f64 / n;
    let by_chance: f64 =
        labels.iter().map(|label| share(&|pair| pair.0 == *label) * share(&|pair| pair.1 == *label)).sum();
    let observed = agreed as f64 / n;
    // A single label from both is a chance of 1; without pairs it is NaN.
    let kappa = (labels.len() > 1).then(|| (observed - by_chance) / (1.0 - by_chance));
    Agreement { agreed: agreed as u64, pairs: pairs.len() as u64, kappa, counts }
}

/// Compares a judge's winners with people's, in pairs of judge and person.
pub fn winner_agreement(winners: impl IntoIterator<Item = (Outcome<Winner>, Winner)>) -> WinnerAgreement {
    let winners: Vec<_> = winners.into_iter().collect();
    let is_tie = |(judge, person): &&(Outcome<Winner>, Winner)| {
        *judge == Outcome::Scored(Winner::Tie)
            || (*person == Winner::Tie && matches!(judge, Outcome::Scored(_)))
    };
    let ties = winners.iter().filter(is_tie).count() as u64;
    let decided = winners.iter().filter(|pair| !is_tie(pair)).copied();
    WinnerAgreement { with_ties: agreement(winners.iter().copied()), without_ties: agreement(decided), ties }
}
