//! Searches between two passes.

use std::collections::BTreeMap;

use store::postgres::searches::{FilterClass, Percentiles, SampledSearch, SearchTotals, StoredSample};

/// Searches of one table and filter class.
pub(super) type Kind = (String, FilterClass);

/// Counters since the last pass.
#[derive(Default)]
pub(super) struct Window {
    pub(super) searches: u64,
    pub(super) wanted: u64,
    pub(super) returned: u64,
    pub(super) latency: Option<Percentiles>,
}

/// The difference between `totals` and `earlier`, for each kind with searches.
pub(super) fn windows(totals: &[SearchTotals], earlier: &[SearchTotals]) -> BTreeMap<Kind, Window> {
    let mut windows = BTreeMap::new();
    for total in totals {
        let is_same =
            |one: &&SearchTotals| (one.series, one.filter_class) == (total.series, total.filter_class);
        let before = earlier.iter().find(is_same);
        let since = |now: u64, then: fn(&SearchTotals) -> u64| now - before.map_or(0, then);
        let latencies =
            before.map_or_else(|| total.latencies.clone(), |before| total.latencies.since(&before.latencies));
        let window = Window {
            searches: since(total.searches, |before| before.searches),
            wanted: since(total.wanted, |before| before.wanted),
            returned: since(total.returned, |before| before.returned),
            latency: latencies.percentiles(),
        };
        if window.searches > 0 {
            windows.insert((total.table.clone(), total.filter_class), window);
        }
    }
    windows
}

/// The vectors of `samples`, without their filters.
pub(super) fn stored(samples: &[(Kind, Vec<SampledSearch>)]) -> Vec<StoredSample> {
    let of_kind = |((table, filter_class), samples): &(Kind, Vec<SampledSearch>)| -> Vec<StoredSample> {
        let sample = |sample: &SampledSearch| StoredSample {
            table: table.clone(),
            filter_class: *filter_class,
            searched_at: sample.searched_at,
            embedding: sample.embedding.clone(),
            wanted: sample.wanted,
            returned: sample.returned,
            latency_ms: sample.latency.as_secs_f64() * 1_000.0,
        };
        samples.iter().map(sample).collect()
    };
    samples.iter().flat_map(of_kind).collect()
}
