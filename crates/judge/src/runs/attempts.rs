//! The log of a task's attempts.

use async_trait::async_trait;
use records::timestamp;
use store::postgres::runs::{AttemptBegun, AttemptEnded, COMPLETED, ClaimedTask, RunRecords};

use super::recorder::{RecordError, Recorder};
use crate::{
    engine::answer::{label, latency_ms},
    provider::{Completion, Error, limits::AttemptLog},
    registry::Model,
};

/// Records a task's attempts: each before it is sent, and failed ones immediately. The end of a successful attempt is
/// written in one transaction with the answer.
pub(super) struct TaskAttempts<'e> {
    recorder: &'e Recorder,
    task: i64,
    /// Attempts of earlier workers.
    before: u32,
    model: &'e Model,
    unwritten: Vec<AttemptEnded>,
}

impl<'e> TaskAttempts<'e> {
    pub(super) fn new(recorder: &'e Recorder, task: &ClaimedTask, model: &'e Model) -> Self {
        let (task, before) = (task.number, task.attempts);
        Self { recorder, task, before, model, unwritten: Vec::new() }
    }

    /// The end of the successful attempt, to be written with the answer.
    pub(super) fn unwritten(self) -> RunRecords {
        RunRecords { ended: self.unwritten, ..RunRecords::default() }
    }
}

#[async_trait]
impl AttemptLog for TaskAttempts<'_> {
    type Error = RecordError;

    async fn begins(&mut self, number: u32) -> Result<(), RecordError> {
        let begun = AttemptBegun {
            task: self.task,
            number: self.before.saturating_add(number),
            model_id: self.model.id.clone(),
            at: timestamp::now(),
        };
        self.recorder.begin(begun).await
    }

    async fn ended(&mut self, number: u32, outcome: &Result<Completion, Error>) -> Result<(), RecordError> {
        let (task, number, at) = (self.task, self.before.saturating_add(number), timestamp::now());
        match outcome {
            Ok(completion) => {
                let usage = completion.usage;
                self.unwritten.push(AttemptEnded {
                    task,
                    number,
                    at,
                    outcome: COMPLETED,
                    http_status: None,
                    latency_ms: Some(latency_ms(completion)),
                    tokens: usage.map(|usage| (usage.input_tokens, usage.output_tokens)),
                    cost_usd: self.model.cost_usd(usage),
                    provider_id: completion.provider_id.as_deref().map(label),
                });
                Ok(())
            }
            Err(error) => {
                let http_status = match error {
                    Error::Rejected { rejection, .. } => Some(rejection.status),
                    _ => None,
                };
                let ended = AttemptEnded {
                    task,
                    number,
                    at,
                    outcome: error.kind().as_str(),
                    http_status,
                    latency_ms: None,
                    tokens: None,
                    cost_usd: None,
                    provider_id: None,
                };
                let records = RunRecords { ended: vec![ended], ..RunRecords::default() };
                self.recorder.write(self.task, records).await
            }
        }
    }
}
