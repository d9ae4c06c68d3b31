//! One table: its indexes, the plan, and what its searches found.

use axum::extract::State;
use maud::{Markup, html};
use records::size_text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use store::postgres::{
    Table,
    vector_index::{
        Filtering, IndexState, IndexUse, MeasuredCurve, MeasuredPoint, MeasuredSetting, Observation,
        VectorIndex,
    },
};
use upkeep::{
    Plan,
    maintenance::{self, SkippedTable},
    observation_to_json, plan, plan_to_json,
};

use super::{
    Page, Quality, Unavailable,
    actions::{AREA, action, of_table},
    history::{ClassHistory, by_class},
    table_link, unavailable, within,
};
use crate::{
    config::UpkeepConfig,
    console::{
        Section,
        filters::Filters,
        jobs::jobs,
        page,
        plot::{Tried, curve},
        text,
        view::View,
    },
    jobs::JobState,
    wire::Whole,
};

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct TableParameters {
    name: String,
    /// Days of history.
    #[serde(default)]
    days: Whole<1, 90, 7>,
}

/// A table.
#[derive(Debug, Serialize)]
struct TablePage {
    table: String,
    days: u32,
    /// As `panopticon index status --json` prints it; null if it could not be read.
    #[serde(serialize_with = "as_index_command")]
    indexes: Option<(Observation, Plan)>,
    /// What the last measurement of search parameters tried.
    curves: Vec<Curve>,
    /// Null if it could not be planned.
    maintenance: Option<PlannedMaintenance>,
    searches: Vec<ClassHistory>,
    /// Rows of the history with impossible values, which are left out.
    unreadable_history: u64,
    unavailable: Vec<Unavailable>,
    jobs: Vec<JobState>,
}

/// Recall and latency of the search parameters that were tried for one kind of searches, and which was chosen.
#[derive(Debug, Serialize)]
struct Curve {
    index: String,
    /// `none` or `some`.
    filtering: &'static str,
    /// Results of each search.
    depth: u32,
    /// By candidates, ascending.
    points: Vec<CurvePoint>,
}

#[derive(Debug, Serialize)]
struct CurvePoint {
    candidates: u32,
    recall: f64,
    recall_low: f64,
    latency_ms: f64,
    sampled: u32,
}

impl From<MeasuredCurve> for Curve {
    fn from(MeasuredCurve { index_name, filtering, depth, points }: MeasuredCurve) -> Self {
        let point = |MeasuredPoint { candidates, recall, recall_low, latency_ms, sampled }| CurvePoint {
            candidates,
            recall,
            recall_low,
            latency_ms,
            sampled,
        };
        let points = points.into_iter().map(point).collect();
        Self { index: index_name, filtering: filtering.as_str(), depth, points }
    }
}

#[derive(Debug, Serialize)]
struct PlannedMaintenance {
    actions: Vec<PlannedAction>,
    left_alone: Vec<SkippedTable>,
}

#[derive(Debug, Serialize)]
struct PlannedAction {
    action: String,
    reason: String,
}

fn as_index_command<S: Serializer>(
    indexes: &Option<(Observation, Plan)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let shown = indexes.as_ref().map(|(observation, plan)| {
        serde_json::json!({ "observed": observation_to_json(observation), "plan": plan_to_json(plan) })
    });
    shown.serialize(serializer)
}

