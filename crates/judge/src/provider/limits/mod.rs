//! Many calls: limits that all callers of a model share, repeated attempts, budgets.
//!
//! Entry point: [`Caller::call`].

mod backoff;
mod budget;
mod gate;

use std::{borrow::Cow, convert::Infallible, time::Duration};

use async_trait::async_trait;

pub use backoff::Backoff;
pub use budget::{Allowance, Budget, Exceeded, Spent};
pub use gate::{Gate, Gates, Permit};

use super::{Completion, Disposition, Error, Provider, Request};
use crate::registry::Model;

/// Where attempts are written down, each before it is sent and once it is over.
#[async_trait]
pub trait AttemptLog: Send {
    /// Why it may fail.
    type Error: Send;

    /// Attempt `number`, from 1, is about to be sent. If this fails, it is not.
    async fn begins(&mut self, number: u32) -> Result<(), Self::Error>;

    /// Attempt `number` is over.
    async fn ended(&mut self, number: u32, outcome: &Result<Completion, Error>) -> Result<(), Self::Error>;
}

/// For calls that nobody has to know about.
#[async_trait]
impl AttemptLog for () {
    type Error = Infallible;

    async fn begins(&mut self, _: u32) -> Result<(), Infallible> {
        Ok(())
    }

    async fn ended(&mut self, _: u32, _: &Result<Completion, Error>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Why a call ended without a completion; `L` is the log's error.
#[derive(Debug, thiserror::Error)]
pub enum CallError<L> {
    /// The last attempt's error: one that will not pass, or one too many.
    #[error("attempt {attempts} failed, the last one")]
    Provider {
        /// How many there were.
        attempts: u32,
        /// The cause.
        #[source]
        source: Error,
    },
    /// The run has used up what it may.
    #[error("the run has to stop")]
    Budget(#[source] Exceeded),
    /// An attempt could not be written down.
    #[error("failed to record an attempt")]
    Log(#[source] L),
}

/// A provider, called by many at once. Cheap to clone; clones share limits.
#[derive(Clone, Debug)]
pub struct Caller {
    provider: Provider,
    gates: Gates,
    backoff: Backoff,
}

impl Caller {
    /// Calls `provider` through `gates`, which callers of other providers may share.
    pub fn new(provider: Provider, gates: Gates, backoff: Backoff) -> Self {
        Self { provider, gates, backoff }
    }

    /// The same limits, with another patience.
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Has `model` answer `request`: waits for its turn, and tries again as long as that may help. A server that cannot
    /// hold the model to a schema is asked again without one; the prompt has to say what is wanted in any case.
    ///
    /// # Errors
    /// When the last attempt failed, the budget is exceeded, or an attempt could not be logged.
    pub async fn call<L: AttemptLog>(
        &self,
        model: &Model,
        request: &Request,
        budget: &Budget,
        log: &mut L,
    ) -> Result<Completion, CallError<L::Error>> {
        let gate = self.gates.gate(self.provider.name(), &model.id);
        let mut request = Cow::Borrowed(request);
        let mut attempt = 1;
        loop {
            let permit = budget.within_time(gate.enter()).await.map_err(CallError::Budget)?;
            budget.begin(model).map_err(CallError::Budget)?;
            log.begins(attempt).await.map_err(CallError::Log)?;
            if request.json_schema.is_some() && gate.refuses_schema() {
                request.to_mut().json_schema = None;
            }
            let outcome = self.provider.complete(&model.id, &request).await;
            if let Ok(completion) = &outcome {
                budget.spend(model, completion.usage);
            }
            let wait = self.settle(permit, attempt, &outcome);
            log.ended(attempt, &outcome).await.map_err(CallError::Log)?;
            if request.json_schema.is_some() && outcome.as_ref().is_err_and(Error::refuses_schema) {
                log::info!(
                    "`{}` cannot be held to a schema: from now on the prompt alone asks for JSON",
                    model.id
                );
                gate.schema_was_refused();
                attempt += 1;
                continue;
            }
            match (outcome, wait) {
                (Ok(completion), _) => return Ok(completion),
                (Err(source), None) => return Err(CallError::Provider { attempts: attempt, source }),
                (Err(error), Some(wait)) => {
                    // Not the provider's words, which may repeat the prompt.
                    let (kind, wait_ms) = (error.kind(), wait.as_millis());
                    log::debug!(
                        "attempt {attempt} at `{}` failed: {kind}; the next in {wait_ms} ms",
                        model.id
                    );
                    budget.within_time(tokio::time::sleep(wait)).await.map_err(CallError::Budget)?;
                    attempt += 1;
                }
            }
        }
    }

    /// Tells the gate how an attempt went, and how long to wait before the next one; none if there is to be none.
    fn settle(
        &self,
        permit: Permit<'_>,
        attempt: u32,
        outcome: &Result<Completion, Error>,
    ) -> Option<Duration> {
        let error = match outcome {
            Ok(_) => {
                permit.succeeded();
                return None;
            }
            Err(error) => error,
        };
        let after = match error.disposition() {
            Disposition::Retry { after } => after,
            Disposition::Stop(_) => return None,
        };
        if error.kind().asks_to_slow_down() {
            // Whether or not this caller comes back, the others wait.
            permit.slow_down(self.backoff.pause(attempt, after));
        }
        self.backoff.wait(attempt, after)
    }
}
