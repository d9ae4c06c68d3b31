//! Agreement of a judge with people.

use crate::{
    outcome::{Counts, Outcome},
    parse::Winner,
};

/// How often a judge agrees with people.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Pairs of labels that are the same.
    pub agreed: u64,
    /// Number of pairs of labels.
    pub pairs: u64,
    /// Cohen's kappa: how much of the agreement that chance leaves room for there is, 1 for all of it, 0 for none. None
    /// where chance leaves no room, since both always say the same one thing.
    pub kappa: Option<f64>,
    /// What became of the judge's labels. Pairs without the judge's label are in none of the numbers above.
    pub counts: Counts,
}

/// Agreement about winners, as MT-Bench counts it (Zheng et al. 2023, section 4.2 and `compute_agreement.py`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WinnerAgreement {
    /// Among A, B and tie: their setup S1.
    pub with_ties: Agreement,
    /// Between A and B, where neither says tie: their setup S2.
    pub without_ties: Agreement,
    /// Pairs that `without_ties` leaves out because one or both of the labels are ties.
    pub ties: u64,
}

impl Agreement {
    /// The share of pairs that agree, of a judge and people also called accuracy; none without pairs.
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
    // One label from both is a chance of 1; without pairs it is no number.
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
