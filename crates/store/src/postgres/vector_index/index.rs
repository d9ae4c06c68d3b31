//! A vector index and the search parameters that were measured for it.

use time::PrimitiveDateTime;

use crate::postgres::index_definition::{IndexDefinition, IndexKind};

/// How far an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// Searches can use it.
    Valid,
    /// Some session builds it now.
    Building,
    /// A build failed or was killed: it takes space, slows writes down, and serves nothing.
    Invalid,
}

/// Whether the searches of its table can use an index once it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexUse {
    /// They can.
    Searches,
    /// It has another distance, column or type, or a part of the rows: somebody made it for a purpose of their own.
    Others,
}

/// A vector index that a table has.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorIndex {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: IndexDefinition,
    /// How far it is.
    pub state: IndexState,
    /// Whom it serves.
    pub service: IndexUse,
    /// Size on disk.
    pub size_bytes: u64,
    /// Its file: another build of the same index has another one.
    pub build: i64,
    /// The settings that were measured for this very build.
    pub measured: Vec<MeasuredSetting>,
}

impl VectorIndex {
    /// Whether searches use it now.
    pub fn is_searched(&self) -> bool {
        self.state == IndexState::Valid && self.serves_searches()
    }

    /// Whether searches use it once it is valid.
    pub fn serves_searches(&self) -> bool {
        self.service == IndexUse::Searches
    }

    /// Whether it is a graph.
    pub fn is_graph(&self) -> bool {
        matches!(self.definition.kind, IndexKind::Hnsw { .. })
    }
}

/// Numbers of results that settings are measured for: what people ask for, and what a search by vector and words
/// together takes from each of both.
pub const DEPTHS: [u32; 2] = [10, 100];

/// Whether a search asks for more than nearness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Any row will do.
    None,
    /// Only rows with certain values, and too many of those to measure each.
    Some,
}

/// A search setting, and what it was measured to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredSetting {
    /// What kind of searches it is for.
    pub filtering: Filtering,
    /// Results of each search.
    pub depth: u32,
    /// `ivfflat.probes` or `hnsw.ef_search`.
    pub candidates: u32,
    /// What it was when this build of the index was measured first for the same target; `None` while it is not kept, and
    /// where it was kept before anybody noted it.
    pub first_candidates: Option<u32>,
    /// The recall that was asked for.
    pub target: f64,
    /// Share of the nearest rows that was found.
    pub recall: f64,
    /// With 95 % confidence the recall is not below it.
    pub recall_low: f64,
    /// Median time of a search.
    pub latency_ms: f64,
    /// Searches that were made.
    pub sampled: u32,
    /// Rows of the table then.
    pub rows: u64,
    /// When, in UTC.
    pub measured_at: PrimitiveDateTime,
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

/// The setting of `settings` for searches for `limit` rows: of those that are deep enough the shallowest, else the
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
