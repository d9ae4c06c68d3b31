//! The life of vector indexes: what a table should have, how it gets there while it is in use, and whether searches find
//! what is there.
//!
//! 1. `store` observes a table ([`store::postgres::vector_index::Observation`]);
//! 2. [`plan`] decides from that and a [`Policy`] alone, and leaves no choices: the [`Plan`] is what is printed, kept in
//!    `vector_index_plans`, and carried out;
//! 3. [`apply`] holds the table's indexes, observes again, plans, and carries the plan out step by step. What a crash
//!    leaves behind is seen by the next observation, so the next plan goes on from there;
//! 4. `tune` measures which search settings meet the recall target on the table's own rows. Searches read them from
//!    `vector_index_settings`.
//!
//! [`doctor`] looks at all of it at once, and at the server, and says what hurts and what to do about it.
//!
//! SQL is `store`'s business; printing is `cli`'s.

mod apply;
pub mod doctor;
mod json;
pub mod maintenance;
pub mod monitor;
mod names;
mod observe;
mod plan;
mod policy;
mod progress;
mod questions;
mod recall;
mod tune;

pub use apply::{Applied, Error, apply, apply_after_copy, drop_half_precision, retune};
pub use json::{observation_to_json, plan_to_json, setting_to_json};
pub use observe::{observe, tables};
pub use plan::{Plan, Tuning, Wanted, plan};
pub use policy::{Haste, IndexType, Policy, UnknownIndexType};
pub use progress::{Event, Observer};
pub use recall::FoundShare;
