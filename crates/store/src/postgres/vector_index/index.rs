//! A vector index and the search parameters that were measured for it.

use time::PrimitiveDateTime;

use crate::postgres::index_definition::{IndexDefinition, IndexKind};

/// The state of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Searches can use it.
    Valid,
    /// A session is building it.
    Building,
    /// Its build failed or was killed: it takes up space and slows down writes, but no search uses it.
    Invalid,
}

/// Whether searches of its table can use an index when it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexUse {
    /// They can.
    Searches,
    /// They cannot: it has another distance, column or type, or is partial; a user created it for another purpose.
    Others,
}

/// A vector index that a table has.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorIndex {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: IndexDefinition,
    /// Its state.
    pub state: IndexState,
    /// Whom it serves.
    pub service: IndexUse,
    /// Size on disk.
    pub size_bytes: u64,
    /// Its file, which changes with each build of the index.
    pub build: i64,
    /// The settings that were measured for this build.
    pub measured: Vec<MeasuredSetting>,
}

impl VectorIndex {
    /// Whether searches use it now.
    pub fn is_searched(&self) -> bool {
        self.state == IndexState::Valid && self.serves_searches()
    }

    /// Whether searches use it when it is valid.
    pub fn serves_searches(&self) -> bool {
        self.service == IndexUse::Searches
    }

    /// Whether it is a graph.
    pub fn is_graph(&self) -> bool {
        matches!(self.definition.kind, IndexKind::Hnsw { .. })
    }
}

/// Numbers of results for which settings are measured: common limits, and the number of candidates that a hybrid
/// search takes from each list.
pub const DEPTHS: [u32; 2] = [10, 100];

/// Whether a search has a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// No filter.
    None,
    /// A filter that leaves too many rows for an exact search.
    Some,
}

/// A search setting and its measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredSetting {
    /// The kind of searches.
    pub filtering: Filtering,
    /// Results of each search.
    pub depth: u32,
    /// `ivfflat.probes` or `hnsw.ef_search`.
    pub candidates: u32,
    /// The value when this build of the index was first measured for the same target; `None` before it is stored, and
    /// for settings of older versions.
    pub first_candidates: Option<u32>,
    /// The target recall.
    pub target: f64,
    /// Share of the nearest rows that was found.
    pub recall: f64,
    /// Lower bound of the 95 % confidence interval.
    pub recall_low: f64,
    /// Median time of a search.
    pub latency_ms: f64,
    /// Number of measured searches.
    pub sampled: u32,
    /// Rows of the table at that time.
    pub rows: u64,
    /// When, in UTC.
    pub measured_at: PrimitiveDateTime,
}

/// What a search parameter that was tried gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredPoint {
    /// `ivfflat.probes` or `hnsw.ef_search`.
    pub candidates: u32,
    /// Share of the nearest rows that was found.
    pub recall: f64,
    /// Lower bound of the 95 % confidence interval.
    pub recall_low: f64,
    /// Median time of a search.
    pub latency_ms: f64,
    /// Number of measured searches: few for a parameter that was given up early.
    pub sampled: u32,
}

/// A setting, and everything that was tried to find it.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// The setting.
    pub setting: MeasuredSetting,
    /// By candidates, ascending.
    pub curve: Vec<MeasuredPoint>,
}

/// The points of the last measurement of an index for one kind of searches.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredCurve {
    /// The index.
    pub index_name: String,
    /// The kind of searches.
    pub filtering: Filtering,
    /// Results of each search.
    pub depth: u32,
    /// By candidates, ascending.
    pub points: Vec<MeasuredPoint>,
}

impl From<&MeasuredSetting> for MeasuredPoint {
    fn from(setting: &MeasuredSetting) -> Self {
        let MeasuredSetting { candidates, recall, recall_low, latency_ms, sampled, .. } = *setting;
        Self { candidates, recall, recall_low, latency_ms, sampled }
    }
}

impl Filtering {
    /// Its name, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Some => "some",
        }
    }
}

/// The setting in `settings` for searches for `limit` rows: the shallowest that is deep enough, otherwise the
/// deepest.
pub(crate) fn measured(
    settings: &[MeasuredSetting],
    filtering: Filtering,
    limit: u32,
) -> Option<&MeasuredSetting> {
    let of_kind = || settings.iter().filter(|setting| setting.filtering == filtering);
    of_kind()
        .filter(|setting| setting.depth >= limit)
        .min_by_key(|setting| setting.depth)
        .or_else(|| of_kind().max_by_key(|setting| setting.depth))
}
