//! Estimates from many judgements, with their uncertainty. Pure functions.
//!
//! Entry points: [`summarize`] and [`win_rate`] for one model, [`compare`] for two, [`agreement`] and
//! [`winner_agreement`] for a judge and people, [`krippendorff`] for several people, [`position`] for position bias.
//!
//! Standard errors follow E. Miller, "Adding Error Bars to Evals" (2024, arXiv:2411.00640), clustered by query: several
//! answers to one query, or several judgements of one answer, are not independent.

mod agreement;
mod bootstrap;
mod compare;
mod histogram;
mod krippendorff;
mod position;
mod proportion;
mod summary;

pub use agreement::{Agreement, WinnerAgreement, agreement, winner_agreement};
pub use bootstrap::{Bootstrap, Interval};
pub use compare::{Comparison, compare};
pub use histogram::{Bin, histogram};
pub use krippendorff::{Alpha, LabelScale, krippendorff};
pub use position::{PositionBias, position};
pub use proportion::share_interval;
pub use summary::{Summary, WinRate, summarize, win_rate};
