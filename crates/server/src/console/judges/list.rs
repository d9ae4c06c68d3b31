//! All judges by metric.

use axum::{extract::State, response::Response};
use judge::{
    outcome::Counts,
    results::{DayVerdicts, JudgeDrift, JudgeSummary, summarize_judges},
    statistics::Interval,
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::LabelSelection;

use super::{agreement::AgreementPage, calls};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link},
        layout,
        measured::{BinResponse, Share, left_out, named, number},
        page::Page,
        plot::{Line, Point, lines},
        text,
        view::View,
    },
    handlers::summaries::{MOST_LABELS, agree_on},
    request::Both,
    results::{Gathered, Results},
    wire::{Labels, PositionResponse, Repeats, ResultFilters},
};

/// Judges that are listed, those with most judgements first, and those of which plots are shown.
const MOST_LISTED: usize = 200;
const MOST_PLOTTED: usize = 4;
/// Points of a plot over time.
const MOST_POINTS: usize = 60;

/// What is shown, as it was given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Chosen {
    pub(super) judge_model: Option<String>,
    pub(super) evaluation_prompt_id: Option<String>,
    pub(super) theme: Option<String>,
    pub(super) run_id: Option<String>,
}

/// The judges.
#[derive(Debug, Serialize)]
struct JudgesPage {
    filters: Chosen,
    judges: Vec<JudgeResponse>,
    /// Their agreement with stored labels; null without labels of answers that they have judged.
    people: Option<AgreementPage>,
    /// Judges with fewer judgements, which are not listed.
    unlisted: u64,
    /// Results without a query id or text, which all numbers exclude.
    without_query: u64,
    /// Results without a time, which drift excludes.
    without_time: u64,
}

/// A judge by one metric.
#[derive(Debug, Serialize)]
struct JudgeResponse {
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    /// Outcomes of judgements on one answer, and on two.
    scores: Counts,
    comparisons: Counts,
    /// Of all calls.
    unparsed: Share,
    refused: Share,
    failed: Share,
    /// Of judgements, not queries.
    mean: Option<f64>,
    out_of_range: u64,
    histogram: Vec<BinResponse>,
    position: PositionResponse,
    /// Shares of the comparisons in both orders.
    consistency: Share,
    prefers_first: Share,
    prefers_second: Share,
    /// Judgements on two answers without the other order, which the position excludes.
    incomplete: u64,
    drift: Vec<DayResponse>,
    /// Days with judgements that each entry of `drift` combines, at most.
    days_per_entry: usize,
}

#[derive(Debug, Serialize)]
struct DayResponse {
    /// The last day, in UTC.
    day: String,
    counts: Counts,
    mean: Option<f64>,
    interval: Option<Interval>,
    #[serde(skip)]
    date: time::Date,
}

/// Shows the judges.
pub(super) async fn show(
    view: View,
    State(results): State<Results>,
    Filters(Both(filters, selected)): Filters<Both<Chosen, ResultFilters>>,
) -> Result<Response, ApiError> {
    let (stored, is_whole) = results.labels(&LabelSelection::default(), MOST_LABELS).await?;
    let labels = Labels::of_stored(stored);
    let wanted = labels.queries().cloned().collect();
    let gathered = results.gather_with_days(&selected.into_selection()?, &wanted).await?;
    let Gathered { all, wanted, drift, without_query } = gathered;
    let without_time = drift.without_time;
    let computed = results.compute([all, wanted], move |[judgements, labelled]| {
        let agreed = agree_on(&labelled, &labels, Repeats::majority());
        (summarize_judges(&judgements), drift.finish(MOST_POINTS), agreed)
    });
    let (summaries, mut drifts, agreed) = computed.await;
    let people = AgreementPage::of(agreed, !is_whole);
    let people = (!people.is_empty()).then_some(people);
    let mut judges: Vec<JudgeResponse> = summaries
        .into_iter()
        .map(|summary| {
            let is_same = |drift: &JudgeDrift| drift.metric == summary.metric && drift.judge == summary.judge;
            let drift = drifts.iter().position(is_same).map(|place| drifts.swap_remove(place));
            JudgeResponse::new(summary, drift)
        })
        .collect();
    judges.sort_by_key(|judge| std::cmp::Reverse(judge.unparsed.whole));
    let unlisted = judges.len().saturating_sub(MOST_LISTED) as u64;
    judges.truncate(MOST_LISTED);
    Ok(view.show(&JudgesPage { filters, judges, people, unlisted, without_query, without_time }))
}

