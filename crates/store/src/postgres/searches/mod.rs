//! What searches by vector do: counted as they run, made again to measure them, and kept as history.
//!
//! A [`SearchWatch`] counts the searches of a process in memory and keeps a few of them whole. Crate `upkeep` reads it,
//! makes those again ([`Database::replay`](super::Database::replay)), and keeps what comes of it: in
//! `vector_search_samples` the vectors, in `vector_search_history` the numbers. Texts and filters never leave memory.

mod filter_class;
mod history;
mod latency;
mod replay;
mod samples;
mod watch;

pub(crate) use self::watch::SearchNote;
pub use self::{
    filter_class::{FilterClass, UnknownFilterClass},
    history::{MeasuredRecall, SearchHistory},
    latency::{Latencies, Percentiles},
    replay::{Replay, ReplayedSearch},
    samples::StoredSample,
    watch::{SampledSearch, SearchTotals, SearchWatch},
};
