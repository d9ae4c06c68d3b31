//! The searches of a process, counted in memory as they run; a few of them are kept whole.

mod filter_class;
mod latency;
mod watch;

pub(crate) use self::watch::SearchNote;
pub use self::{
    filter_class::{FilterClass, UnknownFilterClass},
    latency::{Latencies, Percentiles},
    watch::{SampledSearch, SearchTotals, SearchWatch},
};