/// Shows a table.
pub(super) async fn show(
    view: View,
    State(quality): State<Quality>,
    Filters(TableParameters { name, days }): Filters<TableParameters>,
) -> Page {
    let (database, UpkeepConfig { policy, limits, .. }, table) = of_table(&quality, &name).await?;
    let mut missing = Vec::new();
    let since = records::timestamp::now() - time::Duration::days(days.get().into());
    let observed = within("its indexes", upkeep::observe(&database, &table)).await;
    // The page names each part that is missing, with its error.
    let observed = observed.map_err(|part| missing.push(part)).ok();
    let curves = within("what was measured", database.measured_curves(&table)).await;
    // Without them, the page has no plot, and says why.
    let curves = curves.map_err(|part| missing.push(part)).unwrap_or_default();
    let history = within("the history of searches", database.search_history(since)).await;
    let history = history.map_err(|part| missing.push(part)).ok();
    let maintained =
        within("planned maintenance", maintenance::observe(&database, &limits, Some(&table.name)));
    let maintained = maintained.await.map_err(|part| missing.push(part)).ok();
    let of_plan = |plan: maintenance::Plan| PlannedMaintenance {
        actions: plan
            .actions
            .into_iter()
            .map(|planned| PlannedAction { action: planned.action.to_string(), reason: planned.reason })
            .collect(),
        left_alone: plan.left_alone,
    };
    let is_of_table = |job: &JobState| job.subject.of == name || job.subject.of.is_empty();
    Ok(view.show(&TablePage {
        days: days.get(),
        searches: history.as_ref().map_or_else(Vec::new, |history| by_class(&history.rows, &table.name)),
        unreadable_history: history.map_or(0, |history| history.unreadable),
        indexes: observed.map(|observation| {
            let plan = plan(&observation, &policy);
            (observation, plan)
        }),
        maintenance: maintained.map(|observed| of_plan(maintenance::plan(&observed, &policy, &limits))),
        curves: curves.into_iter().map(Curve::from).collect(),
        unavailable: missing,
        jobs: quality.process.jobs.of(AREA).into_iter().filter(is_of_table).collect(),
        table: table.name,
    }))
}

fn state(index: &VectorIndex) -> &'static str {
    match (index.state, index.service) {
        (IndexState::Building, _) => "being built",
        (IndexState::Invalid, _) => "invalid: its build never finished",
        (IndexState::Valid, IndexUse::Others) => "not used by searches",
        (IndexState::Valid, IndexUse::Searches) if index.measured.is_empty() => "never measured",
        (IndexState::Valid, IndexUse::Searches) => "in use",
    }
}

fn facts(observation: &Observation) -> Markup {
    let Table { dimension, space, .. } = &observation.table;
    html! {
        dl {
            dt { "rows" } dd { (text::count(observation.rows)) }
            dt { "dead rows" } dd { (text::count(observation.dead_rows)) }
            dt { "vectors" } dd { (dimension) " dimensions, " (space.as_str()) }
            dt { "size" } dd { (size_text(observation.table_bytes)) " without indexes" }
            @if let Some(rate) = observation.writes_per_second { dt { "writes" } dd { (format!("{rate:.1}")) " rows a second since the last plan" } }
        }
    }
}

fn settings(settings: &[MeasuredSetting]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th scope="col" { "searches" } th.number scope="col" { "results" } th.number scope="col" { "candidates" }
                th.number scope="col" { "recall" } th.number scope="col" { "at least" } th.number scope="col" { "target" }
                th.number scope="col" { "ms" } th.number scope="col" { "from searches" } th.number scope="col" { "of rows" } th scope="col" { "measured" }
            } }
            tbody { @for setting in settings { tr {
                td { @match setting.filtering { Filtering::None => "without a filter", Filtering::Some => "with a filter" } }
                td.number { (setting.depth) } td.number { (setting.candidates) }
                td.number { (format!("{:.3}", setting.recall)) }
                td.number { (format!("{:.3}", setting.recall_low)) @if setting.recall_low < setting.target { " " span.problem { "below target" } } }
                td.number { (setting.target) } td.number { (format!("{:.1}", setting.latency_ms)) }
                td.number { (setting.sampled) } td.number { (text::count(setting.rows)) } td { (text::time(setting.measured_at)) }
            } } }
        } }
    }
}

