//! Pages, batches, and other types that all resources share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Entries, LaxWhole, Whole};
use crate::{
    answer::{Details, Pagination},
    request::Object,
};

/// A page by number.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct PageParameters {
    /// Page number.
    #[serde(default)]
    pub(crate) page: LaxWhole<1, { i32::MAX as u32 }, 1>,
    /// Records per page.
    #[serde(default)]
    pub(crate) limit: LaxWhole<1, 100, 10>,
}

impl PageParameters {
    /// Number of records before the page.
    pub(crate) fn offset(self) -> u64 {
        (u64::from(self.page.get()) - 1) * u64::from(self.limit.get())
    }

    /// The position of the page among `total` records.
    pub(crate) fn among(self, total: u64) -> Pagination {
        let (page, limit) = (self.page.get(), self.limit.get());
        Pagination { page, limit, total, pages: total.div_ceil(limit.into()) }
    }
}

/// A page by cursor.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct KeysetParameters {
    /// Maximum number of records.
    #[serde(default)]
    pub(crate) limit: Whole<1, 1000, 100>,
    /// `next_cursor` of the previous response.
    pub(crate) cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeysetPage<T> {
    /// The records, newest first.
    pub(crate) items: Vec<T>,
    /// The `cursor` of the next page; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// The number of records.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Count {
    pub(crate) count: u64,
}

/// Whether the response includes details of the embedding.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct EmbeddingInfo {
    /// Adds `panopticon:embedding` to the metadata of the response: `tokens`, the number of embedded word pieces, and
    /// `truncated`, whether the text has more. It is not stored.
    #[serde(default)]
    pub(crate) embedding_info: bool,
}

/// Records to store in one call.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Batch<T> {
    pub(crate) items: Entries<Object<T>, 1, 1000>,
    #[serde(default)]
    pub(crate) on_error: OnError,
}

/// What to do if a record of the batch cannot be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum OnError {
    /// Store none of the records.
    #[default]
    Abort,
    /// Store the other records, and report the outcome of each.
    Continue,
}

/// The outcome of a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredBatch<T> {
    /// The outcome of each record, in the order of the batch.
    pub(crate) items: Vec<BatchItem<T>>,
    /// Number of records that are stored, by this or by an earlier request.
    pub(crate) stored: usize,
}

/// The outcome of a record of a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BatchItem<T> {
    pub(crate) status: ItemStatus,
    /// Its id.
    pub(crate) id: String,
    /// The record, if it is stored.
    pub(crate) record: Option<T>,
    /// Why it is not stored, if so.
    pub(crate) error: Option<Details>,
}

/// The outcome of a record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ItemStatus {
    /// It was stored.
    Stored,
    /// The same record was already stored.
    Unchanged,
    /// A record with this id and other content exists.
    Conflict,
    /// It cannot be stored.
    Refused,
}

/// The ids of the records.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Fetch {
    pub(crate) ids: Entries<String, 1, 1000>,
}

/// Records by their ids.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Fetched<T> {
    /// The existing records, in the order of the ids.
    pub(crate) items: Vec<T>,
    /// Ids that no record has.
    pub(crate) missing: Vec<String>,
}
