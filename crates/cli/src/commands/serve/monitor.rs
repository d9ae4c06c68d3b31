//! Monitors the searches of `serve`, and reports when they get worse.

use std::{collections::BTreeSet, time::Duration};

use anyhow::anyhow;
use judge::runs::Shutdown;
use records::error_chain;
use secrecy::SecretString;
use server::{Pulse, SearchAlert, SearchProbe, SearchReport};
use store::postgres::{
    Database,
    searches::{FilterClass, SearchHistory, SearchWatch},
};
use tokio::{sync::watch, time::sleep};
use upkeep::monitor::{Alert, AlertChange, AlertKind, Change, Monitor, MonitorConfig, Pass, Webhook};
use url::Url;

use super::http_client;
use crate::{
    configuration::Configuration,
    exit::Failure,
    settings::table::{
        VECTOR_ALERT_WEBHOOK_URL, VECTOR_HISTORY_RETENTION_DAYS, VECTOR_MONITOR_INTERVAL_SECONDS,
        VECTOR_MONITOR_REPLAYS, VECTOR_RECALL_TARGET, VECTOR_SAMPLE_RATE, VECTOR_SAMPLE_RETENTION_DAYS,
    },
};

/// Delay of the first pass at most: recall is known soon after a start, and a process that keeps restarting measures
/// nothing.
const FIRST: Duration = Duration::from_secs(30);

/// A watch for the searches of this process. It samples nothing if `VECTOR_MONITOR_INTERVAL_SECONDS` is 0.
pub(super) fn search_watch(configuration: &Configuration) -> anyhow::Result<SearchWatch> {
    let rate = configuration.get(&VECTOR_SAMPLE_RATE)?;
    let is_read = monitor_config(configuration)?.is_some();
    Ok(SearchWatch::new(if is_read { rate } else { 0.0 }))
}

/// The configuration of monitoring; `None` if it is off.
fn monitor_config(configuration: &Configuration) -> anyhow::Result<Option<MonitorConfig>> {
    let config = MonitorConfig {
        interval: configuration.get(&VECTOR_MONITOR_INTERVAL_SECONDS)?,
        replays: configuration.get(&VECTOR_MONITOR_REPLAYS)?,
        recall_target: configuration.get(&VECTOR_RECALL_TARGET)?,
        sample_retention: configuration.get(&VECTOR_SAMPLE_RETENTION_DAYS)?,
        history_retention: configuration.get(&VECTOR_HISTORY_RETENTION_DAYS)?,
    };
    Ok(Some(config).filter(|config| !config.interval.is_zero()))
}

/// The webhook that receives alerts.
fn webhook(configuration: &Configuration) -> Result<Option<Webhook>, Failure> {
    let Some(url) = configuration.text(&VECTOR_ALERT_WEBHOOK_URL)? else { return Ok(None) };
    // The text is a secret.
    if !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return Err(Failure::usage(anyhow!(
            "{VECTOR_ALERT_WEBHOOK_URL} is not a URL: expected one such as https://example.com/hooks/1"
        )));
    }
    Ok(Some(Webhook::new(http_client()?, SecretString::from(url))))
}

/// The result of the last pass.
#[derive(Clone, Debug, Default)]
struct Known {
    intervals: Vec<SearchHistory>,
    recalls: Vec<SearchHistory>,
    alerts: Vec<Alert>,
    /// Rows of the history that were skipped.
    unreadable: u64,
}

/// Monitors the searches of a database.
pub(super) struct SearchMonitor {
    monitor: Monitor,
    database: Database,
    interval: Duration,
    webhook: Option<Webhook>,
    known: watch::Sender<Known>,
}

impl SearchMonitor {
    /// The configured monitor and a probe of its results; `None` if monitoring is off.
    pub(super) fn begin(
        configuration: &Configuration,
        database: &Database,
    ) -> Result<Option<(Self, SearchProbe)>, Failure> {
        let webhook = webhook(configuration)?;
        let Some(config) = monitor_config(configuration).map_err(Failure::usage)? else { return Ok(None) };
        let (known, knowing) = watch::channel(Known::default());
        let watched = database.clone();
        let probe = SearchProbe::new(move || {
            let totals = watched.search_watch().map_or_else(Vec::new, SearchWatch::totals);
            let Known { intervals, recalls, alerts, unreadable } = knowing.borrow().clone();
            let alerts = alert_states(&intervals, &recalls, &alerts);
            SearchReport { totals, intervals, recalls, alerts, unreadable }
        });
        let monitor = Monitor::new(database.clone(), config);
        let (database, interval) = (database.clone(), config.interval);
        Ok(Some((Self { monitor, database, interval, webhook, known }, probe)))
    }

