//! Progress events of work on a table's indexes.

use store::postgres::vector_index::IndexChange;

use crate::plan::Tuning;

/// A progress event.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A change starts.
    Change(&'a IndexChange),
    /// An index is being built.
    Building {
        /// Indexed rows.
        done: u64,
        /// Rows of the table.
        total: u64,
    },
    /// Measuring the search parameters of an index starts.
    Tuning(&'a Tuning),
    /// Searches were skipped because their vectors have no finite distance, such as zero vectors.
    LeftOut {
        /// Number of searches.
        searches: u64,
    },
    /// A search was measured.
    Measuring {
        /// Searches so far.
        done: u64,
        /// Searches of this kind.
        total: u64,
    },
}

impl Event<'_> {
    /// The step that begins, in words; `None` within a step.
    pub fn step(&self) -> Option<String> {
        Some(match self {
            Self::Change(IndexChange::Drop { name }) => format!("dropping index `{name}`"),
            Self::Change(IndexChange::Build { name, definition }) => {
                format!("building index `{name}`: {definition}")
            }
            Self::Change(IndexChange::Rename { from, to }) => format!("renaming index `{from}` to `{to}`"),
            Self::Change(IndexChange::SetConstruction { name, ef_construction }) => {
                format!("setting ef_construction of index `{name}` to {ef_construction}")
            }
            Self::Tuning(tuning) => {
                format!("tuning the search parameters of `{}`: {}", tuning.index, tuning.reason)
            }
            Self::LeftOut { searches } => {
                let vectors = if *searches == 1 { "vector has" } else { "vectors have" };
                format!("{searches} {vectors} no finite distance to any row: skipped")
            }
            Self::Building { .. } | Self::Measuring { .. } => return None,
        })
    }
}

/// Receives progress events.
pub type Observer<'a> = dyn Fn(Event<'_>) + Sync + 'a;
