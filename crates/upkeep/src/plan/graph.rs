//! The parameters of HNSW indexes, and how long they take to build.

use std::time::Duration;

use store::postgres::vector_index::{
    Filtering, IndexChange, IndexDefinition, IndexKind, Observation, Precision, VectorIndex,
};

use super::{TARGET_DEPTH, loss::at_target};
use crate::{
    names::is_ours,
    policy::{BuildUrgency, Policy},
    recall::sample_count,
};

/// pgvector's default. With 117,000 glosses, an index built with 200 candidates has a recall of 0.993 at `ef_search` 60,
/// in 0.92 ms; one built with 64, at 120, in 1.71 ms. Building takes 2.6 times as long.
const EF_BUILD: u32 = 200;
/// The option is lowered to pgvector's default after the build: an insert among 200 candidates takes three times as
/// long, and the index remains as good for the rows that it was built from.
const EF_INSERT: u32 = 64;

/// What HNSW indexes are built with.
pub(super) const GRAPH: IndexKind =
    IndexKind::Hnsw { m: 16, ef_construction: EF_BUILD, ef_insert: EF_INSERT };
/// If that would take too long.
pub(super) const SPARSE_GRAPH: IndexKind =
    IndexKind::Hnsw { m: 16, ef_construction: EF_INSERT, ef_insert: EF_INSERT };
/// If the others miss the target: twice the edges.
pub(super) const DENSE_GRAPH: IndexKind =
    IndexKind::Hnsw { m: 32, ef_construction: EF_BUILD, ef_insert: EF_INSERT };

/// An index of an older version, built with fewer candidates, is rebuilt if its searches need more than this
/// `ef_search`. Below, a search takes half a millisecond, of which a better index saves little.
const FEW_CANDIDATES: u32 = 40;

/// Of 100,000 vectors with 384 dimensions, on two cores (Zen 4), `m` 16 and `ef_construction` 64 took 31 s, 16 and 128
/// 55 s, 24 and 128 74 s; 300,000 with 16 and 64 took 108 s.
const CORE_SECONDS_A_ROW: f64 = 31.0 * 2.0 / 100_000.0;
/// On other machines and busy ones.
const SAFETY: f64 = 1.5;

/// How long an HNSW index of the observed table takes to build, estimated with a margin; no time for other kinds.
pub(super) fn build_time(kind: IndexKind, observation: &Observation) -> Duration {
    let IndexKind::Hnsw { m, ef_construction, .. } = kind else { return Duration::ZERO };
    let rows = observation.rows.max(2) as f64;
    let per_row = CORE_SECONDS_A_ROW
        * (f64::from(ef_construction) / 64.0).powf(0.84)
        * (f64::from(m) / 16.0).powf(0.73)
        // Half of the time is not spent on distances.
        * (0.5 + 0.5 * observation.table.dimension as f64 / 384.0)
        * (rows.ln() / 100_000_f64.ln());
    // Of a remote server, one core is certain. PostgreSQL's default is eight worker processes.
    let cores = observation.cores.unwrap_or(1).clamp(1, 8) as f64;
    Duration::from_secs_f64(rows * per_row * SAFETY / cores)
}

/// How long it takes until the search parameters of an index are measured, estimated with a margin: exact scans that read
/// a row in a microsecond, and searches of the index.
pub(super) fn tuning_time(observation: &Observation, policy: &Policy) -> Duration {
    const ROW: Duration = Duration::from_micros(1);
    // The nearest rows of each sample, and then of each search, without a filter and with one.
    const SCANS: u32 = 3;
    /// Of each kind: of both depths, with and without a filter; some need ten values, and the deepest takes 10 ms.
    const INDEX_SEARCHES: u32 = 30;
    const INDEX_SEARCH: Duration = Duration::from_millis(4);
    let samples = sample_count(observation.rows, policy);
    let rows = u32::try_from(observation.rows).unwrap_or(u32::MAX);
    (ROW * rows * SCANS + INDEX_SEARCH * INDEX_SEARCHES) * samples
}

/// The HNSW parameters of a new index.
pub(super) fn planned(observation: &Observation, policy: &Policy) -> IndexKind {
    if ready_time(GRAPH, observation, policy) <= policy.build_time() { GRAPH } else { SPARSE_GRAPH }
}

