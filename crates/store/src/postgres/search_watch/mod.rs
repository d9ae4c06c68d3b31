//! Counts the searches of a process in memory and samples a few of them.

mod filter_class;
mod latency;
mod watch;

pub(crate) use self::watch::SearchNote;
pub use self::{
    filter_class::{FilterClass, UnknownFilterClass},
    latency::{Latencies, Percentiles},
    watch::{SampledSearch, SearchTotals, SearchWatch},
};
