//! The three services whose records Panopticon stores.

use std::{fmt, str::FromStr};

/// One of the three services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Test prompts by theme.
    Query,
    /// Judge prompts by metric type.
    Evaluation,
    /// Outputs of the models under test.
    Judge,
}

/// A metadata key that each record of a service has, besides the user's keys. The service's table also has it as a
/// column of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnKey {
    /// The key, and the column.
    pub name: &'static str,
    /// The value for a record without the key.
    pub default: &'static str,
}

/// An unknown service name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownService(pub String);

impl Service {
    /// All services, in the order in which they are listed and migrated.
    pub const ALL: [Self; 3] = [Self::Query, Self::Evaluation, Self::Judge];

    /// The service's name, as the command line prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Evaluation => "evaluation",
            Self::Judge => "judge",
        }
    }

    /// The name of its Chroma collection and of its PostgreSQL table.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Query => "queries",
            Self::Evaluation => "evaluation_metrics",
            Self::Judge => "llm_outputs",
        }
    }

    /// The column of its table with the text that is embedded.
    pub fn text_column(self) -> &'static str {
        match self {
            Self::Query => "query_text",
            Self::Evaluation => "prompt",
            Self::Judge => "output_text",
        }
    }

    /// Its own keys, in the order of their columns. The first is the category.
    pub fn own_keys(self) -> &'static [OwnKey] {
        const THEME: OwnKey = OwnKey { name: "theme", default: "unknown" };
        const METRIC_TYPE: OwnKey = OwnKey { name: "metric_type", default: "unknown" };
        const MODEL: OwnKey = OwnKey { name: "model_id", default: "unknown" };
        const QUERY: OwnKey = OwnKey { name: "query", default: "" };
        match self {
            Self::Query => &[THEME],
            Self::Evaluation => &[METRIC_TYPE],
            Self::Judge => &[THEME, MODEL, QUERY],
        }
    }

    /// Its own key `name`, if it has that.
    pub fn own_key(self, name: &str) -> Option<OwnKey> {
        self.own_keys().iter().copied().find(|key| key.name == name)
    }

    /// The key, and column, of the category: theme or metric type.
    pub fn category_key(self) -> &'static str {
        self.own_keys()[0].name
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    /// Accepts the service's name or its kind of record: `query`/`queries`, `evaluation`/`metrics`, `judge`/`outputs`.
    fn from_str(name: &str) -> Result<Self, UnknownService> {
        match name {
            "query" | "queries" => Ok(Self::Query),
            "evaluation" | "metrics" => Ok(Self::Evaluation),
            "judge" | "outputs" => Ok(Self::Judge),
            _ => Err(UnknownService(name.to_owned())),
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for UnknownService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown service `{}`: expected query, evaluation (alias metrics) or judge (alias outputs)",
            self.0
        )
    }
}

impl std::error::Error for UnknownService {}
