//! Overview: what is stored, how searches are doing, and what to do next.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{Redirect, Response},
};
use futures_util::future::join_all;
use maud::{Markup, html};
use records::{Service, timestamp};
use serde::{Deserialize, Serialize};
use store::{
    postgres::searches::SearchHistory,
    storage::{Selection, Storage, StorageError},
};
use upkeep::monitor::{AlertChange, BASELINE};

use super::{
    Console, Source,
    first_steps::{FirstSteps, first_steps},
    page::Page,
    plot::sparkline,
    quality::{IndexState, Unavailable, indexes, table_link},
    runs::run_link,
    section::Section,
    text,
    view::View,
};
use crate::{
    answer::ApiError,
    process::Process,
    searches::SearchAlert,
    upstream::{GatewayTarget, Upstream},
};

/// How long a store or a service may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The history that sparklines show.
const HISTORY: time::Duration = time::Duration::DAY;
const LAST_RUNS: u32 = 5;
const LAST_ALERTS: usize = 5;
/// Tables whose indexes are listed.
const MOST_INDEXES: usize = 8;

/// The overview.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Home {
    stores: Vec<Store>,
    searches: Vec<Searches>,
    /// Those in force.
    alerts: Vec<Alert>,
    /// The last alerts that were raised and cleared within a week, newest first.
    past_alerts: Vec<PastAlert>,
    /// The vector indexes of tables, and what is planned for them.
    indexes: Vec<IndexState>,
    /// Tables whose indexes are not listed.
    more_tables: usize,
    /// The newest runs; null without the judge.
    runs: Option<Vec<Run>>,
    /// What could not be read.
    unavailable: Vec<Unavailable>,
}

/// The records of a service.
#[derive(Debug, Serialize, Deserialize)]
struct Store {
    service: String,
    /// `postgres` or `chroma`.
    kind: String,
    records: u64,
    /// Number of themes or metric types; null if there are too many to list.
    categories: Option<usize>,
}

