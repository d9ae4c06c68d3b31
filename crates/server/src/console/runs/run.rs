//! One run: its progress, its scores, what is missing and why, and what it has used over time.

use ::records::{Service, timestamp};
use axum::{extract::State, response::Response};
use judge::{
    outcome::Counts,
    results::{JudgeSummary, summarize_judges},
    runs::{AnswerCounts, RunMode, RunProgress, Runs},
};
use maud::{Markup, html};
use serde::{Serialize, Serializer};
use store::postgres::{
    ResultSelection,
    runs::{ReasonCount, RunReasons, RunSpending, RunState, TaskKind},
};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{cost, models, progress, run_link};
use crate::{
    answer::ApiError,
    console::{
        Section, compare,
        filters::link,
        layout,
        measured::{BinResponse, left_out, named, number},
        page::Page,
        plot::{Line, Point, lines},
        records::record,
        text,
        view::View,
    },
    handlers::runs::run_id,
    request::Segment,
    results::Results,
};

type Result<T> = std::result::Result<T, ApiError>;

/// Reasons that are listed.
const MOST_REASONS: u32 = 25;
/// Judges by metric whose scores are plotted.
const MOST_PLOTTED: usize = 4;
/// Points of the plots over time.
const POINTS: u32 = 60;
/// A budget is drawn if at least this part of it is used; else what is used would be a line at the bottom.
const DRAWN_PART: f64 = 0.2;

/// A run.
#[derive(Debug, Serialize)]
struct RunPage {
    #[serde(flatten)]
    run: RunProgress,
    /// By judge and metric; empty until there are results.
    scores: Vec<JudgeScores>,
    /// Why there are none, if they could not be read.
    scores_problem: Option<String>,
    /// Why answers and verdicts are missing, most frequent first.
    missing: Vec<Missing>,
    /// Further ones that are missing, for reasons that are not listed.
    missing_for_others: u64,
    /// What its calls have used, in parts of equal length.
    usage: Vec<Used>,
    /// Calls with impossible times, which `usage` leaves out.
    usage_without_time: u64,
}

/// The progress alone, which the script loads while the run proceeds.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct LivePage(RunProgress);

/// The scores that a judge gave by one metric.
#[derive(Debug, Serialize)]
struct JudgeScores {
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    /// Judgements on one answer by outcome.
    counts: Counts,
    /// Over judgements, not queries.
    mean: Option<f64>,
    out_of_range: u64,
    histogram: Vec<BinResponse>,
    /// Judgements on two answers by outcome, which have no scores.
    comparisons: Counts,
}

/// Answers or judgements that are missing for one reason.
#[derive(Debug, Serialize)]
struct Missing {
    /// `answer` or `judgement`.
    kind: &'static str,
    outcome: &'static str,
    reason: Option<String>,
    count: u64,
}

/// What was used up to a time.
#[derive(Debug, Serialize)]
struct Used {
    #[serde(serialize_with = "written")]
    until: PrimitiveDateTime,
    requests: u64,
    tokens: u64,
    cost_usd: f64,
}

fn written<S: Serializer>(at: &PrimitiveDateTime, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&timestamp::format(*at))
}

/// Shows a run.
pub(super) async fn show(
    view: View,
    State(runs): State<Runs>,
    State(results): State<Results>,
    Segment(id): Segment,
) -> Result<Response> {
    let id = run_id(&id)?;
    let run = runs.progress(id).await?;
    let (process, database) = (&results.process, &results.database);
    let reasons = process.measured(Service::Judge, "count_reasons", database.run_reasons(id, MOST_REASONS));
    let spending = process.measured(Service::Judge, "read_usage", database.run_spending(id, POINTS));
    let (reasons, spending, scores) = tokio::join!(reasons, spending, scores(&results, id));
    // The run is shown without them, for instance while too much memory is in use.
    let (scores, scores_problem) = match scores {
        Ok(scores) => (scores, None),
        Err(error) => (Vec::new(), Some(error.public_message())),
    };
    Ok(view.show(&RunPage::new(run, (scores, scores_problem), reasons?, spending?)))
}

/// Shows the progress of a run alone.
pub(super) async fn show_live(
    view: View,
    State(runs): State<Runs>,
    Segment(id): Segment,
) -> Result<Response> {
    Ok(view.show(&LivePage(runs.progress(run_id(&id)?).await?)))
}

