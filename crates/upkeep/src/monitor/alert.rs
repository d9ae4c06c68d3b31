//! Alerts about the searches of a table.

use std::fmt;

use records::timestamp;
use serde_json::{Value, json};
use store::postgres::searches::{FilterClass, MeasuredRecall};
use time::PrimitiveDateTime;

/// A problem of the searches of one table and filter class.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The table.
    pub table: String,
    /// The filter class of the searches.
    pub filter_class: FilterClass,
    /// When it was detected, in UTC.
    pub since: PrimitiveDateTime,
    /// The last measurement.
    pub evidence: Evidence,
}

/// The measurement behind an alert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// The recall is significantly below the target.
    Recall {
        /// The measured recall.
        recall: MeasuredRecall,
        /// The target recall.
        target: f64,
    },
    /// The latency has increased.
    Latency {
        /// The current 95th percentile.
        p95_ms: f64,
        /// The median 95th percentile of the last days.
        baseline_ms: f64,
    },
    /// Searches return fewer results than requested, although more rows match.
    Results {
        /// Number of missing results.
        missing: u64,
        /// Number of replayed searches.
        replayed: u32,
    },
}

/// The kind of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// [`Evidence::Recall`]
    Recall,
    /// [`Evidence::Latency`]
    Latency,
    /// [`Evidence::Results`]
    Results,
}

/// A change of an alert's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The alert was raised.
    Raised,
    /// The alert was cleared.
    Cleared,
    /// The alert lapsed: nothing was measured for a day.
    Lapsed,
}

/// A change of an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    /// Time of the measurement that caused it, in UTC.
    pub at: PrimitiveDateTime,
    /// The change.
    pub change: Change,
    /// The alert, with that measurement.
    pub alert: Alert,
}

impl AlertKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Recall, Self::Latency, Self::Results];

    /// Its name on `/metrics` and in webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::Latency => "latency",
            Self::Results => "results",
        }
    }
}

impl Change {
    /// Its name in webhooks.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
            Self::Lapsed => "lapsed",
        }
    }
}

impl Evidence {
    /// Its kind.
    pub fn kind(self) -> AlertKind {
        match self {
            Self::Recall { .. } => AlertKind::Recall,
            Self::Latency { .. } => AlertKind::Latency,
            Self::Results { .. } => AlertKind::Results,
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Recall { .. } | Self::Results { .. } => {
                "run `panopticon maintain --once`, or `panopticon index apply`"
            }
            Self::Latency { .. } => "run `panopticon doctor`, then `panopticon maintain --once`",
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::Recall { recall, target } => json!({
                "recall": recall.mean,
                "recall_low": recall.low,
                "recall_high": recall.high,
                "target": target,
            }),
            Self::Latency { p95_ms, baseline_ms } => json!({"p95_ms": p95_ms, "baseline_ms": baseline_ms}),
            Self::Results { missing, replayed } => json!({"missing": missing, "replayed": replayed}),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recall { recall, target } => write!(
                f,
                "have a recall of {:.3}, at most {:.3}, and the target is {target}",
                recall.mean, recall.high
            ),
            Self::Latency { p95_ms, baseline_ms } => {
                write!(
                    f,
                    "take up to {p95_ms:.1} ms (95th percentile), compared with {baseline_ms:.1} ms \
                    in the last days"
                )
            }
            Self::Results { missing, replayed } => {
                write!(f, "miss {missing} existing results in {replayed} searches")
            }
        }
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, filter_class, evidence, .. } = self;
        write!(f, "searches of {table} (filter: {filter_class}) {evidence}")
    }
}

impl fmt::Display for AlertChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            Change::Raised => write!(f, "{}: {}", self.alert, self.alert.evidence.remedy()),
            Change::Cleared => write!(f, "the alert about {} is cleared", self.subject()),
            Change::Lapsed => {
                write!(f, "the alert about {} has lapsed: nothing was measured for a day", self.subject())
            }
        }
    }
}

impl AlertChange {
    fn subject(&self) -> String {
        let Alert { table, filter_class, evidence, .. } = &self.alert;
        format!("the {} of searches of {table} (filter: {filter_class})", evidence.kind().as_str())
    }

    /// The body of a webhook request: `event`, `alert`, `table`, `filter_class`, `since`, `at`, `text` and
    /// `measured`.
    pub fn to_json(&self) -> Value {
        let Self { at, change, alert } = self;
        let mut json = json!({
            "event": change.as_str(),
            "alert": alert.evidence.kind().as_str(),
            "table": alert.table,
            "filter_class": alert.filter_class.as_str(),
            "since": timestamp::format(alert.since),
            "at": timestamp::format(*at),
            "text": self.to_string(),
        });
        json["measured"] = alert.evidence.to_json();
        json
    }
}
