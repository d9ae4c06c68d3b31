//! The settings of a search, local to its transaction, with which the indexes of its table reach the target recall.

use sqlx::PgConnection;

use super::{
    Filtering, IndexKind, MeasuredSetting, Precision, VectorIndex, catalog::existing, measured, observe,
};
use crate::{
    Error,
    postgres::{Table, schema::has_iterative_scan, sql},
};

/// Without measured settings, a search with IVFFlat reads at least this many rows, which takes a few milliseconds.
const LEAST_PROBED_ROWS: u64 = 10_000;
/// With a filter, the nearest matches are in more lists: at 20,000 rows and a filter of 1 % the default number of
/// probes finds four of five neighbours.
const FILTERED_PROBES: u32 = 4;

/// Candidates of a search without measured settings: with 20,000 sentences the recall at ten was 99.8 %, in 2 ms. The
/// recall of pgvector's default, 40, is too low on larger tables.
const LEAST_CANDIDATES: u32 = 80;
/// Comparing one match takes 2.4 µs, and a graph search some 0.5 ms divided by the share of the rows that match: both
/// take the same time for this many matches, times the square root of the rows.
const MEASURED_PER_ROOT: f64 = 14.0;
/// Limits at any size: 2 and 50 ms.
const LEAST_MEASURED: f64 = 1_000.0;
const MOST_MEASURED: f64 = 20_000.0;

/// Up to how many matches of a filter are compared exactly in a table of `rows` rows. With more matches the index is
/// used.
pub fn exact_scan_limit(rows: u64) -> u32 {
    (MEASURED_PER_ROOT * (rows as f64).sqrt()).clamp(LEAST_MEASURED, MOST_MEASURED) as u32
}

/// If the expected number of matches among the candidates of a scan is this many times the limit, hardly any search
/// has fewer results than requested, unless the matches are far from the query vector.
const EXPECTED_MATCHES: f64 = 2.0;

/// pgvector's limit of `hnsw.ef_search`.
pub(crate) const MOST_CANDIDATES: u32 = 1_000;

/// The vector indexes that searches of a table use: one, or both while one replaces the other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SearchedIndex {
    /// The precision of the sort expression with which PostgreSQL uses an index.
    pub(crate) precision: Precision,
    /// The planner's estimate of the table's rows.
    pub(crate) rows: u64,
    /// Whether pgvector supports iterative index scans.
    is_iterative: bool,
    indexes: Vec<(IndexKind, Vec<MeasuredSetting>)>,
}

