//! Many calls: limits shared by all callers of a model, retries, budgets.
//!
//! Entry point: [`Caller::call`].

mod backoff;
mod budget;
mod gate;

use std::{convert::Infallible, time::Duration};

use async_trait::async_trait;

pub use backoff::Backoff;
pub use budget::{Allowance, Budget, Exceeded, Spent};
pub use gate::{Gate, Gates, Permit};

use super::{Completion, Disposition, Error, Kind, Provider, Request};
use crate::registry::Model;

/// A log of attempts, written before each is sent and after it ended.
#[async_trait]
pub trait AttemptLog: Send {
    /// Why it may fail.
    type Error: Send;

    /// Attempt `number`, from 1, is about to be sent. If this fails, it is not.
    async fn begins(&mut self, number: u32) -> Result<(), Self::Error>;

    /// Attempt `number` is over.
    async fn ended(&mut self, number: u32, outcome: &Result<Completion, Error>) -> Result<(), Self::Error>;
}

/// A log that discards everything.
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
    /// The last attempt's error: a permanent one, or there were too many.
    #[error("attempt {attempts} failed, the last one")]
    Provider {
        /// The number of attempts.
        attempts: u32,
        /// The cause.
        #[source]
        source: Error,
    },
    /// The run's budget is exhausted.
    #[error("the run must stop")]
    Budget(#[source] Exceeded),
    /// An attempt could not be logged.
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

    /// The same limits, with another backoff.
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sends `request` to `model`: waits for a permit, and retries while a retry may succeed. Parameters that the
    /// model's server rejects are omitted from then on, or renamed: see [`super::Parameter`]. If a schema is rejected,
    /// only the prompt specifies the format.
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
        let mut refused = gate.refused().parameters();
        // Transient failures are counted apart from rejected parameters.
        let (mut attempt, mut failures, mut malformed) = (1, 0, 0);
        let mut first_refusal = None;
        loop {
            let permit = budget.within_time(gate.enter()).await.map_err(CallError::Budget)?;
            budget.begin(model).map_err(CallError::Budget)?;
            log.begins(attempt).await.map_err(CallError::Log)?;
            let answers = self.gates.answers();
            let outcome = self.provider.complete_without(&model.id, request, refused, answers).await;
            if let Ok(completion) = &outcome {
                budget.spend(model, completion.usage);
                // Not earlier: another problem of the request may look like a rejected parameter.
                gate.refused().remember(refused);
            }
            failures += 1;
            let mut wait = self.settle(permit, failures, &outcome);
            log.ended(attempt, &outcome).await.map_err(CallError::Log)?;
            let without = |error| self.provider.more_to_omit((&model.id, request), refused, error);
            if let Some(more) = outcome.as_ref().err().and_then(without) {
                log::info!(
                    "retrying `{}` without the parameters that its server rejects: {more:?}",
                    model.id
                );
                refused = more;
                failures -= 1;
                attempt += 1;
                first_refusal = first_refusal.or(outcome.err());
                continue;
            }
            if let Err(Error::Malformed { .. }) = &outcome {
                // Two malformed responses will be followed by others, and each costs money.
                malformed += 1;
                wait = wait.filter(|_| malformed < 2);
            }
            match (outcome, wait) {
                (Ok(completion), _) => return Ok(completion),
                (Err(last), None) => {
                    // The error of the complete request is the relevant one.
                    let is_no_better = last.kind() == Kind::BadRequest;
                    let source = first_refusal.filter(|_| is_no_better).unwrap_or(last);
                    return Err(CallError::Provider { attempts: attempt, source });
                }
                (Err(error), Some(wait)) => {
                    // Not the provider's message, which may repeat the prompt.
                    let (kind, wait_ms) = (error.kind(), wait.as_millis());
                    log::debug!(
                        "attempt {attempt} at `{}` failed: {kind}; retrying in {wait_ms} ms",
                        model.id
                    );
                    budget.within_time(tokio::time::sleep(wait)).await.map_err(CallError::Budget)?;
                    attempt += 1;
                }
            }
        }
    }

    /// Reports the outcome of an attempt to the gate; returns the wait before the next one, none if there should be
    /// none.
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
            // The others wait, whether or not this caller retries.
            permit.slow_down(self.backoff.pause(attempt, after));
        }
        self.backoff.wait(attempt, after)
    }
}
