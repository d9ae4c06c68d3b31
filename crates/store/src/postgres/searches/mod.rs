//! Monitoring of vector searches: counters, replays that measure recall, and a history.
//!
//! A [`SearchWatch`] counts the searches of a process in memory and samples a few of them. Crate `upkeep` reads it,
//! replays the samples ([`Database::replay`](super::Database::replay)) and stores their vectors in
//! `vector_search_samples` and the measurements in `vector_search_history`. Texts and filters are never stored.

mod history;
mod replay;
mod samples;

pub use self::{
    history::{MeasuredRecall, SearchHistory, StoredHistory},
    replay::{Replay, ReplayedSearch},
    samples::StoredSample,
};
pub use super::search_watch::{
    FilterClass, Latencies, Percentiles, SampledSearch, SearchTotals, SearchWatch, UnknownFilterClass,
};
