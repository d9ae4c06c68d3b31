//! The engine: models answer queries, other models judge the answers, and all results are stored. A library with its
//! own requests and errors; the services and the command line are two front ends of it.
//!
//! Entry point: [`Judging`], which evaluates one query or a theme while its caller waits; [`crate::runs`] executes many
//! in the background. `models` chooses and calls models, `sources` finds queries and metrics, `metric` and `evaluate`
//! reject invalid requests before any paid call. `answer` and `outputs` process a model's answer, `judgement` creates
//! a judge's request and parses its answer.

pub(crate) mod answer;
mod error;
mod evaluate;
pub(crate) mod judgement;
pub(crate) mod metric;
pub(crate) mod models;
mod observer;
pub(crate) mod outputs;
mod sources;

use std::{fmt, sync::Arc};

use embed::Embedder;
use records::Service;
use store::{memory_budget::MemoryBudget, postgres::Database, storage::Storage};

pub use error::{Fault, NoOutput, RunError};
pub use evaluate::{
    Evaluated, Evaluation, EvaluationPlan, EvaluationRequest, FailedQuery, MAX_METADATA_BYTES,
};
pub use metric::{PlannedMetric, Question};
pub use models::{CallLimits, Models, ProviderAccess};
pub use observer::{Observation, Observer};
pub use sources::{RecordSource, StoredRecords};

pub(crate) use evaluate::{check_bytes, check_metadata};

use self::outputs::OutputStore;
use crate::{parse::Scale, provider::Error, rubric::DEFAULT_SCALE};

/// The dependencies and settings of the engine.
#[derive(Clone)]
pub struct JudgeConfig {
    /// The source of queries.
    pub queries: Arc<dyn RecordSource>,
    /// The source of metrics.
    pub metrics: Arc<dyn RecordSource>,
    /// The storage of outputs.
    pub outputs: Arc<dyn Storage>,
    /// Embeds the outputs' texts.
    pub embedder: Arc<Embedder>,
    /// The providers. Models of other providers are rejected.
    pub providers: Vec<ProviderAccess>,
    /// The temperature with which models answer queries, 0 to 2. Judges use 0, for reproducible verdicts.
    pub temperature: f64,
    /// Limits of calls and retries.
    pub patience: CallLimits,
    /// Observes operations of storages and of the embedding model.
    pub observer: Observer,
}

/// The judge. Its results and models are in a PostgreSQL database, independent of the storage of its outputs. Cheap to
/// clone.
#[derive(Clone)]
pub struct Judging {
    pub(crate) database: Database,
    pub(crate) queries: Arc<dyn RecordSource>,
    pub(crate) metrics: Arc<dyn RecordSource>,
    pub(crate) outputs: OutputStore,
    pub(crate) temperature: f64,
    pub(crate) models: Arc<Models>,
    pub(crate) observer: Observer,
    /// Memory for the texts of the evaluations for which clients wait.
    texts: MemoryBudget,
}

impl Judging {
    /// Prepares for calls; makes none.
    ///
    /// # Errors
    /// When the configuration of a provider is invalid.
    pub fn new(database: Database, config: JudgeConfig) -> Result<Self, Error> {
        let JudgeConfig { queries, metrics, outputs, embedder, providers, temperature, patience, observer } =
            config;
        let database = database.of_service(Service::Judge);
        let models = Models::new(database.clone(), observer.clone(), &providers, patience)?;
        let outputs = OutputStore::new(outputs, embedder, observer.clone());
        let (models, texts) = (Arc::new(models), evaluate::texts_room());
        Ok(Self { database, queries, metrics, outputs, temperature, models, observer, texts })
    }

    /// The storage of results, models and runs.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The known models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The scale of the metric with this id; the default one for a metric without a scale, or that is unknown.
    ///
    /// # Errors
    /// When the source of metrics does not answer, or fails.
    pub async fn scale_of(&self, metric: Option<&str>) -> Result<Scale, RunError> {
        let Some(id) = metric else { return Ok(DEFAULT_SCALE) };
        let found = self.metrics.find(&[id.to_owned()]).await?;
        Ok(found.into_iter().flatten().next().map_or(DEFAULT_SCALE, |record| metric::scale_of(&record)))
    }

    /// The text of the output with this id, if there is one.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn output_text(&self, id: &str) -> Result<Option<String>, RunError> {
        Ok(self.outputs.find(id).await?.map(|record| record.text))
    }
}

impl fmt::Debug for Judging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judging").field("queries", &self.queries).finish_non_exhaustive()
    }
}
