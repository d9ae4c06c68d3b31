//! All tables with vectors.

use axum::extract::State;
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::{Database, Table, vector_index::Observation};
use upkeep::{Policy, plan};

use super::{
    Page, Quality, Unavailable,
    actions::{AREA, action},
    history::{ClassHistory, by_class},
    table_link, unavailable, within, without_database,
};
use crate::{
    console::{
        Section,
        filters::{Filters, link},
        jobs::jobs,
        page, text,
        view::View,
    },
    jobs::JobState,
    wire::Whole,
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ListParameters {
    /// The table after which the list begins.
    after: Option<String>,
    #[serde(default)]
    limit: Whole<1, 100, 20>,
}

/// The tables.
#[derive(Debug, Serialize)]
struct TablesPage {
    /// Whether there is a database.
    has_database: bool,
    tables: Vec<TableSummary>,
    /// The parameter `after` of the next page.
    next: Option<String>,
    /// Rows of the history with impossible values, which are left out.
    unreadable_history: u64,
    unavailable: Vec<Unavailable>,
    jobs: Vec<JobState>,
}

/// A table.
#[derive(Debug, Serialize)]
struct TableSummary {
    #[serde(flatten)]
    state: IndexState,
    dimension: usize,
    distance: &'static str,
    /// Searches of the last day by class of filters, without their points.
    searches: Vec<ClassHistory>,
}

/// The index of a table, and what is planned for it.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct IndexState {
    pub(in super::super) table: String,
    pub(in super::super) rows: u64,
    /// The index that searches use; null for exact scans.
    pub(in super::super) index: Option<String>,
    /// What the plan changes.
    pub(in super::super) planned_changes: usize,
    /// Whether the plan measures search parameters.
    pub(in super::super) plans_tuning: bool,
}

/// Shows the tables.
pub(super) async fn show(
    view: View,
    State(quality): State<Quality>,
    Filters(ListParameters { after, limit }): Filters<ListParameters>,
) -> Page {
    let mut shown = TablesPage {
        has_database: quality.database().is_some(),
        tables: Vec::new(),
        next: None,
        unreadable_history: 0,
        unavailable: Vec::new(),
        jobs: quality.process.jobs.of(AREA),
    };
    if let Some((database, upkeep)) = quality.database() {
        shown.read(database, &upkeep.policy, (after.as_deref(), limit.get() as usize)).await;
    }
    Ok(view.show(&shown))
}

impl TablesPage {
    async fn read(&mut self, database: &Database, policy: &Policy, (after, limit): (Option<&str>, usize)) {
        let since = records::timestamp::now() - time::Duration::DAY;
        let history = within("the history of searches", database.search_history(since)).await;
        let history = history.unwrap_or_else(|missing| {
            self.unavailable.push(missing);
            store::postgres::searches::StoredHistory::default()
        });
        self.unreadable_history = history.unreadable;
        let tables = match within("the list of tables", upkeep::tables(database)).await {
            Ok(tables) => tables,
            Err(missing) => return self.unavailable.push(missing),
        };
        let mut later =
            tables.into_iter().filter(|table| after.is_none_or(|after| table.name.as_str() > after));
        for table in later.by_ref().take(limit) {
            let what = format!("table {}", table.name);
            match within(&what, upkeep::observe(database, &table)).await {
                Ok(observation) => {
                    let mut searches = by_class(&history.rows, &table.name);
                    searches.iter_mut().for_each(|class| class.points.clear());
                    self.tables.push(TableSummary::new(&observation, policy, searches));
                }
                Err(missing) => self.unavailable.push(missing),
            }
            self.next = Some(table.name);
        }
        self.next = self.next.take().filter(|_| later.next().is_some());
    }
}

/// The index that searches use.
pub(super) fn searched(observation: &Observation) -> Option<String> {
    let index = observation.indexes.iter().find(|index| index.is_searched())?;
    Some(index.definition.to_string())
}

impl IndexState {
    pub(super) fn new(observation: &Observation, policy: &Policy) -> Self {
        let plan = plan(observation, policy);
        Self {
            table: observation.table.name.clone(),
            rows: observation.rows,
            index: searched(observation),
            planned_changes: plan.changes.len(),
            plans_tuning: plan.tuning.is_some(),
        }
    }

