//! What is told of the work on a table's indexes while it is done.

use store::postgres::vector_index::IndexChange;

use crate::plan::Tuning;

/// What is being done.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A change begins.
    Change(&'a IndexChange),
    /// An index is being built.
    Building {
        /// Rows that are in it.
        done: u64,
        /// Rows of the table.
        total: u64,
    },
    /// The search settings of an index begin to be measured.
    Tuning(&'a Tuning),
    /// So many searches of a kind measured nothing, since no distance from their vector is finite, as from one of zeros.
    LeftOut {
        /// How many.
        searches: u64,
    },
    /// A search was made to measure them.
    Measuring {
        /// Searches so far.
        done: u64,
        /// Searches of this kind.
        total: u64,
    },
}

/// Is told what is being done.
pub type Observer<'a> = dyn Fn(Event<'_>) + Sync + 'a;
