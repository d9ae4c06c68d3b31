//! The three services whose records Panopticon keeps.

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

/// A service name that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownService(pub String);

impl Service {
    /// All services, in the order in which they are listed and migrated.
    pub const ALL: [Self; 3] = [Self::Query, Self::Evaluation, Self::Judge];

    /// The service's own name, as the command line prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Evaluation => "evaluation",
            Self::Judge => "judge",
        }
    }

    /// The name that both its Chroma collection and its PostgreSQL table carry.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Query => "queries",
            Self::Evaluation => "evaluation_metrics",
            Self::Judge => "llm_outputs",
        }
    }
}

impl FromStr for Service {
    type Err = UnknownService;

    /// Accepts the service's name or what it keeps: `query`/`queries`, `evaluation`/`metrics`, `judge`/`outputs`.
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