async fn scores(results: &Results, id: Uuid) -> Result<Vec<JudgeScores>> {
    let selection = ResultSelection { run_id: Some(id), ..ResultSelection::default() };
    let (gathering, _) = results.gather(&selection).await?;
    let summaries = results.compute([gathering], |[judgements]| summarize_judges(&judgements)).await;
    Ok(summaries.into_iter().map(JudgeScores::from).collect())
}

impl From<JudgeSummary> for JudgeScores {
    fn from(summary: JudgeSummary) -> Self {
        Self {
            evaluation_prompt_id: summary.metric,
            judge_model: summary.judge,
            counts: summary.scores,
            mean: summary.mean,
            out_of_range: summary.out_of_range,
            histogram: BinResponse::all(summary.histogram),
            comparisons: summary.comparisons,
        }
    }
}

impl From<ReasonCount> for Missing {
    fn from(ReasonCount { kind, outcome, reason, tasks }: ReasonCount) -> Self {
        Self { kind: kind.as_str(), outcome: outcome.as_str(), reason, count: tasks }
    }
}

impl RunPage {
    fn new(
        run: RunProgress,
        (scores, scores_problem): (Vec<JudgeScores>, Option<String>),
        RunReasons { counts, tasks }: RunReasons,
        RunSpending { intervals, without_time }: RunSpending,
    ) -> Self {
        let missing: Vec<Missing> = counts.into_iter().map(Missing::from).collect();
        let listed: u64 = missing.iter().map(|one| one.count).sum();
        let mut so_far = (0_u64, 0_u64, 0.0);
        let usage = intervals.into_iter().map(|interval| {
            so_far.0 += interval.requests;
            so_far.1 = so_far.1.saturating_add(interval.tokens);
            so_far.2 += interval.cost_usd;
            Used { until: interval.until, requests: so_far.0, tokens: so_far.1, cost_usd: so_far.2 }
        });
        Self {
            usage: usage.collect(),
            missing_for_others: tasks.saturating_sub(listed),
            run,
            scores,
            scores_problem,
            missing,
            usage_without_time: without_time,
        }
    }

    fn scores(&self) -> Markup {
        let label = |one: &JudgeScores| {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
            format!("{} by {}", name(&one.judge_model), name(&one.evaluation_prompt_id))
        };
        let scored = || self.scores.iter().filter(|one| !one.histogram.is_empty());
        html! {
            h2 { "Scores" }
            @if let Some(problem) = &self.scores_problem { p.problem { "They could not be read: " (text::text(problem)) } }
            @else if self.scores.is_empty() { p.note { "No judgement is stored yet." } }
            @else {
                div.plots { @for one in scored().take(MOST_PLOTTED) {
                    (BinResponse::plot(&format!("Scores of {}", label(one)), &one.histogram))
                } }
                @if scored().count() > MOST_PLOTTED { p.note { "Pictures of " (MOST_PLOTTED) " of " (scored().count()) "; the table has all." } }
                div.scroll { table data-sortable {
                    thead { tr {
                        th scope="col" { "judge" } th scope="col" { "metric" } th.number scope="col" { "mean score" } th.number scope="col" { "scores" }
                        th.number scope="col" { "off the scale" } th scope="col" { "left out" } th.number scope="col" { "comparisons" } th scope="col" { "comparisons left out" }
                    } }
                    tbody { @for one in &self.scores { tr {
                        td { (named(one.judge_model.as_ref())) } td { (named(one.evaluation_prompt_id.as_ref())) }
                        td.number { (number(one.mean)) } td.number { (text::count(one.counts.scored)) }
                        td.number { (text::count(one.out_of_range)) } td { (left_out(one.counts)) }
                        td.number { (text::count(one.comparisons.scored)) } td { (left_out(one.comparisons)) }
                    } } }
                } }
                p.note { "Judgements of all models together, each repeat for itself; comparisons have a winner and no score." }
            }
        }
    }

