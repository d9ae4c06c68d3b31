//! What keeps tables in order while they are used, unattended: dead rows and index entries, indexes and settings that no
//! longer fit, statistics, and ledgers that grow.
//!
//! 1. [`observe`] gathers what is known of all tables;
//! 2. [`plan`] decides from that, the [`Policy`](crate::Policy) and the [`Limits`] alone;
//! 3. [`maintain`] holds the maintenance of the database, plans, and carries the plan out, one action after the other,
//!    each of which it records in `maintenance_actions`.

mod json;
mod limits;
mod observe;
mod plan;
mod run;

pub use json::{action_to_json, plan_to_json};
pub use limits::{InvalidQuietHours, Limits, QuietHours};
pub use observe::{Expired, Migration, Observed, ObservedTable, Vectors, observe, watched_tables};
pub use plan::{Action, LeftAlone, Plan, Planned, plan};
pub use run::{Done, Ending, Event, Interruption, Maintenance, Observer, Outcome, Round, maintain};
