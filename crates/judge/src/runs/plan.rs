//! The content of a run, stored with it: another process needs nothing else.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::postgres::runs::{Run, RunShape, RunUsage, Subject};

use crate::{
    engine::{PlannedMetric, RunError, metric::Metric},
    provider::limits::{Allowance, Spent},
    rubric::Mode,
};

/// The content of a run without its queries. Tasks refer to models, metrics and judges by their positions in its lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RunPlan {
    pub(super) mode: RunMode,
    pub(super) models: Vec<PlannedModel>,
    pub(super) metrics: Vec<PlannedMetric>,
    pub(super) judges: Vec<PlannedModel>,
    /// How often each judge is asked the same question.
    pub(super) repeats: u16,
    /// The temperature of the models that answer; judges use 0.
    pub(super) temperature: f64,
    /// Whether to reuse a verdict on the same question by the same judge from an earlier result.
    pub(super) uses_cache: bool,
    /// Additional keys of each output's metadata.
    pub(super) metadata: Map<String, Value>,
    /// Number of queries.
    pub(super) queries: u32,
    /// Digest of the request, to distinguish a retry from another request: `request_digest`.
    pub(super) request: String,
}

/// The parts of a plan that are shown: the rest may be large.
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

/// A resolved model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlannedModel {
    /// Its name at the provider.
    pub id: String,
    /// Its provider.
    pub provider: String,
}

/// Limits on what a run may use before it stops; absent ones are unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
pub struct RunBudget {
    /// Calls, including failed ones.
    pub requests: Option<u64>,
    /// Tokens, read and written.
    pub tokens: Option<u64>,
    /// USD. Only for models whose prices are known.
    pub cost_usd: Option<f64>,
    /// Seconds since the run was created or last resumed.
    pub wall_time_s: Option<u64>,
}

/// A plan with more models, metrics or judges than tasks can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has {count} entries, but at most {max} are allowed", max = u16::MAX)]
pub(super) struct TooManyEntries {
    count: usize,
}

impl RunPlan {
    /// The number and subjects of its tasks.
    ///
    /// # Errors
    /// When tasks cannot refer to all of it, which validation of requests prevents.
    pub(super) fn shape(&self) -> Result<RunShape, TooManyEntries> {
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

fn place(count: usize) -> Result<u16, TooManyEntries> {
    u16::try_from(count).map_err(|_| TooManyEntries { count })
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
    /// When it is invalid.
    pub(super) fn check(&self) -> Result<(), RunError> {
        match self.cost_usd {
            Some(cost_usd) if !(cost_usd.is_finite() && cost_usd > 0.0) => {
                let reason = format!("expected a number greater than 0, found {cost_usd}");
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

/// What a run has used after `wall_time`.
pub(super) fn spent(used: RunUsage, wall_time: Duration) -> Spent {
    let RunUsage { requests, tokens, cost_usd, without_usage, without_cost } = used;
    Spent { requests, tokens, cost_usd, without_usage, without_cost, wall_time }
}

/// The run's plan with its metrics.
///
/// # Errors
/// Why no process of this version can execute it.
pub(super) fn executable(run: &Run) -> Result<(RunPlan, Vec<Metric>), String> {
    let plan: RunPlan = plan_of(run)?;
    plan.shape().map_err(|error| format!("its plan cannot be executed: {error}"))?;
    let metrics = plan.metrics.iter().map(|metric| {
        Metric::planned(metric, plan.mode.into())
            .map_err(|error| format!("its metric `{}` cannot be used: {error}", metric.id))
    });
    let metrics = metrics.collect::<Result<_, _>>()?;
    Ok((plan, metrics))
}

/// The run's plan.
///
/// # Errors
/// The problem, if it is invalid.
pub(super) fn plan_of<T: serde::de::DeserializeOwned>(run: &Run) -> Result<T, String> {
    if run.plan.is_empty() && !run.problems.is_empty() {
        // One of them is the reason.
        return Err(run.problems.join("; "));
    }
    stored("plan", &run.plan)
}

/// Parses what another process has stored.
///
/// # Errors
/// The problem, if it is invalid.
pub(super) fn stored<T: serde::de::DeserializeOwned>(column: &str, json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| {
        format!("its {column} cannot be read, and may be from another version of Panopticon: {error}")
    })
}