impl TablePage {
    fn indexes(&self, view: &View) -> Markup {
        let Some((observation, plan)) = &self.indexes else { return html! {} };
        let is_searched = observation.indexes.iter().any(VectorIndex::is_searched);
        let table = Some(self.table.as_str());
        html! {
            (facts(observation))
            h2 { "Vector index" }
            @if observation.indexes.is_empty() { p { "None: searches use an exact scan, whose recall is 1." } }
            @for index in &observation.indexes {
                p { code { (text::text(&index.name)) } ": " (index.definition) ", " (size_text(index.size_bytes)) "; " (state(index)) }
                @if !index.measured.is_empty() {
                    (settings(&index.measured))
                    div.plots { @for setting in &index.measured { (self.curve(&index.name, setting)) } }
                }
            }
            h2 { "Plan" }
            p { "The index that it should have: " strong { (plan.wanted) } }
            ul { @for reason in &plan.reasons { li { (text::text(reason)) } } }
            @if plan.is_empty() { p.good { "Nothing to do." } } @else { pre { (text::text(plan.to_string().trim_end())) } }
            div.actions {
                @if !plan.is_empty() { (action(view, "apply", table)) }
                @if is_searched { (action(view, "tune", table)) }
            }
        }
    }

    /// What was tried to find `setting`.
    fn curve(&self, index: &str, setting: &MeasuredSetting) -> Markup {
        let filtering = setting.filtering.as_str();
        let is_meant = |curve: &&Curve| {
            (curve.index.as_str(), curve.filtering, curve.depth) == (index, filtering, setting.depth)
        };
        let Some(found) = self.curves.iter().find(is_meant) else { return html! {} };
        let tried: Vec<Tried> = found
            .points
            .iter()
            .map(|point| Tried {
                candidates: point.candidates,
                latency_ms: point.latency_ms,
                recall: point.recall,
                recall_low: point.recall_low,
                sampled: point.sampled,
                is_chosen: point.candidates == setting.candidates,
            })
            .collect();
        let with = match setting.filtering {
            Filtering::None => "without a filter",
            Filtering::Some => "with a filter",
        };
        let title = format!("Recall and latency of {} results {with}, by candidates", setting.depth);
        curve((&title, setting.target), &tried)
    }

    fn maintenance(&self, view: &View) -> Markup {
        let Some(PlannedMaintenance { actions, left_alone }) = &self.maintenance else { return html! {} };
        html! {
            h2 { "Maintenance" }
            @if actions.is_empty() && left_alone.is_empty() { p.good { "Nothing to do." } }
            @else { ul {
                @for planned in actions { li { (text::text(&planned.action)) ", because " (text::text(&planned.reason)) } }
                @for skipped in left_alone { li { "skipped: " (text::text(&skipped.reason)) } }
            } }
            div.actions { (action(view, "maintain", Some(&self.table))) }
        }
    }

    fn history(&self) -> Markup {
        let days = |days: &str| format!("{}&days={days}", table_link(&self.table));
        html! {
            h2 { "Searches of the last " (text::counted(self.days.into(), "day")) }
            p.note { "Show " a href=(days("1")) { "1 day" } ", " a href=(days("7")) { "7 days" } ", " a href=(days("30")) { "30 days" } "." }
            @if self.searches.is_empty() {
                p { "No vector search was recorded. Searches are measured while the services run, unless the settings turn monitoring off." }
            }
            @for class in &self.searches {
                h3 { "Filter: " (class.filter_class) }
                (class.plots())
            }
            @if self.unreadable_history > 0 {
                p.note { (text::counted(self.unreadable_history, "measurement")) " of all tables with impossible values are left out." }
            }
        }
    }
}

impl page::Page for TablePage {
    fn title(&self) -> String {
        format!("Table {}", self.table)
    }

    fn section(&self) -> Section {
        Section::Quality
    }

    fn body(&self, view: &View) -> Markup {
        html! {
            (unavailable(&self.unavailable))
            (jobs(&self.jobs, &Section::Quality.path()))
            (self.indexes(view))
            (self.history())
            (self.maintenance(view))
            p { a.button.quiet href=(Section::Quality.path()) { "All tables" } }
        }
    }
}
