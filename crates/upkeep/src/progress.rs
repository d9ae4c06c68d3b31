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

/// Receives progress events.
pub type Observer<'a> = dyn Fn(Event<'_>) + Sync + 'a;
