//! Runs: the list, one run while it proceeds, and its results.

mod create;
mod results;
mod run;

use axum::{
    Router,
    extract::{FromRef, State},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use judge::runs::{PlannedModel, Retry, RunBudget, RunProgress, Runs, UnitCounts};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Section,
    filters::{Filters, link},
    form::Form,
    layout,
    measured::by_reason,
    page::Page,
    text,
    view::View,
};
use crate::{
    answer::ApiError,
    handlers::{
        results::export,
        runs::{ServedRuns, events, listed, run_id},
    },
    request::{Both, Segment},
    results::Results,
    wire::{KeysetPage, KeysetParameters, RunFilters},
};

type Result<T> = std::result::Result<T, ApiError>;

const STATES: [&str; 4] = ["running", "completed", "stopped", "cancelled"];

/// What the pages need.
#[derive(Clone)]
pub(crate) struct RunPages {
    pub(crate) runs: Runs,
    pub(crate) results: Results,
}

impl FromRef<RunPages> for Runs {
    fn from_ref(pages: &RunPages) -> Self {
        pages.runs.clone()
    }
}

impl FromRef<RunPages> for Results {
    fn from_ref(pages: &RunPages) -> Self {
        pages.results.clone()
    }
}

impl FromRef<RunPages> for ServedRuns {
    fn from_ref(pages: &RunPages) -> Self {
        Self { runs: pages.runs.clone(), process: pages.results.process.clone() }
    }
}

/// The pages of runs.
pub(crate) fn router() -> Router<RunPages> {
    let path = |rest: &str| format!("{}{rest}", Section::Runs.path());
    Router::new()
        .route(&path(""), get(list))
        .route(&path("/new"), get(create::show).post(create::create))
        .route(&path("/export"), get(export))
        .route(&path("/{id}"), get(run::show))
        .route(&path("/{id}/live"), get(run::show_live))
        .route(&path("/{id}/events"), get(events))
        .route(&path("/{id}/results"), get(results::show))
        .route(&path("/{id}/cancel"), post(cancel))
        .route(&path("/{id}/resume"), post(resume))
}

/// The pages of runs and comparisons of a process that has outputs but neither runs nor results.
pub(crate) fn without_runs() -> Router {
    let page = |section| get(async move |view: View| view.show(&WithoutRuns { section }));
    Router::new()
        .route(&Section::Runs.path(), page(Section::Runs))
        .route(&Section::Compare.path(), page(Section::Compare))
        .route(&Section::Judges.path(), page(Section::Judges))
        .route(&Section::Label.path(), page(Section::Label))
}

/// Why there is nothing to show.
#[derive(Debug, Serialize)]
struct WithoutRuns {
    #[serde(skip)]
    section: Section,
}

impl Page for WithoutRuns {
    fn title(&self) -> String {
        self.section.title().to_owned()
    }

    fn section(&self) -> Section {
        self.section
    }

    fn body(&self, _: &View) -> Markup {
        layout::empty(
            "This process has no runs and no results.",
            html! {
                p { "They are in PostgreSQL, to which it is not connected. Start the judge with its database:" }
                pre { "panopticon serve judge --database-url postgresql://USER@HOST/DATABASE" }
            },
        )
    }
}

/// The page of the run `id`.
pub(super) fn run_link(id: impl std::fmt::Display) -> String {
    format!("{}/{id}", Section::Runs.path())
}

/// Runs, newest first.
#[derive(Debug, Serialize)]
struct RunsPage {
    #[serde(flatten)]
    page: KeysetPage<RunProgress>,
    /// The state to which the list is limited.
    state: Option<String>,
}

async fn list(
    view: View,
    State(runs): State<Runs>,
    Filters(Both(filters, keyset)): Filters<Both<RunFilters, KeysetParameters>>,
) -> Result<Response> {
    let state = view.given.parameter("state").map(str::to_owned);
    let page = listed(&runs, &filters, &keyset).await?;
    Ok(view.show(&RunsPage { page, state }))
}

/// A form without fields.
#[derive(Debug, Deserialize, JsonSchema)]
struct Confirmed {}

async fn cancel(
    State(runs): State<Runs>,
    Segment(id): Segment,
    Form(Confirmed {}): Form<Confirmed>,
) -> Result<Response> {
    let progress = runs.cancel(run_id(&id)?).await?;
    Ok(Redirect::to(&run_link(progress.id)).into_response())
}

/// How to resume; an empty field means no limit.
#[derive(Debug, Deserialize, JsonSchema)]
struct Resumption {
    #[serde(default)]
    retry_failed: bool,
    #[serde(default)]
    requests: String,
    #[serde(default)]
    tokens: String,
    #[serde(default)]
    cost_usd: String,
    #[serde(default)]
    wall_time_s: String,
}

