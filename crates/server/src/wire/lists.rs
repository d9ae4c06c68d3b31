//! Pages, batches, and what else is the same for every resource.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Entries, LaxWhole, Whole};
use crate::{
    answer::{Details, Pagination},
    request::Object,
};

/// Which page is meant.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct PageParameters {
    /// Number of the page.
    #[serde(default)]
    pub(crate) page: LaxWhole<1, { i32::MAX as u32 }, 1>,
    /// Records on a page.
    #[serde(default)]
    pub(crate) limit: LaxWhole<1, 100, 10>,
}

impl PageParameters {
    /// How many records come before the page.
    pub(crate) fn offset(self) -> u64 {
        (u64::from(self.page.get()) - 1) * u64::from(self.limit.get())
    }

    /// Where the page lies among `total` records.
    pub(crate) fn among(self, total: u64) -> Pagination {
        let (page, limit) = (self.page.get(), self.limit.get());
        Pagination { page, limit, total, pages: total.div_ceil(limit.into()) }
    }
}

/// Where a list goes on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct KeysetParameters {
    /// Most records that are wanted.
    #[serde(default)]
    pub(crate) limit: Whole<1, 1000, 100>,
    /// `next_cursor` of the answer before.
    pub(crate) cursor: Option<String>,
}

/// A part of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeysetPage<T> {
    /// The records, newest first.
    pub(crate) items: Vec<T>,
    /// What to give as `cursor` for those after them; null at the end.
    pub(crate) next_cursor: Option<String>,
}

/// How many records are meant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Count {
    pub(crate) count: u64,
}

/// Whether the answer says how the text was embedded.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
pub(crate) struct EmbeddingInfo {
    /// Adds `panopticon:embedding` to the answer's metadata: `tokens`, the word pieces that count, and `truncated`,
    /// whether there were more. It is not stored.
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

/// What becomes of a batch of which a record cannot be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum OnError {
    /// Nothing of it is stored.
    #[default]
    Abort,
    /// The others are stored, and the answer says what became of each.
    Continue,
}

/// What became of a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct StoredBatch<T> {
    /// What became of each record, in the order of the batch.
    pub(crate) items: Vec<BatchItem<T>>,
    /// How many were stored, now or by an earlier request.
    pub(crate) stored: usize,
}

/// What became of a record of a batch.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BatchItem<T> {
    pub(crate) status: ItemStatus,
    /// Its id.
    pub(crate) id: String,
    /// The stored record, if it is.
    pub(crate) record: Option<T>,
    /// Why it is not, if it is not.
    pub(crate) error: Option<Details>,
}

/// What became of a record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum ItemStatus {
    /// It is stored.
    Stored,
    /// It was there already and says the same.
    Unchanged,
    /// Another record has its id.
    Conflict,
    /// It cannot be stored.
    Refused,
}

/// Which records are meant.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Fetch {
    pub(crate) ids: Entries<String, 1, 1000>,
}

/// Records by their ids.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Fetched<T> {
    /// Those that exist, in the order of the ids.
    pub(crate) items: Vec<T>,
    /// Ids that no record has.
    pub(crate) missing: Vec<String>,
}
