//! The judge at work: models answer queries, and other models judge the answers.
//!
//! Entry point: [`Judging`]. `models` chooses and calls models, `sources` finds queries and metrics, `plan` refuses what
//! cannot be done before anybody is paid, `evaluate` has one query answered and judged, `runs` many in the background.
//! `output` is what becomes of an answer, `judgement` what a judge is asked and what its words are worth.

mod evaluate;
mod judgement;
mod models;
mod output;
mod plan;
mod runs;
mod sources;

use std::sync::Arc;

use ::records::Service;
use judge::provider::Error;
use store::postgres::Database;

pub use models::{Patience, ProviderAccess};
pub use runs::{RunError, RunnerConfig, Runs};
pub use sources::{RecordSource, RemoteService};

pub(crate) use evaluate::{Evaluated, Evaluation, FailedQuery};
pub(crate) use plan::{Plan, Question, Wanted};
pub(crate) use runs::{PlannedModel, RunBudget, RunMode, RunProgress, RunWatch, WantedQueries, WantedRun};

use models::Models;

/// What the judge needs beside the storage of its outputs.
#[derive(Clone, Debug)]
pub struct JudgeConfig {
    /// Where the queries of a theme are.
    pub queries: RecordSource,
    /// Where the evaluation metrics are.
    pub metrics: RecordSource,
    /// Whom models are asked of. A model of another provider is refused.
    pub providers: Vec<ProviderAccess>,
    /// With what temperature models answer queries, 0 to 2. Judges are asked with 0, so that they say the same again.
    pub temperature: f64,
    /// How many calls are made, and how often each.
    pub patience: Patience,
}

/// The judge, with its results and models in a PostgreSQL database whatever keeps its outputs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Judging {
    pub(crate) database: Database,
    queries: RecordSource,
    metrics: RecordSource,
    temperature: f64,
    pub(crate) models: Arc<Models>,
}

impl Judging {
    /// Makes ready for calls; calls nobody.
    ///
    /// # Errors
    /// When the configuration of a provider is wrong.
    pub fn new(database: Database, config: JudgeConfig) -> Result<Self, Error> {
        let JudgeConfig { queries, metrics, providers, temperature, patience } = config;
        let database = database.of_service(Service::Judge);
        let models = Arc::new(Models::new(database.clone(), &providers, patience)?);
        Ok(Self { database, queries, metrics, temperature, models })
    }
}