/// The searches of a table with one class of filters.
#[derive(Debug, Serialize, Deserialize)]
struct Searches {
    table: String,
    filter_class: String,
    /// Since the process began.
    searches: u64,
    /// Of the last interval.
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    /// As last measured.
    recall: Option<Recall>,
    /// p95 of the last day's intervals, oldest first.
    history_p95_ms: Vec<f64>,
    /// Recall of the last day's measurements, oldest first.
    history_recall: Vec<f64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Recall {
    mean: f64,
    low: f64,
    high: f64,
    target: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Alert {
    table: String,
    filter_class: String,
    alert: String,
    reason: String,
}

/// What became of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PastAlert {
    /// UTC.
    at: String,
    /// `raised`, `cleared` or `lapsed`.
    event: String,
    table: String,
    filter_class: String,
    alert: String,
    text: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Run {
    id: String,
    name: Option<String>,
    state: String,
    units: u64,
    done: u64,
}

/// Shows the overview.
pub(super) async fn show(view: View, headers: HeaderMap, State(console): State<Console>) -> Response {
    let home = match &*console.source {
        Source::Own { storages, runs } => {
            let mut home = of_storages(storages, &console.process).await;
            if let Some(runs) = runs {
                match tokio::time::timeout(PATIENCE, runs.list(None, None, LAST_RUNS)).await {
                    Ok(Ok((listed, _))) => home.runs = Some(listed.iter().map(Run::from).collect()),
                    Ok(Err(error)) => home.missing("runs", &ApiError::from(error)),
                    Err(_) => home.missing("runs", &ApiError::Timeout { limit: PATIENCE }),
                }
            }
            home
        }
        Source::Upstreams(targets) => {
            // One process may be behind several services.
            let mut distinct: Vec<&GatewayTarget> = Vec::new();
            for target in targets {
                if distinct.iter().all(|other| other.upstream.url != target.upstream.url) {
                    distinct.push(target);
                }
            }
            let homes = join_all(distinct.into_iter().map(|target| of_service(target, &headers))).await;
            homes.into_iter().fold(Home::default(), Home::and)
        }
    };
    view.show(&home)
}

/// `/console` is where people look first.
pub(super) async fn moved() -> Redirect {
    Redirect::to("/")
}

async fn of_storages(storages: &[std::sync::Arc<dyn Storage>], process: &Process) -> Home {
    let mut home = Home::default();
    for (storage, found) in
        storages.iter().zip(join_all(storages.iter().map(|storage| store(&**storage))).await)
    {
        match found {
            Ok(store) => home.stores.push(store),
            Err(error) => home.missing(&format!("{} storage", storage.service()), &error),
        }
    }
    let services: Vec<Service> = storages.iter().map(|storage| storage.service()).collect();
    home.read_indexes(process, &services).await;
    let Some(report) = process.searches.as_ref().map(crate::searches::SearchProbe::report) else {
        return home;
    };
    let now = timestamp::now();
    let mut history = Vec::new();
    if let Some(database) = &process.database {
        // Alerts follow from it as a whole.
        match tokio::time::timeout(PATIENCE, database.search_history(now - BASELINE)).await {
            Ok(Ok(stored)) => history = stored.rows,
            Ok(Err(source)) => {
                let error = StorageError::Failed {
                    operation: "read measurements of searches",
                    source: source.into(),
                };
                home.missing("history of searches", &ApiError::Storage(error));
            }
            Err(_) => home.missing("history of searches", &ApiError::Timeout { limit: PATIENCE }),
        }
    }
    let changes = upkeep::monitor::alerts(&history).changes;
    home.past_alerts = changes.iter().rev().take(LAST_ALERTS).map(PastAlert::from).collect();
    history.retain(|row| row.measured_at >= now - HISTORY);
    let is_of_service = |table: &str| services.iter().any(|service| service.collection() == table);
    for total in report.totals.iter().filter(|total| is_of_service(&total.table)) {
        let table = total.table.clone();
        let is_same = |row: &&SearchHistory| row.table == table && row.filter_class == total.filter_class;
        let latency = report.intervals.iter().find(is_same).and_then(|row| row.latency);
        let recall = report.recalls.iter().find(is_same).and_then(|row| {
            let target = row.target;
            row.recall.map(|recall| Recall { mean: recall.mean, low: recall.low, high: recall.high, target })
        });
        let past = || history.iter().filter(is_same);
        home.searches.push(Searches {
            filter_class: total.filter_class.as_str().to_owned(),
            searches: total.searches,
            latency_p50_ms: latency.map(|latency| latency.p50_ms),
            latency_p95_ms: latency.map(|latency| latency.p95_ms),
            recall,
            history_p95_ms: past().filter_map(|row| row.latency).map(|latency| latency.p95_ms).collect(),
            history_recall: past().filter_map(|row| row.recall).map(|recall| recall.mean).collect(),
            table,
        });
    }
    home.searches.retain(|searches| searches.searches > 0 || searches.recall.is_some());
    home.alerts = report.alerts.into_iter().filter_map(Alert::of).collect();
    home
}

async fn store(storage: &dyn Storage) -> Result<Store, ApiError> {
    let all = Selection::default();
    let read = async { tokio::join!(storage.count(&all), storage.categories()) };
    let read = tokio::time::timeout(PATIENCE, read).await;
    let (records, categories) = read.map_err(|_| ApiError::Timeout { limit: PATIENCE })?;
    Ok(Store {
        service: storage.service().as_str().to_owned(),
        kind: storage.kind().as_str().to_owned(),
        records: records?,
        // Too many to list is not a reason to show nothing.
        categories: categories.ok().map(|categories| categories.len()),
    })
}

/// The overview of a service behind the gateway.
async fn of_service(target: &GatewayTarget, headers: &HeaderMap) -> Home {
    let GatewayTarget { upstream: Upstream { service, url }, client, .. } = target;
    let mut request = client.get(format!("{url}/?format=json")).timeout(PATIENCE);
    for name in [header::COOKIE, header::HeaderName::from_static("x-api-key")] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let read = async {
        let answer = request.send().await?.error_for_status()?;
        answer.bytes().await
    };
    let mut home = Home::default();
    match read.await {
        Ok(body) => match serde_json::from_slice(&body) {
            Ok(read) => home = read,
            Err(_) => {
                let reason = "has no console: it may be of another version".to_owned();
                home.missing(
                    &format!("{service} service"),
                    &ApiError::Upstream { service: *service, reason },
                );
            }
        },
        Err(source) => {
            home.missing(
                &format!("{service} service"),
                &ApiError::Gateway { service: service.as_str(), source },
            );
        }
    }
    home
}

impl Home {
    /// Reads the state of the indexes of the tables of `services`, and of collections.
    async fn read_indexes(&mut self, process: &Process, services: &[Service]) {
        let Some((database, upkeep)) = process.database.as_ref().zip(process.upkeep) else { return };
        let is_shown = |table: &str| {
            // All services have their tables in each database, and other processes show theirs.
            let of_service = Service::ALL.into_iter().find(|service| service.collection() == table);
            of_service.is_none_or(|service| services.contains(&service))
        };
        let read = indexes(database, &upkeep.policy, MOST_INDEXES, is_shown).await;
        (self.indexes, self.more_tables) = (read.0, read.1);
        self.unavailable.extend(read.2);
    }

    fn missing(&mut self, what: &str, error: &ApiError) {
        tracing::warn!(error = %error.chain(), "the console cannot show {what}");
        self.unavailable.push(Unavailable { what: what.to_owned(), reason: error.public_message() });
    }

    fn and(mut self, other: Self) -> Self {
        self.stores.extend(other.stores);
        self.searches.extend(other.searches);
        self.alerts.extend(other.alerts);
        // Services may share a database.
        let known = |past: &PastAlert| !self.past_alerts.contains(past);
        let others: Vec<PastAlert> = other.past_alerts.into_iter().filter(known).collect();
        self.past_alerts.extend(others);
        self.past_alerts.sort_by(|a, b| b.at.cmp(&a.at));
        self.past_alerts.truncate(LAST_ALERTS);
        let known = |state: &IndexState| self.indexes.iter().all(|known| known.table != state.table);
        let others: Vec<IndexState> = other.indexes.into_iter().filter(known).collect();
        self.indexes.extend(others);
        self.more_tables = self.more_tables.max(other.more_tables);
        self.unavailable.extend(other.unavailable);
        self.runs = self.runs.or(other.runs);
        self
    }

    fn next_steps(&self, view: &View) -> Markup {
        let is_empty = |service: Service| {
            let mut stores = self.stores.iter();
            stores.any(|store| store.service == service.as_str() && store.records == 0)
        };
        first_steps(
            view,
            FirstSteps {
                lacks_queries: is_empty(Service::Query),
                lacks_metrics: is_empty(Service::Evaluation),
                lacks_runs: self.runs.as_ref().is_some_and(Vec::is_empty),
            },
        )
    }

    fn searches(&self) -> Markup {
        html! {
            h2 { "Searches" }
            @if self.searches.is_empty() {
                p.note { "No vector search since the server began, or searches are not monitored." }
            } @else {
                div.scroll { table data-sortable {
                    thead { tr {
                        th scope="col" { "table" } th scope="col" { "filter" } th.number scope="col" { "searches" }
                        th.number scope="col" { "p50 ms" } th.number scope="col" { "p95 ms" } th scope="col" { "p95, a day" }
                        th.number scope="col" { "recall@10" } th scope="col" { "95 % interval" } th.number scope="col" { "target" }
                        th scope="col" { "recall, a day" }
                    } }
                    tbody { @for row in &self.searches { tr {
                        td { (row.table) } td { (row.filter_class) } td.number { (text::count(row.searches)) }
                        td.number { (milliseconds(row.latency_p50_ms)) }
                        td.number { (milliseconds(row.latency_p95_ms)) }
                        td { (sparkline("p95 latency in milliseconds of the last day", &row.history_p95_ms)) }
                        @match row.recall {
                            Some(recall) => {
                                td.number { (format!("{:.3}", recall.mean)) }
                                td { (format!("{:.3} to {:.3}", recall.low, recall.high)) }
                                td.number { (format!("{:.3}", recall.target)) }
                            }
                            None => { td { "not measured" } td {} td {} }
                        }
                        td { (sparkline("recall of the last day", &row.history_recall)) }
                    } } }
                } }
                p.note { "Searches since this process began; latencies of the last interval; recall as last measured by repeating sampled searches exactly." }
            }
        }
    }
}

impl Home {
    fn indexes(&self, view: &View) -> Markup {
        let link = |table: &str| view.has(Section::Quality).then(|| table_link(table));
        html! {
            @if !self.indexes.is_empty() {
                h2 { "Indexes" }
                div.scroll { table {
                    thead { tr { th scope="col" { "table" } th.number scope="col" { "rows" } th scope="col" { "index" } th scope="col" { "plan" } } }
                    tbody { @for state in &self.indexes { tr {
                        td { @match link(&state.table) { Some(link) => a href=(link) { (text::text(&state.table)) }, None => (text::text(&state.table)) } }
                        td.number { (text::count(state.rows)) } td { (state.searched()) } td { (state.plan()) }
                    } } }
                } }
                p.note {
                    "Rows above 200,000 are an estimate. A small table needs no index: an exact scan finds everything."
                    @if self.more_tables > 0 { " " (text::counted(self.more_tables as u64, "more table")) " on " a href=(Section::Quality.path()) { "Search quality" } "." }
                }
            }
        }
    }

    fn past_alerts(&self) -> Markup {
        html! {
            @if !self.past_alerts.is_empty() {
                h2 { "Last alerts" }
                div.scroll { table {
                    thead { tr { th scope="col" { "time" } th scope="col" { "event" } th scope="col" { "alert" } } }
                    tbody { @for past in &self.past_alerts { tr {
                        td { @match timestamp::parse(&past.at) { Some(at) => (text::time(at)), None => (text::text(&past.at)) } }
                        td { (past.event) } td.text { (text::text(&past.text)) }
                    } } }
                } }
                p.note { "Up to " (LAST_ALERTS) " of a week, newest first." }
            }
        }
    }
}

impl From<&AlertChange> for PastAlert {
    fn from(change: &AlertChange) -> Self {
        let alert = &change.alert;
        Self {
            at: timestamp::format(change.at),
            event: change.change.as_str().to_owned(),
            table: alert.table.clone(),
            filter_class: alert.filter_class.as_str().to_owned(),
            alert: alert.evidence.kind().as_str().to_owned(),
            text: change.to_string(),
        }
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
}

impl Alert {
    fn of(alert: SearchAlert) -> Option<Self> {
        let SearchAlert { table, filter_class, kind, reason } = alert;
        Some(Self {
            table,
            filter_class: filter_class.as_str().to_owned(),
            alert: kind.to_owned(),
            reason: reason?,
        })
    }
}

impl From<&judge::runs::RunProgress> for Run {
    fn from(run: &judge::runs::RunProgress) -> Self {
        Self {
            id: run.id.to_string(),
            name: run.name.clone(),
            state: run.state.as_str().to_owned(),
            units: run.units.total,
            done: run.units.done,
        }
    }
}

impl Page for Home {
    fn title(&self) -> String {
        "Overview".to_owned()
    }

    fn section(&self) -> Section {
        Section::Home
    }

    fn body(&self, view: &View) -> Markup {
        html! {
            @for Unavailable { what, reason } in &self.unavailable {
                div.panel.problem role="alert" { p { strong { (what) } " cannot be shown: " (text::text(reason)) } }
            }
            @for Alert { table, filter_class, alert, reason } in &self.alerts {
                div.panel.problem role="alert" {
                    p { strong { (alert) ": " (table) } ", filter " (filter_class) ". " (text::text(reason)) }
                }
            }
            (self.next_steps(view))
            h2 { "Stores" }
            div.scroll { table {
                thead { tr { th scope="col" { "records" } th.number scope="col" { "count" } th.number scope="col" { "categories" } th scope="col" { "storage" } } }
                tbody { @for store in &self.stores { tr {
                    @let section = store.service.parse().ok().map(Section::of_records);
                    td { @match section { Some(section) => a href=(section.path()) { (section.title()) }, None => (store.service) } }
                    td.number { (text::count(store.records)) }
                    td.number { @match store.categories { Some(categories) => (text::count(categories as u64)), None => "too many to list" } }
                    td { (store.kind) }
                } } }
            } }
            (self.indexes(view))
            (self.searches())
            (self.past_alerts())
            @if let Some(runs) = &self.runs {
                h2 { "Last runs" }
                @if runs.is_empty() { p.note { "There was no run yet." } }
                @else { div.scroll { table {
                    thead { tr { th scope="col" { "run" } th scope="col" { "state" } th.number scope="col" { "judgements" } } }
                    tbody { @for run in runs { tr {
                        td { a href=(run_link(&run.id)) { @match &run.name { Some(name) => (text::text(name)), None => code { (run.id) } } } }
                        td { (run.state) }
                        td.number { (text::count(run.done)) " of " (text::count(run.units)) }
                    } } }
                } } }
            }
        }
    }
}
