//! Conditions on the records of a collection, in which metadata and documents may be combined.

use super::{DocumentTest, Test};

/// A condition on a record.
#[derive(Clone, Debug, PartialEq)]
pub enum RecordFilter {
    /// All of them; every record if there are none.
    And(Vec<RecordFilter>),
    /// At least one of them; no record if there are none.
    Or(Vec<RecordFilter>),
    /// A test of the value of a metadata key.
    Key {
        /// The metadata key.
        key: String,
        /// The test of its value.
        test: Test,
    },
    /// A test of the document.
    Document(DocumentTest),
}
