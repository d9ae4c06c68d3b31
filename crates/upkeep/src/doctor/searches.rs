//! Measures the current recall and latency of searches of a table.

use std::time::{Duration, Instant};

use store::postgres::{
    Database,
    nearest::{IndexSearch, NeighbourSearch},
    vector_index::{Filtering, Observation, Share},
};

use super::{IndexScanResult, MeasuredSearches};
use crate::{
    plan::TARGET_DEPTH,
    questions::questions,
    recall::{MeanRecall, recall},
};

/// No search starts after this time.
const LONGEST: Duration = Duration::from_secs(5);
const MOST_SAMPLES: u32 = 30;
/// Selects other rows than those that the search parameters were measured with.
const SEED: u32 = 11;

/// Runs searches like those for new texts, by exact scan and by index scan; `None` if no row has a vector.
///
/// # Errors
/// When a statement fails.
pub(super) async fn measure(
    database: &Database,
    observation: &Observation,
) -> Result<Option<MeasuredSearches>, store::Error> {
    let (table, rows) = (&observation.table, observation.rows);
    let index = observation.indexes.iter().find(|index| index.is_searched());
    let candidates = index.map(|index| index.candidates(rows, Filtering::None, TARGET_DEPTH));
    let started = Instant::now();
    let (mut exact_times, mut index_times, mut recalls) = (Vec::new(), Vec::new(), Vec::new());
    let mut without_distance = 0;
    for sample in questions(database, table, (rows, MOST_SAMPLES, SEED), None).await? {
        if started.elapsed() > LONGEST {
            break;
        }
        let search = NeighbourSearch::of(table, &sample, Share::ALL, TARGET_DEPTH);
        let exact = database.nearest_exact(&search).await?;
        if exact.found.is_empty() {
            // The cosine distance of a zero vector is undefined.
            without_distance += 1;
            continue;
        }
        exact_times.push(exact.took);
        if let Some((index, candidates)) = index.zip(candidates) {
            let index = IndexSearch::with_candidates(observation, index, candidates);
            let found = database.nearest_by_index(&search, &index).await?;
            recalls
                .push(recall(&exact.distances(), &found.distances()).expect("the exact scan returned rows"));
            index_times.push(found.took);
        }
    }
    let Some(exact_ms) = median_ms(&mut exact_times) else { return Ok(None) };
    let by_index = index.zip(candidates).zip(median_ms(&mut index_times)).map(|((index, candidates), ms)| {
        let MeanRecall { mean, low, high } = MeanRecall::of(&recalls);
        IndexScanResult {
            index: index.name.clone(),
            candidates,
            recall: mean,
            recall_low: low,
            recall_high: high,
            latency_ms: ms,
        }
    });
    let sampled = u32::try_from(exact_times.len()).expect("few are sampled");
    Ok(Some(MeasuredSearches { sampled, without_distance, exact_ms, by_index }))
}

fn median_ms(times: &mut [Duration]) -> Option<f64> {
    times.sort_unstable();
    times.get(times.len() / 2).map(|time| time.as_secs_f64() * 1_000.0)
}
