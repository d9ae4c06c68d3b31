//! What tells that an index or its settings no longer fit the rows and the searches of its table.

use store::postgres::vector_index::{
    Filtering, IndexKind, MeasuredSetting, Observation, SearchRecall, VectorIndex,
};
use time::Duration;

use super::TARGET_DEPTH;
use crate::{policy::Policy, recall::MeanRecall};

/// Fewer searches than this say little, however alike they are.
const FEWEST_REPLAYED: f64 = 10.0;
/// Settings measured anew are others only if the rows are: this share of them has come or gone, or there was time for as
/// many to be replaced. Without it, a loss that no setting can mend would have them measured over and over.
const CHANGED_SHARE: u64 = 20;
const TIME_FOR_CHANGE: Duration = Duration::DAY;
/// Settings of a table that changes a little are measured again after this time, whatever is known of searches.
const OLD: Duration = Duration::days(30);
/// Lists are made anew when so many times as many of them have to be looked into as when they were new. Of few lists one
/// more is no sign.
const DRIFT: u32 = 2;
const FEWEST_LISTS_TO_DRIFT: u32 = 2;

/// The setting for the searches that the recall target is about.
pub(crate) fn at_target(index: &VectorIndex) -> Option<&MeasuredSetting> {
    let is_meant =
        |measured: &&MeasuredSetting| measured.filtering == Filtering::None && measured.depth == TARGET_DEPTH;
    index.measured.iter().find(is_meant)
}

/// Why `measured` is to be measured anew although target and size of the table are the same, if it is.
pub(super) fn outdated(
    observation: &Observation,
    measured: &MeasuredSetting,
    policy: &Policy,
) -> Option<String> {
    let changed = observation.rows.abs_diff(measured.rows);
    let has_changed = changed > 0 && changed >= measured.rows / CHANGED_SHARE;
    let age = observation.observed_at - measured.measured_at;
    let lost = found_since(observation, measured).find(|(_, recall)| recall.high < policy.recall_target);
    match lost {
        Some((class, MeanRecall { mean, high, .. })) if has_changed || age >= TIME_FOR_CHANGE => {
            let filtered = if class == "none" { String::new() } else { format!(" by {class}") };
            Some(format!(
                "searches{filtered} found {mean:.3} of what is nearest since they were measured, surely less than {high:.3}"
            ))
        }
        _ if has_changed && age >= OLD => Some(format!("they were measured {} days ago", age.whole_days())),
        _ => None,
    }
}

/// What searches found since `measured`, of each class of which enough were made again.
fn found_since<'a>(
    observation: &'a Observation,
    measured: &MeasuredSetting,
) -> impl Iterator<Item = (&'a str, MeanRecall)> {
    let since = measured.measured_at;
    let classes = observation.searches.chunk_by(|one, other| one.filter_class == other.filter_class);
    classes.filter_map(move |stretches| {
        let mut count = 0.0;
        let mut counted = Vec::new();
        for stretch in stretches.iter().take_while(|stretch| stretch.since >= since) {
            let SearchRecall { recall: mean, recall_low: low, recall_high: high, .. } = *stretch;
            counted.push((MeanRecall { mean, low, high }, f64::from(stretch.replayed)));
            count += f64::from(stretch.replayed);
            if count >= FEWEST_REPLAYED {
                return Some((stretch.filter_class.as_str(), MeanRecall::pooled(&counted)));
            }
        }
        None
    })
}

/// Why `index` is to be built anew although it is of the right kind and size, if it is: it met the target with less once.
pub(super) fn drift(index: &VectorIndex, policy: &Policy) -> Option<String> {
    let measured = at_target(index).filter(|measured| measured.target == policy.recall_target)?;
    let (first, now) = (measured.first_candidates?, measured.candidates);
    match index.definition.kind {
        IndexKind::Ivfflat { .. } if now > first.max(FEWEST_LISTS_TO_DRIFT).saturating_mul(DRIFT) => {
            Some(format!(
                "{now} lists of `{}` have to be looked into where {first} were enough when it was new: the rows have moved away from them",
                index.name
            ))
        }
        IndexKind::Hnsw { .. } if measured.recall < measured.target && first < now => Some(format!(
            "no setting of `{}` meets the target any more, and {first} candidates did when it was new",
            index.name
        )),
        IndexKind::Ivfflat { .. } | IndexKind::Hnsw { .. } => None,
    }
}
