//! The handlers: each extracts, calls one function, and returns a type.

pub(crate) mod contract;
pub(crate) mod evaluations;
pub(crate) mod extended;
pub(crate) mod labels;
pub(crate) mod operation;
pub(crate) mod results;
pub(crate) mod runs;
pub(crate) mod summaries;
