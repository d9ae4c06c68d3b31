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

/// The position of a page in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Pagination {
    /// Page number, from 1.
    pub(crate) page: u32,
    /// Records per page.
    pub(crate) limit: u32,
    /// Total number of records.
    pub(crate) total: u64,
    /// Total number of pages.
    pub(crate) pages: u64,
}
