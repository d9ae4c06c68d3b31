//! Unattended maintenance of tables in use: dead rows and index entries, outdated indexes and search parameters,
//! statistics, and growing ledgers.
//!
//! 1. [`observe`] gathers the state of all tables;
//! 2. [`plan`] derives a plan only from that, the [`Policy`](crate::Policy) and the [`Limits`];
//! 3. [`maintain`] locks the maintenance of the database, plans, and executes the actions sequentially, recording
//!    each in `maintenance_actions`.

mod json;
mod limits;
mod observe;
mod plan;
mod run;

pub use json::{action_to_json, plan_to_json};
pub use limits::{InvalidQuietHours, Limits, QuietHours};
pub use observe::{Expired, Migration, Observed, ObservedTable, Vectors, observe, watched_tables};
pub use plan::{Action, Plan, Planned, SkippedTable, plan};
pub use run::{Done, Ending, Event, Interruption, Maintenance, Observer, Outcome, Round, maintain};
