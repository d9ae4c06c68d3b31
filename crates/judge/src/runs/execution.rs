//! A run that this process executes.

use std::sync::Arc;

use tokio::sync::watch;
use uuid::Uuid;

use super::{plan::RunPlan, recorder::Recorder};
use crate::{
    engine::{
        metric::Metric,
        models::{ChosenModel, Models},
        outputs::OutputStore,
    },
    provider::limits::Budget,
};

/// A run with all names of its plan resolved.
pub(super) struct Execution {
    pub(super) run: Uuid,
    pub(super) plan: RunPlan,
    pub(super) models: Arc<Models>,
    pub(super) asked: Vec<ChosenModel>,
    pub(super) judges: Vec<ChosenModel>,
    pub(super) metrics: Vec<Metric>,
    pub(super) outputs: OutputStore,
    pub(super) budget: Arc<Budget>,
    pub(super) recorder: Recorder,
    /// Bytes of the plan's metadata.
    pub(super) metadata_bytes: usize,
    /// Whether no more tasks are started.
    pub(super) is_ending: watch::Sender<bool>,
}
