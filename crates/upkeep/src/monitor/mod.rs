//! Monitors recall and latency of searches, and raises alerts.
//!
//! A [`Monitor`] makes a pass every few minutes. It reads the counters of the process's searches, stores some of
//! their vectors, replays a few and compares them with exact scans ([`measure`]), and writes the results to
//! `vector_search_history`. Alerts are derived only from the history ([`alerts`]).

mod alert;
mod drift;
mod measure;
mod pass;
mod webhook;
mod window;

use std::time::Duration;

pub use alert::{Alert, AlertChange, AlertKind, Change, Evidence};
pub use drift::{Alerts, BASELINE, alerts};
pub use measure::{Measurement, Pace, measure, searches_for_rows};
pub use pass::{Monitor, Pass};
pub use webhook::{Webhook, WebhookError};

/// Configuration of the monitor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorConfig {
    /// Interval between passes, five minutes by default. Shorter ones contain too few searches to judge latency;
    /// longer ones delay alerts.
    pub interval: Duration,
    /// Searches of each table and class that are replayed in a pass, 20 by default. An exact scan reads the complete
    /// table; with fewer than ten, a judgement takes several passes.
    pub replays: u32,
    /// The target recall.
    pub recall_target: f64,
    /// Retention of sampled query vectors, a week by default.
    pub sample_retention: Duration,
    /// Retention of the history, 90 days by default. Less than a week truncates the baseline.
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
