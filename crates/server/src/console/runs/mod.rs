//! Runs: the list, and one run while it proceeds.

mod create;

use ::records::Service;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use judge::runs::{AnswerCounts, PlannedModel, Retry, RunBudget, RunProgress, Runs, UnitCounts};
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
    records::record,
    text,
    view::View,
};
use crate::{
    answer::ApiError,
    handlers::runs::{ServedRuns, events, listed, run_id},
    request::{Both, Segment},
    wire::{KeysetPage, KeysetParameters, RunFilters},
};

type Result<T> = std::result::Result<T, ApiError>;

const STATES: [&str; 4] = ["running", "completed", "stopped", "cancelled"];

/// The pages of runs.
pub(crate) fn router() -> Router<ServedRuns> {
    let path = |rest: &str| format!("{}{rest}", Section::Runs.path());
    Router::new()
        .route(&path(""), get(list))
        .route(&path("/new"), get(create::show).post(create::create))
        .route(&path("/{id}"), get(show))
        .route(&path("/{id}/events"), get(events))
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

/// A run.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct RunPage(RunProgress);

async fn show(view: View, State(runs): State<Runs>, Segment(id): Segment) -> Result<Response> {
    let progress = runs.progress(run_id(&id)?).await?;
    Ok(view.show(&RunPage(progress)))
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

impl RunPage {
    fn actions(&self, view: &View) -> Markup {
        let Self(run) = self;
        let path = run_link(run.id);
        let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
        html! {
            @if run.is_running() {
                form method="post" action={ (path) "/cancel" } {
                    (view.token())
                    button.danger type="submit" { "Cancel" }
                    " " span.note { "Calls in progress are completed and stored." }
                }
            } @else {
                details {
                    summary { "Resume" }
                    form.filters method="post" action={ (path) "/resume" } {
                        (view.token())
                        label { "calls at most" input name="requests" inputmode="numeric" value=[number(run.budget.requests)]; }
                        label { "tokens at most" input name="tokens" inputmode="numeric" value=[number(run.budget.tokens)]; }
                        label { "USD at most" input name="cost_usd" inputmode="decimal" value=[run.budget.cost_usd]; }
                        label { "seconds at most" input name="wall_time_s" inputmode="numeric" value=[number(run.budget.wall_time_s)]; }
                        label { "retry failed" input type="checkbox" name="retry_failed" value="true"; }
                        button type="submit" { "Resume" }
                    }
                }
            }
        }
    }

    fn counts(&self) -> Markup {
        let Self(run) = self;
        let AnswerCounts { total, done, answered, refused, failed } = run.answers;
        let units = run.units;
        html! {
            div.scroll { table {
                thead { tr { th scope="col" { "" } th scope="col" { "done" } th.number scope="col" { "with a value" } th.number scope="col" { "unparsed" }
                    th.number scope="col" { "refused" } th.number scope="col" { "failed" } th.number scope="col" { "unanswered" } } }
                tbody {
                    tr { td { "answers" } td { (progress((done, total), "answers")) } td.number { (text::count(answered)) } td.number { "–" }
                        td.number { (text::count(refused)) } td.number { (text::count(failed)) } td.number { "–" } }
                    tr { td { "judgements" } td { (progress((units.done, units.total), "judgements")) } td.number { (text::count(units.scored)) }
                        td.number { (text::count(units.unparsed)) } td.number { (text::count(units.refused)) }
                        td.number { (text::count(units.failed)) } td.number { (text::count(units.unanswered)) } }
                }
            } }
        }
    }

    fn budget(&self) -> Markup {
        let Self(run) = self;
        let row = |what: &str, used: String, limit: Option<String>| {
            html! { tr { td { (what) } td.number { (used) } td.number { (limit.as_deref().unwrap_or("no limit")) } } }
        };
        let limit = |limit: Option<u64>| limit.map(text::count);
        html! {
            h2 { "Used" }
            div.scroll { table {
                thead { tr { th scope="col" { "" } th.number scope="col" { "used" } th.number scope="col" { "budget" } } }
                tbody {
                    (row("calls", text::count(run.used.requests), limit(run.budget.requests)))
                    (row("tokens", text::count(run.used.tokens), limit(run.budget.tokens)))
                    (row("USD", cost(run), run.budget.cost_usd.map(|usd| format!("{usd:.4}"))))
                }
            } }
            @if run.used.without_usage > 0 {
                p.note { (text::counted(run.used.without_usage, "answer")) " did not report their tokens." }
            }
        }
    }
}

impl Page for RunPage {
    fn title(&self) -> String {
        self.0.name.clone().unwrap_or_else(|| format!("Run {}", self.0.id))
    }

    fn section(&self) -> Section {
        Section::Runs
    }

    fn body(&self, view: &View) -> Markup {
        let Self(run) = self;
        let id = run.id.to_string();
        let events = run.is_running().then(|| format!("{}/events", run_link(run.id)));
        let compare = link(&Section::Compare.path(), [("run_id", Some(id.as_str()))]);
        html! {
            div #live.live data-events=[events] aria-live="polite" {
                p {
                    strong { (run.state.as_str()) }
                    @if run.is_running() { ", " (text::counted(run.workers, "worker")) }
                    @if let Some(reason) = &run.stop_reason { ": " (text::text(reason)) }
                }
                @if run.is_running() { p.note { (layout::RELOAD) } }
                @for problem in &run.problems { p.problem { (text::text(problem)) } }
                (self.counts())
                (self.actions(view))
                (self.budget())
            }
            h2 { "Plan" }
            dl {
                dt { "id" } dd { (text::id(&id)) }
                dt { "mode" } dd { (serde_json::to_value(run.mode).ok().and_then(|mode| mode.as_str().map(str::to_owned)).unwrap_or_default()) }
                dt { "created" } dd { (text::time(run.created_at)) }
                @if run.began_at != run.created_at { dt { "last resumed" } dd { (text::time(run.began_at)) } }
                @if let Some(ended) = run.ended_at { dt { "ended" } dd { (text::time(ended)) } }
                dt { "queries" } dd { (text::count(run.queries.into())) }
                dt { "models" } dd { (models(&run.models)) }
                dt { "judges" } dd { (models(&run.judge_models)) " × " (run.repeats) }
                dt { "metrics" } dd { @for metric in &run.evaluation_prompt_ids { (record(view, Service::Evaluation, metric)) " " } }
            }
            div.actions { a.button.quiet href=(compare) { "Scores of this run" } }
        }
    }
}