    /// How searches find rows.
    pub(in super::super) fn searched(&self) -> Markup {
        html! { @match &self.index { Some(index) => (index), None => "none: exact scan" } }
    }

    pub(in super::super) fn plan(&self) -> Markup {
        html! {
            @match (self.planned_changes, self.plans_tuning) {
                (0, false) => "nothing to do",
                (0, true) => "measure search parameters",
                (changes, _) => { (text::counted(changes as u64, "change")) },
            }
        }
    }
}

impl TableSummary {
    fn new(observation: &Observation, policy: &Policy, searches: Vec<ClassHistory>) -> Self {
        let Table { dimension, space, .. } = &observation.table;
        let state = IndexState::new(observation, policy);
        Self { state, dimension: *dimension, distance: space.as_str(), searches }
    }

    fn rows(&self) -> Markup {
        let number = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
        html! {
            @let height = self.searches.len().max(1);
            @for place in 0..height {
                tr {
                    @if place == 0 {
                        td rowspan=(height) { a href=(table_link(&self.state.table)) { (text::text(&self.state.table)) } }
                        td.number rowspan=(height) { (text::count(self.state.rows)) }
                        td rowspan=(height) { (self.dimension) ", " (self.distance) }
                        td rowspan=(height) { (self.state.searched()) }
                        td rowspan=(height) { (self.state.plan()) }
                    }
                    @match self.searches.get(place) {
                        None => { td colspan="8" { span.note { "no vector search within a day" } } }
                        Some(class) => {
                            td { (class.filter_class) } td.number { (text::count(class.searches)) }
                            td.number { (number(class.latency.map(|latency| latency.p50_ms))) }
                            td.number { (number(class.latency.map(|latency| latency.p95_ms))) }
                            td.number { (number(class.latency.map(|latency| latency.p99_ms))) }
                            @match class.recall {
                                Some(recall) => {
                                    td.number { (format!("{:.3}", recall.mean)) @if recall.high < recall.target { " " span.problem { "below target" } } }
                                    td.nowrap { (format!("{:.3} to {:.3}", recall.low, recall.high)) }
                                    td.number { (text::count(recall.replayed)) }
                                }
                                None => { td colspan="3" { span.note { "not measured" } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl page::Page for TablesPage {
    fn title(&self) -> String {
        Section::Quality.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Quality
    }

    fn body(&self, view: &View) -> Markup {
        if !self.has_database {
            return without_database();
        }
        let path = Section::Quality.path();
        html! {
            (unavailable(&self.unavailable))
            div.actions {
                a.button.quiet href={ (path) "/findings" } { "Examine (doctor)" }
                (action(view, "maintain", None))
            }
            @if self.tables.is_empty() && self.unavailable.is_empty() {
                p.note { "There are no more tables." }
            }
            @if !self.tables.is_empty() {
                div.scroll { table {
                    thead { tr {
                        th scope="col" { "table" } th.number scope="col" { "rows" } th scope="col" { "vectors" } th scope="col" { "index" } th scope="col" { "plan" }
                        th scope="col" { "filter" } th.number scope="col" { "searches, a day" }
                        th.number scope="col" { "p50 ms" } th.number scope="col" { "p95 ms" } th.number scope="col" { "p99 ms" }
                        th.number scope="col" { "recall@10" } th scope="col" { "95 % interval" } th.number scope="col" { "from searches" }
                    } }
                    tbody { @for table in &self.tables { (table.rows()) } }
                } }
                p.note {
                    "Latencies are those of the last interval with searches; recall is that of the last searches that were repeated exactly. Searches by words have neither."
                    @if self.unreadable_history > 0 { " " (text::counted(self.unreadable_history, "measurement")) " with impossible values are left out." }
                }
            }
            @if let Some(next) = &self.next {
                p { a.button.quiet rel="next" href=(link(&path, [("after", Some(next.as_str()))])) { "Next page" } }
            }
            (jobs(&self.jobs, &path))
        }
    }
}