    fn missing(&self) -> Markup {
        let results = |one: &Missing| {
            let status = (one.kind == TaskKind::Judgement.as_str()).then_some(one.outcome)?;
            Some(link(&results_link(self.run.id), [("status", Some(status))]))
        };
        html! {
            @if !self.missing.is_empty() {
                h2 { "Missing, by reason" }
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "what" } th scope="col" { "outcome" } th scope="col" { "reason" } th.number scope="col" { "count" } } }
                    tbody { @for one in &self.missing { tr {
                        td { (one.kind) }
                        td { @match results(one) { Some(link) => a href=(link) { (one.outcome) }, None => (one.outcome) } }
                        td.text { @match &one.reason { Some(reason) => (text::text(reason)), None => span.note { "none was recorded" } } }
                        td.number { (text::count(one.count)) }
                    } } }
                } }
                p.note {
                    "A judgement is unanswered if the answer that it needs is missing. Long reasons are grouped by their beginning."
                    @if self.missing_for_others > 0 { " " (text::count(self.missing_for_others)) " more, for other reasons, are not listed." }
                }
            }
        }
    }

    /// What was used over time, and the budget if much of it is used.
    fn usage(&self) -> Markup {
        let budget = &self.run.budget;
        let plot = |title: &str, value: fn(&Used) -> f64, limit: Option<f64>| {
            let point = |used: &Used| Point { at: used.until, value: value(used), interval: None };
            let line = Line { name: "used".to_owned(), points: self.usage.iter().map(point).collect() };
            let most = self.usage.last().map_or(0.0, value);
            let drawn = limit.filter(|limit| most > 0.0 && most >= limit * DRAWN_PART);
            let title = match (drawn, limit) {
                (Some(_), _) => format!("{title}, and the budget"),
                (None, Some(_)) => format!("{title}; less than a fifth of the budget"),
                (None, None) => title.to_owned(),
            };
            html! { @if most > 0.0 { (lines((&title, drawn), &[line])) } }
        };
        let whole = |limit: Option<u64>| limit.map(|limit| limit as f64);
        html! {
            @if !self.usage.is_empty() {
                h2 { "Used over time" }
                div.plots {
                    (plot("Calls", |used| used.requests as f64, whole(budget.requests)))
                    (plot("Tokens", |used| used.tokens as f64, whole(budget.tokens)))
                    (plot("USD", |used| used.cost_usd, budget.cost_usd))
                }
                p.note {
                    "Since the first call; a call counts when it ends, and until then when it begins."
                    @if self.run.used.without_usage > 0 { " Tokens leave out " (text::counted(self.run.used.without_usage, "answer")) " that did not report them." }
                    @if self.run.used.without_cost > 0 { " USD leave out " (text::counted(self.run.used.without_cost, "answer")) " of unknown cost." }
                    @if self.usage_without_time > 0 { " Left out: " (text::counted(self.usage_without_time, "call")) " with impossible times." }
                }
            }
        }
    }

    fn plan(&self, view: &View) -> Markup {
        let run = &self.run;
        let mode = match run.mode {
            RunMode::Pointwise => "pointwise",
            RunMode::Pairwise => "pairwise",
        };
        html! {
            h2 { "Plan" }
            dl {
                dt { "id" } dd { (text::id(&run.id.to_string())) }
                dt { "mode" } dd { (mode) }
                dt { "created" } dd { (text::time(run.created_at)) }
                @if run.began_at != run.created_at { dt { "last resumed" } dd { (text::time(run.began_at)) } }
                @if let Some(ended) = run.ended_at { dt { "ended" } dd { (text::time(ended)) } }
                dt { "queries" } dd { (text::count(run.queries.into())) }
                dt { "models" } dd { (models(&run.models)) }
                dt { "judges" } dd { (models(&run.judge_models)) " × " (run.repeats) }
                dt { "metrics" } dd { @for metric in &run.evaluation_prompt_ids { (record(view, Service::Evaluation, metric)) " " } }
            }
        }
    }
}

/// The page of the results of the run `id`.
pub(super) fn results_link(id: Uuid) -> String {
    format!("{}/results", run_link(id))
}

/// The part that the script replaces while the run proceeds.
fn live(run: &RunProgress, view: &View) -> Markup {
    let path = run_link(run.id);
    let events = run.is_running().then(|| format!("{path}/events"));
    let page = run.is_running().then(|| format!("{path}/live"));
    html! {
        div #live.live data-events=[events] data-page=[page] aria-live="polite" {
            p {
                strong { (run.state.as_str()) }
                @if run.is_running() { ", " (text::counted(run.workers, "worker")) }
                @if let Some(reason) = &run.stop_reason { ": " (text::text(reason)) }
            }
            @if run.is_running() { p.note { (layout::RELOAD) " What is below the budget is as of when the page was loaded." } }
            @for problem in &run.problems { p.problem { (text::text(problem)) } }
            (counts(run))
            (actions(run, view))
            (budget(run))
        }
    }
}

