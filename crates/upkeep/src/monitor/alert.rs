//! What is wrong with the searches of a table, in words and numbers.

use std::fmt;

use records::timestamp;
use serde_json::{Value, json};
use store::postgres::searches::{FilterClass, MeasuredRecall};
use time::PrimitiveDateTime;

/// Something that is wrong with the searches of one table and class.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The table.
    pub table: String,
    /// What the searches ask for besides nearness.
    pub filter_class: FilterClass,
    /// When it was noticed, in UTC.
    pub since: PrimitiveDateTime,
    /// What was measured last.
    pub evidence: Evidence,
}

/// What an alert rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// Searches surely find less than the target.
    Recall {
        /// What they find.
        recall: MeasuredRecall,
        /// The recall that was wanted.
        target: f64,
    },
    /// Searches take longer than they did.
    Latency {
        /// 95 % take no longer now.
        p95_ms: f64,
        /// Nor did so many in the median of the last days.
        baseline_ms: f64,
    },
    /// Searches return less than was asked for, although it is there.
    Results {
        /// Results that are missing.
        missing: u64,
        /// From so many searches.
        replayed: u32,
    },
}

/// Which kind of alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// [`Evidence::Recall`]
    Recall,
    /// [`Evidence::Latency`]
    Latency,
    /// [`Evidence::Results`]
    Results,
}

/// Whether an alert begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins.
    Raised,
    /// It is over.
    Cleared,
    /// Nobody knows any more: nothing was measured for a day.
    Lapsed,
}

/// An alert that begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    /// When, in UTC: the time of the measurement that shows it.
    pub at: PrimitiveDateTime,
    /// Which of both.
    pub change: Change,
    /// The alert, with what was measured then.
    pub alert: Alert,
}

impl AlertKind {
    /// All of them.
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
            Self::Latency { .. } => "look at `panopticon doctor`, then run `panopticon maintain --once`",
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
                "find {:.3} of the nearest rows, {:.3} at the most, and {target} are wanted",
                recall.mean, recall.high
            ),
            Self::Latency { p95_ms, baseline_ms } => {
                write!(f, "take up to {p95_ms:.1} ms (95 %), and took {baseline_ms:.1} ms in the last days")
            }
            Self::Results { missing, replayed } => {
                write!(f, "lack {missing} results that are there, in {replayed} searches")
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
            Change::Cleared => write!(f, "the alert about {} is over", self.subject()),
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

    /// What a webhook is told: `event`, `alert`, `table`, `filter_class`, `since`, `at`, `text`, and what was measured.
    pub fn to_json(&self) -> Value {
        let Self { at, change, alert } = self;
        let mut json = json!({
            "event": match change {
                Change::Raised => "raised",
                Change::Cleared => "cleared",
                Change::Lapsed => "lapsed",
            },
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
