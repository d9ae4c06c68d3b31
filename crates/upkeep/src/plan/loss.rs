//! Detects that an index or its search parameters no longer suit the rows and searches of its table.

use store::postgres::vector_index::{
    Filtering, IndexKind, MeasuredSetting, Observation, SearchRecall, VectorIndex,
};
use time::Duration;

use super::TARGET_DEPTH;
use crate::{policy::Policy, recall::MeanRecall};

/// Minimum replayed searches for a judgement.
const FEWEST_REPLAYED: f64 = 10.0;
/// Measuring again is useful only if the rows have changed: 1/`CHANGED_SHARE` of them was inserted or deleted, or
/// enough time has passed for updates. Otherwise, a loss that no parameter can fix would cause endless measurements.
const CHANGED_SHARE: u64 = 20;
const TIME_FOR_CHANGE: Duration = Duration::DAY;
/// Search parameters of a table with few changes are measured again after this time, regardless of searches.
const OLD: Duration = Duration::days(30);
/// An IVFFlat index is rebuilt when `probes` has grown by this factor since the build. With few lists, one more is
/// not significant.
const DRIFT: u32 = 2;
const FEWEST_LISTS_TO_DRIFT: u32 = 2;

/// The search parameter at the target depth.
pub(crate) fn at_target(index: &VectorIndex) -> Option<&MeasuredSetting> {
    let is_meant =
        |measured: &&MeasuredSetting| measured.filtering == Filtering::None && measured.depth == TARGET_DEPTH;
    index.measured.iter().find(is_meant)
}

/// Why `measured` must be measured again although target and table size are unchanged, if so.
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
                "the recall of searches{filtered} is {mean:.3} since they were measured, significantly \
                    below {high:.3}"
            ))
        }
        _ if has_changed && age >= OLD => Some(format!("they were measured {} days ago", age.whole_days())),
        _ => None,
    }
}

/// The recall since `measured`, by class with enough replayed searches.
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

/// Why `index` must be rebuilt although its kind and size are right, if so: it needs larger search parameters than
/// when it was built.
pub(super) fn drift(index: &VectorIndex, policy: &Policy) -> Option<String> {
    let measured = at_target(index).filter(|measured| measured.target == policy.recall_target)?;
    let (first, now) = (measured.first_candidates?, measured.candidates);
    match index.definition.kind {
        IndexKind::Ivfflat { .. } if now > first.max(FEWEST_LISTS_TO_DRIFT).saturating_mul(DRIFT) => {
            Some(format!(
                "`{}` needs {now} probes instead of {first} when it was new: the rows have drifted from its \
                    lists",
                index.name
            ))
        }
        IndexKind::Hnsw { .. } if measured.recall < measured.target && first < now => Some(format!(
            "no search parameter of `{}` meets the target any more, and {first} candidates did when it was new",
            index.name
        )),
        IndexKind::Ivfflat { .. } | IndexKind::Hnsw { .. } => None,
    }
}