impl JudgeResponse {
    fn new(summary: JudgeSummary, drift: Option<JudgeDrift>) -> Self {
        let JudgeSummary {
            metric,
            judge,
            scores,
            out_of_range,
            mean,
            histogram,
            comparisons,
            position,
            incomplete,
        } = summary;
        let all = scores + comparisons;
        let of_calls = |part| Share::of(part, calls(all));
        let of_compared = |part| Share::of(part, position.counts.scored);
        // A judge of comparisons has no scores over time.
        let (days, days_per_entry) =
            drift.map_or((Vec::new(), 1), |drift| (drift.days, drift.days_per_point));
        Self {
            evaluation_prompt_id: metric,
            judge_model: judge,
            scores,
            comparisons,
            unparsed: of_calls(all.unparsed),
            refused: of_calls(all.refused),
            failed: of_calls(all.failed),
            mean,
            out_of_range,
            histogram: BinResponse::all(histogram),
            consistency: of_compared(position.consistent),
            prefers_first: of_compared(position.prefers_first),
            prefers_second: of_compared(position.prefers_second),
            position: position.into(),
            incomplete,
            drift: days.into_iter().map(DayResponse::from).collect(),
            days_per_entry,
        }
    }

    fn label(&self) -> String {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
        format!("{} by {}", name(&self.judge_model), name(&self.evaluation_prompt_id))
    }

    fn row(&self) -> Markup {
        let chosen = link(
            &Section::Judges.path(),
            [
                ("judge_model", self.judge_model.as_deref()),
                ("evaluation_prompt_id", self.evaluation_prompt_id.as_deref()),
            ],
        );
        html! {
            tr {
                td { a href=(chosen) { (named(self.judge_model.as_ref())) } } td { (named(self.evaluation_prompt_id.as_ref())) }
                td.number { (text::count(calls(self.scores))) } td.number { (text::count(calls(self.comparisons))) }
                td { (self.unparsed.shown()) } td { (self.refused.shown()) }
                td.number { (number(self.mean)) } td.number { (text::count(self.scores.scored)) } td.number { (text::count(self.out_of_range)) }
                td { (self.consistency.shown()) } td { (self.prefers_first.shown()) } td { (self.prefers_second.shown()) }
                td { (left_out(self.scores + self.comparisons)) } td.number { (text::count(self.incomplete)) }
            }
        }
    }

    fn plots(&self) -> Markup {
        let label = self.label();
        let at = |day: &DayResponse| day.date.midnight();
        let means = self.drift.iter().filter_map(|day| {
            let interval = day.interval.map(|Interval { low, high }| (low, high));
            Some(Point { at: at(day), value: day.mean?, interval })
        });
        let means = Line { name: "mean".to_owned(), points: means.collect() };
        let share = |name: &str, part: fn(Counts) -> u64| {
            // A day without calls has no share, and no point.
            let points = self.drift.iter().filter_map(|day| {
                let Share { share, interval, .. } = Share::of(part(day.counts), calls(day.counts));
                let interval = interval.map(|Interval { low, high }| (low, high));
                Some(Point { at: at(day), value: share?, interval })
            });
            Line { name: name.to_owned(), points: points.collect() }
        };
        let missing =
            [share("unparsed", |counts| counts.unparsed), share("refused", |counts| counts.refused)];
        html! {
            h2 { (text::text(&label)) }
            div.plots {
                (BinResponse::plot(&format!("Scores of {label}"), &self.histogram))
                @if !means.points.is_empty() { (lines(("Mean score by day, with its 95 % interval over judgements", None), &[means])) }
                @if missing.iter().any(|line| !line.points.is_empty()) { (lines(("Share of calls without a score, by day", None), &missing)) }
            }
            p.note {
                (text::counted(self.scores.scored, "score")) "; left out: " (left_out(self.scores)) ". "
                @if self.days_per_entry > 1 { "Each point combines up to " (self.days_per_entry) " days." }
            }
        }
    }
}