/// Whether failed calls can be repeated.
fn has_failed(run: &RunProgress) -> bool {
    run.answers.failed + run.units.failed + run.units.unanswered > 0
}

fn actions(run: &RunProgress, view: &View) -> Markup {
    let path = run_link(run.id);
    let number = |limit: Option<u64>| limit.map(|limit| limit.to_string());
    // A completed run has nothing else to do.
    let is_resumed = matches!(run.state, RunState::Cancelled | RunState::Stopped);
    html! {
        @if run.is_running() {
            form method="post" action={ (path) "/cancel" } {
                (view.token())
                button.danger type="submit" { "Cancel" }
                " " span.note { "Calls in progress are completed and stored." }
            }
        } @else if is_resumed || has_failed(run) {
            form.filters method="post" action={ (path) "/resume" } {
                (view.token())
                label { "calls at most" input name="requests" inputmode="numeric" value=[number(run.budget.requests)]; }
                label { "tokens at most" input name="tokens" inputmode="numeric" value=[number(run.budget.tokens)]; }
                label { "USD at most" input name="cost_usd" inputmode="decimal" value=[run.budget.cost_usd]; }
                label { "seconds at most" input name="wall_time_s" inputmode="numeric" value=[number(run.budget.wall_time_s)]; }
                div.actions {
                    @if is_resumed { button type="submit" { "Resume" } }
                    @if has_failed(run) {
                        button.quiet[is_resumed] type="submit" name="retry_failed" value="true" {
                            @if is_resumed { "Resume, and retry failed" } @else { "Retry failed" }
                        }
                    }
                }
            }
            p.note {
                "The budget includes what was used before; an empty field means no limit."
                @if has_failed(run) { " Refused and unparsed ones are not asked again." }
            }
        }
    }
}

fn counts(run: &RunProgress) -> Markup {
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

fn budget(run: &RunProgress) -> Markup {
    let row = |what: &str, used: String, limit: Option<String>| {
        html! { tr { td { (what) } td.number { (used) } td.number { (limit.as_deref().unwrap_or("no limit")) } } }
    };
    let limit = |limit: Option<u64>| limit.map(text::count);
    let ended = run.ended_at.unwrap_or_else(timestamp::now);
    // Clocks of several machines may differ.
    let seconds = u64::try_from((ended - run.began_at).whole_seconds()).unwrap_or(0);
    html! {
        h2 { "Used" }
        div.scroll { table {
            thead { tr { th scope="col" { "" } th.number scope="col" { "used" } th.number scope="col" { "budget" } } }
            tbody {
                (row("calls", text::count(run.used.requests), limit(run.budget.requests)))
                (row("tokens", text::count(run.used.tokens), limit(run.budget.tokens)))
                (row("USD", cost(run), run.budget.cost_usd.map(|usd| format!("{usd:.4}"))))
                (row("seconds since it began or was resumed", text::count(seconds), limit(run.budget.wall_time_s)))
            }
        } }
        @if run.used.without_usage > 0 {
            p.note { (text::counted(run.used.without_usage, "answer")) " did not report their tokens." }
        }
    }
}

fn title(run: &RunProgress) -> String {
    run.name.clone().unwrap_or_else(|| format!("Run {}", run.id))
}

impl Page for RunPage {
    fn title(&self) -> String {
        title(&self.run)
    }

    fn section(&self) -> Section {
        Section::Runs
    }

    fn body(&self, view: &View) -> Markup {
        let id = self.run.id.to_string();
        let of_run = |section: Section| link(&section.path(), [("run_id", Some(id.as_str()))]);
        html! {
            (live(&self.run, view))
            div.actions {
                a.button.quiet href=(results_link(self.run.id)) { "Answers and verdicts" }
                a.button.quiet href=(of_run(Section::Compare)) { "Scores of this run" }
                a.button.quiet href=(link(&compare::runs_path(), [("run_a", Some(id.as_str()))])) { "Compare with other runs" }
                a.button.quiet href=(of_run(Section::Judges)) { "Its judges" }
            }
            (self.scores())
            (self.missing())
            (self.usage())
            (self.plan(view))
        }
    }
}

impl Page for LivePage {
    fn title(&self) -> String {
        title(&self.0)
    }

    fn section(&self) -> Section {
        Section::Runs
    }

    fn body(&self, view: &View) -> Markup {
        live(&self.0, view)
    }
}