    /// Runs a pass each interval until `shutdown` begins.
    pub(super) async fn run(&mut self, shutdown: &Shutdown, pulse: &Pulse) {
        let mut wait = self.interval.min(FIRST);
        loop {
            tokio::select! {
                () = shutdown.begun() => return,
                () = sleep(wait) => {}
            }
            tokio::select! {
                () = shutdown.begun() => return,
                failure = Box::pin(self.pass()) => pulse.beat(failure),
            }
            wait = self.interval;
        }
    }

    /// Runs a pass, unless the server rejects writes: what is measured could not be stored. Returns why it failed, if it
    /// did.
    async fn pass(&mut self) -> Option<String> {
        if !self.database.accepts_writes().await {
            tracing::debug!("no monitoring: the database server rejects writes");
            return None;
        }
        let Pass { history, recalls, alerts, changes, unreadable, too_large, failures } =
            match self.monitor.pass().await {
                Ok(pass) => pass,
                Err(error) => {
                    let reason = error_chain(&error);
                    tracing::warn!(error = reason, "the recall of searches could not be monitored");
                    return Some(reason);
                }
            };
        if unreadable > 0 && self.known.borrow().unreadable != unreadable {
            tracing::warn!(
                rows = unreadable,
                "{unreadable} rows of vector_search_history are skipped: their times, numbers or classes are invalid; `panopticon doctor` lists invalid times"
            );
        }
        for (table, filter_class, count) in &too_large {
            let class = filter_class.as_str();
            tracing::info!(
                table.name = table,
                search.filter = class,
                count,
                "{count} searches of {table} are not replayed: the ten nearest rows exceed the size limit of an answer"
            );
        }
        for (table, error) in &failures {
            let error: &dyn std::error::Error = error;
            tracing::warn!(
                error,
                table.name = table,
                "the recall of searches of {table} could not be measured"
            );
        }
        self.known.send_replace(Known { intervals: history, recalls, alerts, unreadable });
        for change in &changes {
            log_change(change);
            if let Some(webhook) = &self.webhook
                && let Err(error) = webhook.send(change).await
            {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "an alert was not delivered: check {VECTOR_ALERT_WEBHOOK_URL}");
            }
        }
        failures.first().map(|(table, error)| format!("{table}: {}", error_chain(error)))
    }
}

fn log_change(change: &AlertChange) {
    let Alert { table, filter_class, evidence, .. } = &change.alert;
    let (class, kind) = (filter_class.as_str(), evidence.kind().as_str());
    match change.change {
        Change::Raised => {
            tracing::warn!(table.name = table, search.filter = class, alert.kind = kind, "{change}");
        }
        Change::Cleared | Change::Lapsed => {
            tracing::info!(table.name = table, search.filter = class, alert.kind = kind, "{change}");
        }
    }
}

/// All possible alerts of the searched tables, with a reason for the active ones.
fn alert_states(
    intervals: &[SearchHistory],
    recalls: &[SearchHistory],
    active: &[Alert],
) -> Vec<SearchAlert> {
    let of_rows = intervals.iter().chain(recalls).map(|row| (row.table.clone(), row.filter_class));
    let of_alerts = active.iter().map(|alert| (alert.table.clone(), alert.filter_class));
    let searched: BTreeSet<(String, FilterClass)> = of_rows.chain(of_alerts).collect();
    let states = searched.iter().flat_map(|(table, filter_class)| {
        AlertKind::ALL.map(|kind| {
            let is_this = |alert: &&Alert| {
                (&alert.table, alert.filter_class, alert.evidence.kind()) == (table, *filter_class, kind)
            };
            SearchAlert {
                table: table.clone(),
                filter_class: *filter_class,
                kind: kind.as_str(),
                reason: active.iter().find(is_this).map(Alert::to_string),
            }
        })
    });
    states.collect()
}
