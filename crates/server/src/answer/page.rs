//! Pages of lists.

use schemars::JsonSchema;
use serde::Serialize;

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// The records, newest first.
    pub(crate) items: Vec<T>,
    pub(crate) pagination: Pagination,
}

/// Where a page lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Pagination {
    /// Its number, from 1.
    pub(crate) page: u32,
    /// Records on a page.
    pub(crate) limit: u32,
    /// Records in all.
    pub(crate) total: u64,
    /// Pages in all.
    pub(crate) pages: u64,
}
