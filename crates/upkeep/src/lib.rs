//! The lifecycle of vector indexes: planning, building while the table is in use, and measuring recall.
//!
//! 1. `store` observes a table ([`store::postgres::vector_index::Observation`]);
//! 2. [`plan`] derives a [`Plan`] only from that and a [`Policy`]. The plan leaves no choices: it is printed, stored
//!    in `vector_index_plans`, and executed;
//! 3. [`apply`] locks the table's indexes, observes again, plans, and executes the plan step by step. The next
//!    observation detects what a crash left behind, and the next plan continues from there;
//! 4. `tune` measures which search parameters meet the recall target on the table's rows. Searches read them from
//!    `vector_index_settings`.
//!
//! [`doctor`] examines tables and server, and reports problems with fixes.
//!
//! `store` contains the SQL; `cli` prints.

mod apply;
pub mod doctor;
mod further;
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
pub use observe::{observe, tables, tables_and};
pub use plan::{Plan, TargetIndex, Tuning, plan};
pub use policy::{BuildUrgency, IndexType, Policy, UnknownIndexType};
pub use progress::{Event, Observer};
pub use recall::RecallCounter;