/// The indexes that searches of `table` use, if it has any.
pub(crate) async fn searched(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Option<SearchedIndex>, Error> {
    let indexes: Vec<_> =
        existing(connection, table).await?.into_iter().filter(|index| index.is_searched()).collect();
    let has = |precision| indexes.iter().any(|index| index.definition.precision == precision);
    let precision = match () {
        () if has(Precision::Full) => Precision::Full,
        () if has(Precision::Half) => Precision::Half,
        () => return Ok(None),
    };
    Ok(Some(SearchedIndex {
        precision,
        rows: observe::estimated_rows(connection, table).await?,
        is_iterative: has_iterative_scan(connection).await?,
        indexes: indexes
            .into_iter()
            .filter(|index| index.definition.precision == precision)
            .map(|index| (index.definition.kind, index.measured))
            .collect(),
    }))
}

impl SearchedIndex {
    /// The settings of a transaction for a search for `limit` rows.
    pub(crate) fn settings(&self, filtering: Filtering, limit: u32) -> Vec<sql::Sql> {
        let taken = self.precision.taken(limit);
        let is_iterative = match filtering {
            Filtering::None => self.is_iterative,
            Filtering::Some => self.is_iterative && !self.single_pass_suffices(limit),
        };
        let mut settings = Vec::new();
        for (kind, measured_settings) in &self.indexes {
            let candidates = candidates(*kind, measured_settings, self.rows, (filtering, limit));
            settings.extend(search_settings(*kind, candidates, taken, is_iterative));
        }
        settings
    }

    /// Whether the candidates of one graph scan contain `limit` matches of any filter that leaves too many rows for
    /// an exact search. If a scan finds fewer, the matches are far from the query vector.
    pub(crate) fn single_pass_suffices(&self, limit: u32) -> bool {
        let share = f64::from(exact_scan_limit(self.rows)) / self.rows.max(1) as f64;
        let wanted = f64::from(self.precision.taken(limit)) * EXPECTED_MATCHES;
        self.is_iterative
            && self.indexes.iter().all(|(kind, settings)| {
                let candidates = candidates(*kind, settings, self.rows, (Filtering::Some, limit));
                matches!(kind, IndexKind::Hnsw { .. })
                    && f64::from(candidates.min(MOST_CANDIDATES)) * share >= wanted
            })
    }

    /// The setting that enables iterative scans after a single scan.
    pub(crate) fn enable_iterative_scan(&self) -> Vec<sql::Sql> {
        self.indexes.iter().map(|(kind, _)| sql::set_iterative_scan(kind.method())).collect()
    }
}

impl VectorIndex {
    /// `ivfflat.probes` or `hnsw.ef_search` for a search for `limit` rows in a table of `rows` rows: the measured
    /// value, otherwise a default.
    pub fn candidates(&self, rows: u64, filtering: Filtering, limit: u32) -> u32 {
        candidates(self.definition.kind, &self.measured, rows, (filtering, limit))
    }
}

fn candidates(
    kind: IndexKind,
    settings: &[MeasuredSetting],
    rows: u64,
    (filtering, limit): (Filtering, u32),
) -> u32 {
    match (kind, measured(settings, filtering, limit)) {
        (_, Some(measured)) => deepened(*measured, limit),
        (IndexKind::Ivfflat { lists }, None) => probes(rows, lists, filtering),
        (IndexKind::Hnsw { .. }, None) => limit.saturating_mul(2).max(LEAST_CANDIDATES),
    }
}

/// The settings of a transaction whose searches take `taken` rows from an index of this kind.
///
/// An iterative scan continues until it has found this many visible rows that match the filter, or has visited
/// 20,000, pgvector's default; in relaxed order, since searches sort the results.
pub(crate) fn search_settings(
    kind: IndexKind,
    candidates: u32,
    taken: u32,
    is_iterative: bool,
) -> Vec<sql::Sql> {
    let mut settings = vec![match kind {
        IndexKind::Ivfflat { lists } => sql::set_probes(candidates.clamp(1, lists.max(1))),
        IndexKind::Hnsw { .. } => sql::set_ef_search(candidates.max(taken).clamp(1, MOST_CANDIDATES)),
    }];
    if is_iterative {
        settings.push(sql::set_iterative_scan(kind.method()));
    }
    settings
}

/// A value that was measured at a smaller depth than `limit` is scaled.
fn deepened(measured: MeasuredSetting, limit: u32) -> u32 {
    let candidates = u64::from(measured.candidates);
    let deepened = candidates * u64::from(limit.max(measured.depth)) / u64::from(measured.depth.max(1));
    u32::try_from(deepened).unwrap_or(u32::MAX)
}

/// How many of an index's `lists` a search over `rows` rows probes without measured settings: pgvector's guidance is
/// the square root, but at least as many as take a few milliseconds.
fn probes(rows: u64, lists: u32, filtering: Filtering) -> u32 {
    let rows_per_list = (rows / u64::from(lists.max(1))).max(1);
    let cheap = u32::try_from(LEAST_PROBED_ROWS.div_ceil(rows_per_list)).unwrap_or(u32::MAX);
    let probes = lists.isqrt().max(cheap);
    let probes = match filtering {
        Filtering::None => probes,
        Filtering::Some => probes.saturating_mul(FILTERED_PROBES),
    };
    probes.clamp(1, lists.max(1))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn measured(filtering: Filtering, depth: u32, candidates: u32) -> MeasuredSetting {
        MeasuredSetting {
            filtering,
            depth,
            candidates,
            first_candidates: None,
            target: 0.98,
            recall: 0.99,
            recall_low: 0.985,
            latency_ms: 1.0,
            sampled: 100,
            rows: 20_000,
            measured_at: datetime!(2026-01-31 12:00),
        }
    }

    #[test]
    fn more_matches_are_measured_in_larger_tables() {
        let measured = [100, 10_000, 100_000, 1_000_000, 10_000_000].map(exact_scan_limit);
        assert_eq!(measured, [1_000, 1_400, 4_427, 14_000, 20_000]);
    }

    #[test]
    fn probes_read_all_of_a_small_table_and_the_square_root_of_many_lists() {
        assert_eq!(probes(500, 100, Filtering::None), 100);
        assert_eq!(probes(0, 100, Filtering::None), 100);
        assert_eq!(probes(20_000, 20, Filtering::None), 10);
        assert_eq!(probes(20_000, 20, Filtering::Some), 20);
        assert_eq!(probes(1_000_000, 1_000, Filtering::None), 31);
        assert_eq!(probes(1_000_000, 1_000, Filtering::Some), 124);
    }

    #[test]
    fn settings_are_the_measured_ones_and_grow_with_the_limit() {
        let setting = |depth, candidates| measured(Filtering::None, depth, candidates);
        let kind = IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert: 64 };
        let index = SearchedIndex {
            precision: Precision::Full,
            rows: 20_000,
            is_iterative: true,
            indexes: vec![(kind, vec![setting(10, 23), setting(100, 150)])],
        };
        let set = |filtering, limit| index.settings(filtering, limit)[0].0.clone();
        assert_eq!(set(Filtering::None, 3), "set local hnsw.ef_search = 23");
        assert_eq!(set(Filtering::None, 10), "set local hnsw.ef_search = 23");
        assert_eq!(set(Filtering::None, 11), "set local hnsw.ef_search = 150");
        assert_eq!(set(Filtering::None, 200), "set local hnsw.ef_search = 300");
        assert_eq!(set(Filtering::None, 5_000), "set local hnsw.ef_search = 1000");
        assert_eq!(
            set(Filtering::Some, 10),
            "set local hnsw.ef_search = 80",
            "nothing measured: the default"
        );
        assert_eq!(set(Filtering::Some, 200), "set local hnsw.ef_search = 400");
        assert_eq!(index.settings(Filtering::None, 10)[1].0, "set local hnsw.iterative_scan = relaxed_order");
    }

    #[test]
    fn one_hnsw_scan_is_made_where_it_surely_finds_matches_nearby() {
        let setting = |depth, candidates| measured(Filtering::Some, depth, candidates);
        let with = |kind, candidates| SearchedIndex {
            precision: Precision::Full,
            rows: 100_000,
            is_iterative: true,
            indexes: vec![(kind, vec![setting(10, candidates), setting(100, 1_000)])],
        };
        let graph = IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert: 64 };
        // 4,427 of the rows match at the least: 23 of 520 candidates, 17 of 400.
        assert!(with(graph, 520).single_pass_suffices(10) && !with(graph, 400).single_pass_suffices(10));
        assert!(!with(graph, 520).single_pass_suffices(100));
        assert!(!with(IndexKind::Ivfflat { lists: 100 }, 520).single_pass_suffices(10));
        assert!(!SearchedIndex { is_iterative: false, ..with(graph, 520) }.single_pass_suffices(10));
        let set = |filtering, limit| with(graph, 520).settings(filtering, limit).len();
        assert_eq!(
            (set(Filtering::Some, 10), set(Filtering::Some, 100), set(Filtering::None, 10)),
            (1, 2, 2)
        );
    }
}