async fn resume(
    State(runs): State<Runs>,
    Segment(id): Segment,
    Form(resumption): Form<Resumption>,
) -> Result<Response> {
    let id = run_id(&id)?;
    let budget = RunBudget {
        requests: limit("requests", &resumption.requests)?,
        tokens: limit("tokens", &resumption.tokens)?,
        cost_usd: limit("cost_usd", &resumption.cost_usd)?,
        wall_time_s: limit("wall_time_s", &resumption.wall_time_s)?,
    };
    let retry = if resumption.retry_failed { Retry::Failed } else { Retry::Nothing };
    let progress = runs.resume(id, Some(budget), retry).await?;
    Ok(Redirect::to(&run_link(progress.id)).into_response())
}

fn limit<T: std::str::FromStr>(field: &str, written: &str) -> Result<Option<T>> {
    match written.trim() {
        "" => Ok(None),
        number => match number.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ApiError::invalid(field, "expected a number, or nothing for no limit")),
        },
    }
}

fn models(models: &[PlannedModel]) -> Markup {
    html! {
        @for (place, model) in models.iter().enumerate() {
            @if place > 0 { ", " }
            (text::text(&model.id))
        }
    }
}

/// How much of `total` is done.
fn progress((done, total): (u64, u64), label: &str) -> Markup {
    html! {
        progress value=(done) max=(total.max(1)) aria-label=(label) {}
        " " (text::count(done)) " of " (text::count(total))
    }
}

/// Counts with the reasons why others are missing.
fn left_out(UnitCounts { unparsed, refused, failed, unanswered, .. }: UnitCounts) -> String {
    by_reason([unparsed, refused, failed, unanswered])
}

impl RunsPage {
    fn nothing(&self) -> Markup {
        match &self.state {
            Some(state) => layout::empty(
                &format!("No run is {state}."),
                html! {
                    p { a href=(Section::Runs.path()) { "Show all runs" } }
                },
            ),
            None => layout::empty(
                "There is no run yet.",
                html! {
                    p { "A run has models answer queries and judges score the answers. Start one by" }
                    pre { "panopticon judge run --model gpt-4o --judge gpt-4o --metric METRIC_ID --theme physics" }
                    p { "or by " code { "POST /api/v1/runs" } "." }
                },
            ),
        }
    }
}

impl Page for RunsPage {
    fn title(&self) -> String {
        Section::Runs.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Runs
    }

    fn body(&self, _: &View) -> Markup {
        let path = Section::Runs.path();
        html! {
            form.filters method="get" action=(path) {
                label { "state"
                    select name="state" {
                        option value="" { "all" }
                        @for state in STATES { option value=(state) selected[self.state.as_deref() == Some(state)] { (state) } }
                    }
                }
                button type="submit" { "Show" }
            }
            div.actions { a.button href={ (path) "/new" } { "New run" } }
            @if self.page.items.is_empty() { (self.nothing()) } @else {
                div.scroll { table data-rows {
                    thead { tr {
                        th scope="col" { "run" } th scope="col" { "state" } th scope="col" { "created" }
                        th scope="col" { "models" } th scope="col" { "judges" } th.number scope="col" { "queries" }
                        th scope="col" { "judgements" } th scope="col" { "without a score" } th.number scope="col" { "USD" }
                    } }
                    tbody { @for run in &self.page.items { tr {
                        td { a href=(run_link(run.id)) {
                            @match &run.name { Some(name) => (text::text(name)), None => code { (run.id) } }
                        } }
                        td { (run.state.as_str()) @if run.is_running() && run.workers == 0 { " (no worker)" } }
                        td { (text::time(run.created_at)) }
                        td { (models(&run.models)) }
                        td { (models(&run.judge_models)) }
                        td.number { (text::count(run.queries.into())) }
                        td.nowrap { (progress((run.units.done, run.units.total), "judgements")) }
                        td { (left_out(run.units)) }
                        td.number { (cost(run)) }
                    } } }
                } }
                @if let Some(cursor) = &self.page.next_cursor {
                    p { a.button.quiet rel="next" href=(link(&path, [("state", self.state.as_deref()), ("cursor", Some(cursor))])) { "Next page" } }
                }
            }
        }
    }
}

/// What a run has cost, and for how many answers the cost is unknown.
fn cost(run: &RunProgress) -> String {
    let unknown = match run.used.without_cost {
        0 => String::new(),
        count => format!(" + {} of unknown cost", text::count(count)),
    };
    format!("{:.4}{unknown}", run.used.cost_usd)
}
