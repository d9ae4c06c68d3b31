//! Watches the searches of a process while it serves, and tells when they get worse.

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

/// The first pass waits no longer, so that what searches find is known soon after a start; a process that is started
/// again and again measures nothing.
const FIRST: Duration = Duration::from_secs(30);

/// A watch for the searches of this process; with `VECTOR_MONITOR_INTERVAL_SECONDS` 0 nobody reads what it would keep.
pub(super) fn search_watch(configuration: &Configuration) -> anyhow::Result<SearchWatch> {
    let rate = configuration.get(&VECTOR_SAMPLE_RATE)?;
    let is_read = monitor_config(configuration)?.is_some();
    Ok(SearchWatch::new(if is_read { rate } else { 0.0 }))
}

/// How searches are watched; `None` where they are not.
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

/// The server that wants to know of alerts.
fn webhook(configuration: &Configuration) -> Result<Option<Webhook>, Failure> {
    let Some(url) = configuration.text(&VECTOR_ALERT_WEBHOOK_URL) else { return Ok(None) };
    // The text is a secret.
    if !Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
        return Err(Failure::usage(anyhow!(
            "{VECTOR_ALERT_WEBHOOK_URL} is no URL: expected one such as https://example.com/hooks/1"
        )));
    }
    Ok(Some(Webhook::new(http_client()?, SecretString::from(url))))
}

/// What the last pass has found.
#[derive(Clone, Debug, Default)]
struct Known {
    stretches: Vec<SearchHistory>,
    recalls: Vec<SearchHistory>,
    alerts: Vec<Alert>,
    /// Rows of the history that were passed over.
    unreadable: u64,
}

/// Watches the searches that a database counts.
pub(super) struct SearchMonitor {
    monitor: Monitor,
    interval: Duration,
    webhook: Option<Webhook>,
    known: watch::Sender<Known>,
}

impl SearchMonitor {
    /// A monitor as the settings want it, and who tells what it knows; `None` where nobody is to watch.
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
            let Known { stretches, recalls, alerts, unreadable } = knowing.borrow().clone();
            let alerts = looked_at(&stretches, &recalls, &alerts);
            SearchReport { totals, stretches, recalls, alerts, unreadable }
        });
        let monitor = Monitor::new(database.clone(), config);
        Ok(Some((Self { monitor, interval: config.interval, webhook, known }, probe)))
    }

    /// Makes a pass each interval until `shutdown` begins.
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

    /// Makes a pass; says why it failed, if it did.
    async fn pass(&mut self) -> Option<String> {
        let Pass { history, recalls, alerts, changes, unreadable, too_large, failures } =
            match self.monitor.pass().await {
                Ok(pass) => pass,
                Err(error) => {
                    let reason = error_chain(&error);
                    tracing::warn!(error = reason, "what searches find could not be looked at");
                    return Some(reason);
                }
            };
        if unreadable > 0 && self.known.borrow().unreadable != unreadable {
            tracing::warn!(
                rows = unreadable,
                "{unreadable} rows of vector_search_history are passed over: no measurement leaves such a time, number or class; `panopticon doctor` lists odd times"
            );
        }
        for (table, filter_class, count) in &too_large {
            let class = filter_class.as_str();
            tracing::info!(
                table.name = table,
                search.filter = class,
                count,
                "{count} searches of {table} are not made again: the ten nearest rows have more bytes than an answer may"
            );
        }
        for (table, error) in &failures {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, table.name = table, "what searches of {table} find could not be measured");
        }
        self.known.send_replace(Known { stretches: history, recalls, alerts, unreadable });
        for change in &changes {
            tell(change);
            if let Some(webhook) = &self.webhook
                && let Err(error) = webhook.tell(change).await
            {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "an alert was not told: check {VECTOR_ALERT_WEBHOOK_URL}");
            }
        }
        failures.first().map(|(table, error)| format!("{table}: {}", error_chain(error)))
    }
}

fn tell(change: &AlertChange) {
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

/// Everything that could be wrong, and what is.
fn looked_at(stretches: &[SearchHistory], recalls: &[SearchHistory], active: &[Alert]) -> Vec<SearchAlert> {
    let of_rows = stretches.iter().chain(recalls).map(|row| (row.table.clone(), row.filter_class));
    let of_alerts = active.iter().map(|alert| (alert.table.clone(), alert.filter_class));
    let searched: BTreeSet<(String, FilterClass)> = of_rows.chain(of_alerts).collect();
    let looked_at = searched.iter().flat_map(|(table, filter_class)| {
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
    looked_at.collect()
}