impl From<DayVerdicts> for DayResponse {
    fn from(DayVerdicts { day, counts, mean, interval }: DayVerdicts) -> Self {
        Self { day: day.to_string(), counts, mean, interval, date: day }
    }
}

impl JudgesPage {
    fn form(&self) -> Markup {
        let Chosen { judge_model, evaluation_prompt_id, theme, run_id } = &self.filters;
        html! {
            form.filters method="get" action=(Section::Judges.path()) {
                label { "judge" input name="judge_model" value=[judge_model.as_ref()]; }
                label { "metric" input name="evaluation_prompt_id" value=[evaluation_prompt_id.as_ref()]; }
                label { "theme" input name="theme" value=[theme.as_ref()]; }
                label { "run" input name="run_id" value=[run_id.as_ref()]; }
                div.actions { button type="submit" { "Show" } a href=(Section::Judges.path()) { "Clear" } }
            }
        }
    }

    fn notes(&self) -> Markup {
        html! {
            p.note {
                "Shares have 95 % intervals by Wilson, over calls of the judge; answers that a model did not give are no calls. Position: comparisons that were judged in both orders."
                @if self.without_query > 0 { " Left out: " (text::counted(self.without_query, "result")) " without a query." }
                @if self.without_time > 0 { " Left out of plots over time: " (text::counted(self.without_time, "result")) " without a time." }
                @if self.unlisted > 0 { " Not listed: " (text::counted(self.unlisted, "judge")) " with fewer judgements; choose a metric." }
            }
        }
    }
}

impl Page for JudgesPage {
    fn title(&self) -> String {
        Section::Judges.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Judges
    }

    fn body(&self, _: &View) -> Markup {
        let agreement = link(
            &format!("{}/agreement", Section::Judges.path()),
            [
                ("judge_model", self.filters.judge_model.as_deref()),
                ("evaluation_prompt_id", self.filters.evaluation_prompt_id.as_deref()),
            ],
        );
        html! {
            (self.form())
            @if self.judges.is_empty() {
                (layout::empty("There are no judgements that satisfy these filters.", html! {
                    p { "Judgements come from runs: " a href=(Section::Runs.path()) { "Runs" } "." }
                }))
            } @else {
                div.actions { a.button.quiet href=(agreement) { "Compare with people's labels" } }
                div.scroll { table data-sortable {
                    thead { tr {
                        th scope="col" { "judge" } th scope="col" { "metric" } th.number scope="col" { "of one answer" } th.number scope="col" { "of two" }
                        th scope="col" { "unparsed" } th scope="col" { "refused" }
                        th.number scope="col" { "mean score" } th.number scope="col" { "scores" } th.number scope="col" { "off the scale" }
                        th scope="col" { "same in both orders" } th scope="col" { "prefers first" } th scope="col" { "prefers second" }
                        th scope="col" { "left out" } th.number scope="col" { "one order only" }
                    } }
                    tbody { @for judge in &self.judges { (judge.row()) } }
                } }
                (self.notes())
                @if let Some(people) = &self.people { (people.tables()) }
                @for judge in self.judges.iter().take(MOST_PLOTTED) { (judge.plots()) }
                @if self.judges.len() > MOST_PLOTTED {
                    p.note { "Plots of the " (MOST_PLOTTED) " judges with most judgements; choose a judge to see its own." }
                }
            }
        }
    }
}
