//! What searches by vector do: counted as they run, made again to measure them, and kept as history.
//!
//! A [`SearchWatch`] counts the searches of a process in memory and keeps a few of them whole. Crate `upkeep` reads it,
//! makes those again ([`Database::replay`](super::Database::replay)), and keeps what comes of it: in
//! `vector_search_samples` the vectors, in `vector_search_history` the numbers. Texts and filters never leave memory.

mod history;
mod replay;
mod samples;

pub use self::{
    history::{KeptHistory, MeasuredRecall, SearchHistory},
    replay::{Replay, ReplayedSearch},
    samples::StoredSample,
};
pub use super::search_watch::{
    FilterClass, Latencies, Percentiles, SampledSearch, SearchTotals, SearchWatch, UnknownFilterClass,
};
