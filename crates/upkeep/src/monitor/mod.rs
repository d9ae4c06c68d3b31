//! Watches what searches find and how long they take, and says when they get worse.
//!
//! A [`Monitor`] makes a pass each few minutes. It reads what was counted of the process's searches, keeps some of their
//! vectors, makes a few again beside exact ones ([`measure`]), and writes all that into `vector_search_history`. What is
//! wrong follows from the history alone ([`alerts`]).

mod alert;
mod drift;
mod measure;
mod pass;
mod webhook;
mod window;

use std::time::Duration;

pub use alert::{Alert, AlertChange, AlertKind, Change, Evidence};
pub use drift::{Alerts, alerts};
pub use measure::{Measurement, Pace, measure, searches_for_rows};
pub use pass::{Monitor, Pass};
pub use webhook::{Webhook, WebhookError};

/// How searches are watched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorConfig {
    /// From one pass to the next, five minutes by default. Shorter ones have too few searches to say how long they take,
    /// longer ones tell late.
    pub interval: Duration,
    /// Searches of each table and class that are made again in a pass, 20 by default. An exact search reads the whole
    /// table; of fewer than ten, several passes have to be waited for until they say something.
    pub replays: u32,
    /// The recall that is wanted.
    pub recall_target: f64,
    /// How long vectors are kept that were searched for, a week by default.
    pub sample_retention: Duration,
    /// How long the history is kept, 90 days by default. Less than a week takes the baseline away.
    pub history_retention: Duration,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            interval: Duration::from_secs(300),
            replays: 20,
            recall_target: 0.98,
            sample_retention: 7 * DAY,
            history_retention: 90 * DAY,
        }
    }
}
