//! Table maintenance in `serve`.

use std::{sync::Arc, time::Duration};

use judge::runs::Shutdown;
use records::error_chain;
use server::{MaintenanceMetrics, ObservedTable, Process, Pulse};
use store::postgres::{Database, maintenance::TableHealth};
use upkeep::{
    Policy,
    maintenance::{Done, Event, Limits, Maintenance, Outcome, Round, maintain, watched_tables},
};

/// The maintenance task.
pub(super) struct Maintainer {
    pub(super) database: Database,
    pub(super) policy: Policy,
    pub(super) limits: Limits,
    pub(super) interval: Duration,
    pub(super) process: Arc<Process>,
}

impl Maintainer {
    /// Runs a round each interval, and when a collection of Chroma clients has grown, until `shutdown`, which interrupts a
    /// round in progress.
    pub(super) async fn run(&self, shutdown: &Shutdown, pulse: Pulse) {
        let metrics = self.process.maintenance_metrics();
        loop {
            if let Err(error) = self.update_table_metrics(&metrics).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the state of the tables cannot be read");
            }
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = self.database.growth().settled() => {}
                () = shutdown.begun() => return,
            }
            // A standby has what the primary maintains. It may be promoted until the next round.
            if !self.database.accepts_writes().await {
                pulse.beat(None);
                tracing::debug!("no maintenance: the database server rejects writes");
                continue;
            }
            let observer = |event: Event<'_>| report(event, &metrics);
            let maintenance = Maintenance {
                database: &self.database,
                policy: &self.policy,
                limits: &self.limits,
                only: None,
                observer: &observer,
            };
            match Box::pin(maintain(maintenance, shutdown.begun())).await {
                Ok(Round::Busy) => {
                    pulse.beat(None);
                    tracing::debug!("another process is maintaining the database");
                }
                Ok(Round::Made { .. }) => pulse.beat(None),
                Err(error) => {
                    pulse.beat(Some(error_chain(&error)));
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "maintenance failed: the next round continues");
                }
            }
        }
    }

    /// Sets the metrics of all tables, also if another process maintains them.
    async fn update_table_metrics(&self, metrics: &MaintenanceMetrics) -> Result<(), store::Error> {
        let names = watched_tables(&self.database).await?;
        let tables = self.database.table_health(&names).await?;
        metrics.set_tables(tables.iter().map(|table| {
            let TableHealth { name, rows, dead_rows, heap_bytes, index_bytes, .. } = table;
            ObservedTable {
                table: name,
                rows: *rows,
                dead_rows: *dead_rows,
                heap_bytes: *heap_bytes,
                index_bytes: *index_bytes,
            }
        }));
        Ok(())
    }
}

fn report(event: Event<'_>, metrics: &MaintenanceMetrics) {
    match event {
        Event::Observed(_) | Event::Index(_) => {}
        Event::Begins(planned) => {
            tracing::info!(table.name = planned.table, action = planned.action.as_str(), "{planned}");
        }
        Event::Ended(Done { planned, took, outcome, .. }) => {
            let (table, action) = (&planned.table, planned.action.as_str());
            metrics.action_ended(action, outcome.as_str(), *took);
            let seconds = took.as_secs_f64();
            match outcome {
                Outcome::Done => {
                    tracing::info!(table.name = table, action, seconds, "{table}: {action} is done");
                }
                Outcome::Interrupted(by) => {
                    tracing::info!(
                        table.name = table,
                        action,
                        seconds,
                        "{table}: {action} was interrupted: {}",
                        by.as_str()
                    );
                }
                Outcome::Failed { error } => {
                    tracing::error!(
                        table.name = table,
                        action,
                        seconds,
                        error,
                        "{table}: {action} has failed"
                    );
                }
            }
        }
    }
}
