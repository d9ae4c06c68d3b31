//! Runs for those who work in the same process, without HTTP.

use serde_json::Value;
use store::postgres::runs::RunState;
use uuid::Uuid;

use super::Runs;
use crate::{
    answer::ApiError,
    listener::Shutdown,
    request::{Body, Refused},
    wire::{NewRun, ResumeRun, ShownRun},
};

/// Why something about a run failed. Its text names the field of the request, or what is to be done.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct RunError(#[from] ApiError);

impl RunError {
    /// Whether the request was wrong, rather than that something failed.
    pub fn is_the_callers(&self) -> bool {
        self.0.status().is_client_error()
    }
}

impl Runs {
    /// Makes a run of a request as `POST /api/v1/runs` takes it, or finds the one of this id. The run, as `GET` shows it.
    ///
    /// # Errors
    /// When the request cannot be carried out, or PostgreSQL fails.
    pub async fn begin(&self, id: Uuid, request: &Value) -> Result<Value, RunError> {
        let body = Body::<NewRun, Refused>::from_json(request.to_string().as_bytes())?;
        let (progress, _) = self.create(body.value.into_wanted(id)?).await?;
        Ok(shown(progress.into()))
    }

    /// Lets a run go on, by a request as `POST /api/v1/runs/{id}/resume` takes it. The run, as `GET` shows it.
    ///
    /// # Errors
    /// When there is no such run, or it cannot go on.
    pub async fn go_on(&self, id: Uuid, request: &Value) -> Result<Value, RunError> {
        let body = Body::<ResumeRun, Refused>::from_json(request.to_string().as_bytes())?;
        let budget = body.value.checked_budget()?;
        Ok(shown(self.resume(id, budget, body.value.retry_failed).await?.into()))
    }

    /// The run `id`, as `GET /api/v1/runs/{id}` shows it.
    ///
    /// # Errors
    /// When there is no such run, or PostgreSQL fails.
    pub async fn show(&self, id: Uuid) -> Result<Value, RunError> {
        Ok(shown(self.progress(id).await?.into()))
    }

    /// Ends a run that is running. Calls that are under way are finished and kept.
    ///
    /// # Errors
    /// When there is no such run, or it is complete.
    pub async fn end(&self, id: Uuid) -> Result<(), RunError> {
        self.cancel(id).await?;
        Ok(())
    }

    /// Works on the run `id` until it is not running any more, or until `shutdown`; what is under way then is finished.
    /// The state that the run has then.
    ///
    /// # Errors
    /// When there is no such run, or PostgreSQL fails.
    pub async fn work_on(&self, id: Uuid, shutdown: &Shutdown) -> Result<RunState, RunError> {
        Ok(Box::pin(self.work(id, shutdown)).await?)
    }
}

fn shown(run: ShownRun) -> Value {
    serde_json::to_value(run).expect("wire types are JSON")
}