/// How long it takes until an HNSW index is built; in a migration, until its search parameters are measured too.
pub(super) fn ready_time(kind: IndexKind, observation: &Observation, policy: &Policy) -> Duration {
    let built = build_time(kind, observation);
    match policy.urgency {
        BuildUrgency::None => built,
        BuildUrgency::Migration => built + tuning_time(observation, policy),
    }
}

/// The HNSW parameters that should meet the target, and why they are unusual, if they are.
pub(super) fn graph(
    observation: &Observation,
    policy: &Policy,
    valid: &[&VectorIndex],
) -> (IndexKind, &'static str) {
    let planned = planned(observation, policy);
    let with = |kind: IndexKind| valid.iter().filter(move |index| includes(index.definition.kind, kind));
    if with(planned).any(|index| !includes(index.definition.kind, DENSE_GRAPH) && falls_short(index, policy))
    {
        return (DENSE_GRAPH, ", with more edges because one with fewer was measured below the target");
    }
    if with(DENSE_GRAPH).next().is_some() {
        return (DENSE_GRAPH, "");
    }
    if planned == GRAPH && with(GRAPH).next().is_none() {
        let sparse = || with(SPARSE_GRAPH).map(|index| (index, at_target(index)));
        let is_improved = |index, candidates| candidates > FEW_CANDIDATES || falls_short(index, policy);
        if sparse().any(|(index, setting)| setting.is_some_and(|of| is_improved(index, of.candidates))) {
            return (GRAPH, ", and one built with more candidates needs a lower ef_search");
        }
        if sparse().next().is_some() {
            return (SPARSE_GRAPH, "");
        }
    }
    (planned, "")
}

/// What an existing index of this definition should be rebuilt with: as dense as it is, and with as many candidates as
/// the build time allows.
pub(crate) fn rebuilt(index: &VectorIndex, observation: &Observation, policy: &Policy) -> IndexDefinition {
    let IndexDefinition { kind, precision } = index.definition;
    let kind = match kind {
        IndexKind::Hnsw { m, ef_construction, ef_insert } => {
            let better = IndexKind::Hnsw {
                m,
                ef_construction: ef_construction.max(EF_BUILD),
                ef_insert: lowered(index, observation).unwrap_or(ef_insert),
            };
            let is_ours = is_ours(&index.name, &observation.table.name);
            let is_fast = build_time(better, observation) <= policy.build_time();
            if is_ours && is_fast { better } else { kind }
        }
        IndexKind::Ivfflat { .. } => kind,
    };
    IndexDefinition { kind, precision }
}

/// The option `ef_construction` that `index` should have: one of ours may still have the option with which it was to be
/// built.
pub(super) fn lowered(index: &VectorIndex, observation: &Observation) -> Option<u32> {
    let is_ours = is_ours(&index.name, &observation.table.name);
    match index.definition.kind {
        IndexKind::Hnsw { m, ef_insert: EF_BUILD, .. } if is_ours => Some(EF_INSERT.max(2 * m)),
        IndexKind::Hnsw { .. } | IndexKind::Ivfflat { .. } => None,
    }
}

/// The change after a build with this definition.
pub(super) fn lowering(name: &str, definition: IndexDefinition) -> Option<IndexChange> {
    match definition.kind {
        IndexKind::Hnsw { ef_construction, ef_insert, .. } if ef_construction != ef_insert => {
            Some(IndexChange::SetConstruction { name: name.to_owned(), ef_construction: ef_insert })
        }
        IndexKind::Hnsw { .. } | IndexKind::Ivfflat { .. } => None,
    }
}

/// Whether an HNSW index of the kind `found` is at least as good as one of the kind `wanted`.
pub(super) fn includes(found: IndexKind, wanted: IndexKind) -> bool {
    match (found, wanted) {
        (
            IndexKind::Hnsw { m, ef_construction, .. },
            IndexKind::Hnsw { m: wanted_m, ef_construction: wanted_ef_construction, .. },
        ) => m >= wanted_m && ef_construction >= wanted_ef_construction,
        _ => false,
    }
}

fn falls_short(index: &VectorIndex, policy: &Policy) -> bool {
    index.measured.iter().any(|measured| {
        measured.filtering == Filtering::None
            && measured.depth == TARGET_DEPTH
            && measured.target >= policy.recall_target
            && measured.recall < policy.recall_target
    })
}

/// The size of the smallest HNSW index of full precision.
pub(super) fn full_bytes(observation: &Observation) -> u64 {
    let full = IndexDefinition { kind: SPARSE_GRAPH, precision: Precision::Full };
    full.estimated_bytes(observation.rows, observation.table.dimension)
}
