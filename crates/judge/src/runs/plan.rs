//! What a run asks, as it is stored with it: a later process needs nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::postgres::runs::{Run, RunShape, RunUsage, Subject};

use crate::{
    engine::{PlannedMetric, RunError},
    provider::limits::{Allowance, Spent},
    rubric::Mode,
};

/// What a run asks, but for its queries. Places in its lists are how tasks name models, metrics and judges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunPlan {
    pub(super) mode: RunMode,
    pub(super) models: Vec<PlannedModel>,
    pub(super) metrics: Vec<PlannedMetric>,
    pub(super) judges: Vec<PlannedModel>,
    /// Times that each judge is asked the same.
    pub(super) repeats: u16,
    /// With which models answer; judges are asked with 0.
    pub(super) temperature: f64,
    /// Whether a verdict on the same question by the same judge is taken from an earlier result.
    pub(super) uses_cache: bool,
    /// Further keys of each output.
    pub(super) metadata: Map<String, Value>,
    /// How many queries there are.
    pub(super) queries: u32,
    /// What was asked for, to tell a request that is sent again from another: `request_digest`.
    pub(super) request: String,
}

/// What is shown of a plan: the rest may be large.
#[derive(Debug, Deserialize)]
pub(super) struct PlanOutline {
    pub(super) mode: RunMode,
    pub(super) models: Vec<PlannedModel>,
    pub(super) metrics: Vec<MetricName>,
    pub(super) judges: Vec<PlannedModel>,
    pub(super) repeats: u16,
    pub(super) queries: u32,
    pub(super) request: String,
}

/// A metric of a plan.
#[derive(Debug, Deserialize)]
pub(super) struct MetricName {
    pub(super) id: String,
}

/// Whether answers are scored or compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RunMode {
    /// Each answer gets a score.
    #[default]
    Pointwise,
    /// The answers of each two models are compared, in both orders.
    Pairwise,
}

/// A model that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlannedModel {
    /// What its provider calls it.
    pub id: String,
    /// Its provider.
    pub provider: String,
}

/// The most that a run may use until it has to stop; what is absent, as much as it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
pub struct RunBudget {
    /// Calls, failed ones too.
    pub requests: Option<u64>,
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// USD. Only for models whose prices are known.
    pub cost_usd: Option<f64>,
    /// Seconds, from when the run was begun or resumed.
    pub wall_time_s: Option<u64>,
}

/// A plan with more models, metrics or judges than tasks can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names {count}, and at most {max} can be named", max = u16::MAX)]
pub(super) struct TooMany {
    count: usize,
}

impl RunPlan {
    /// How many tasks there are, and what they are about.
    ///
    /// # Errors
    /// When tasks could not name all of it, which no request can ask for.
    pub(super) fn shape(&self) -> Result<RunShape, TooMany> {
        let models = place(self.models.len())?;
        let subjects = match self.mode {
            RunMode::Pointwise => {
                (0..models).map(|model| Subject { model, opponent: None, swapped: false }).collect()
            }
            RunMode::Pairwise => (0..models)
                .flat_map(|model| (model + 1..models).map(move |opponent| (model, opponent)))
                .flat_map(|(model, opponent)| {
                    [false, true].map(|swapped| Subject { model, opponent: Some(opponent), swapped })
                })
                .collect(),
        };
        Ok(RunShape {
            models,
            subjects,
            metrics: place(self.metrics.len())?,
            judges: place(self.judges.len())?,
            repeats: self.repeats,
        })
    }
}

fn place(count: usize) -> Result<u16, TooMany> {
    u16::try_from(count).map_err(|_| TooMany { count })
}

impl From<RunMode> for Mode {
    fn from(mode: RunMode) -> Self {
        match mode {
            RunMode::Pointwise => Self::Pointwise,
            RunMode::Pairwise => Self::Pairwise,
        }
    }
}

impl RunBudget {
    /// # Errors
    /// When it is no budget.
    pub(super) fn check(&self) -> Result<(), RunError> {
        match self.cost_usd {
            Some(cost_usd) if !(cost_usd.is_finite() && cost_usd > 0.0) => {
                let reason = format!("expected a number above 0, found {cost_usd}");
                Err(RunError::refused("budget.cost_usd", reason))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn allowance(&self) -> Allowance {
        Allowance {
            requests: self.requests,
            tokens: self.tokens,
            cost_usd: self.cost_usd,
            wall_time: self.wall_time_s.map(Duration::from_secs),
        }
    }
}

/// What a run has used, `wall_time` after it began.
pub(super) fn spent(used: RunUsage, wall_time: Duration) -> Spent {
    let RunUsage { requests, tokens, cost_usd, without_usage, without_cost } = used;
    Spent { requests, tokens, cost_usd, without_usage, without_cost, wall_time }
}

/// The run's plan.
///
/// # Errors
/// What is wrong with it.
pub(super) fn plan_of<T: serde::de::DeserializeOwned>(run: &Run) -> Result<T, String> {
    if run.plan.is_empty() && !run.problems.is_empty() {
        // One of them says why.
        return Err(run.problems.join("; "));
    }
    stored("plan", &run.plan)
}

/// Reads what a process of ours has written.
///
/// # Errors
/// What is wrong with it.
pub(super) fn stored<T: serde::de::DeserializeOwned>(column: &str, json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| {
        format!("its {column} cannot be read, and may be of another version of Panopticon: {error}")
    })
}
