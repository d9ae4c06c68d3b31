//! What the owner of a database wants of its indexes.

use std::{fmt, str::FromStr};

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Which kind of index.
    pub index_type: IndexType,
    /// The share of the ten nearest rows that searches are to find, above 0 and at most 1; 0.98 by default. A lower one
    /// loses rows, a higher one costs time: of 50,000 sentences 0.99 took twice the time of 0.98.
    pub recall_target: f64,
    /// Whether somebody waits for the index.
    pub haste: Haste,
}

/// Which kind of index a table is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexType {
    /// The one that suits the table, or none while it is small.
    Auto,
    /// Lists.
    Ivfflat,
    /// A graph.
    Hnsw,
    /// None: searches look at every row.
    None,
}

/// Whether somebody waits for an index to be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Nobody: the best index may take its time.
    None,
    /// A migration does, whose rows nobody searches yet: lists are built ten times as fast as a graph, which can replace
    /// them later.
    Migration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { index_type: IndexType::Auto, recall_target: 0.98, haste: Haste::None }
    }
}

/// A name that no kind of index has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIndexType(pub String);

impl IndexType {
    const ALL: [Self; 4] = [Self::Auto, Self::Ivfflat, Self::Hnsw, Self::None];

    /// Its name in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ivfflat => "ivfflat",
            Self::Hnsw => "hnsw",
            Self::None => "none",
        }
    }
}

impl FromStr for IndexType {
    type Err = UnknownIndexType;

    fn from_str(name: &str) -> Result<Self, UnknownIndexType> {
        let found = Self::ALL.into_iter().find(|index_type| index_type.as_str() == name);
        found.ok_or_else(|| UnknownIndexType(name.to_owned()))
    }
}

impl fmt::Display for UnknownIndexType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = IndexType::ALL.map(IndexType::as_str).join(", ");
        write!(f, "unknown type of vector index `{}`: expected one of {known}", self.0)
    }
}

impl std::error::Error for UnknownIndexType {}
