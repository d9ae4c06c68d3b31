//! Agreement of judges with people's labels: those that are stored, or that are given by a form and not stored.

use std::collections::HashMap;

use axum::{extract::State, response::Response};
use judge::{
    outcome::Counts,
    results::{Calibration, CalibrationBin, Confusion, Rating},
    statistics::Interval,
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use store::postgres::{LabelSelection, ResultSelection};

use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link},
        form::Form,
        layout,
        measured::{left_out, named, number},
        page::Page,
        plot::{Calibrated, calibration},
        text,
        view::View,
    },
    handlers::summaries::{Agreed, MOST_LABELS, agreed},
    request::Object,
    results::Results,
    wire::{AgreementResponse, HumanLabel, Labels, RateResponse, Repeats},
};

/// Different verdicts that a confusion matrix shows.
const MOST_VERDICTS: usize = 20;

/// The judge and the metric.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Chosen {
    judge_model: Option<String>,
    evaluation_prompt_id: Option<String>,
    /// Whether stored labels are compared.
    #[serde(default)]
    stored: bool,
    /// The annotator of stored labels; all by default.
    annotator: Option<String>,
}

/// The form.
#[derive(Debug, Serialize)]
struct FormPage {
    filters: Chosen,
}

/// The fields of the form.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Given {
    labels: String,
    judge_model: Option<String>,
    evaluation_prompt_id: Option<String>,
}

/// The comparison.
#[derive(Debug, Serialize)]
pub(super) struct AgreementPage {
    #[serde(flatten)]
    agreement: AgreementResponse,
    calibration: Vec<CalibrationResponse>,
    confusion: Vec<ConfusionResponse>,
}

/// How often a judge and people say what.
#[derive(Debug, Serialize)]
struct ConfusionResponse {
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    /// Scores are rounded to whole numbers.
    cells: Vec<CellResponse>,
}

#[derive(Debug, Serialize)]
struct CellResponse {
    #[serde(serialize_with = "as_text")]
    people: Rating,
    #[serde(serialize_with = "as_text")]
    judge: Rating,
    labels: u64,
}

fn as_text<S: Serializer>(rating: &Rating, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(rating)
}

/// What people say of answers to which a judge gives similar scores.
#[derive(Debug, Serialize)]
struct CalibrationResponse {
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    groups: Vec<GroupResponse>,
    counts: Counts,
    /// Labels of answers that the judge has not judged.
    not_judged: u64,
}

#[derive(Debug, Serialize)]
struct GroupResponse {
    judge: f64,
    people: f64,
    interval: Option<Interval>,
    labels: u64,
}

/// Shows the form, or compares stored labels.
pub(super) async fn form(
    view: View,
    State(results): State<Results>,
    Filters(filters): Filters<Chosen>,
) -> Result<Response, ApiError> {
    if !filters.stored {
        return Ok(view.show(&FormPage { filters }));
    }
    let Chosen { judge_model, evaluation_prompt_id, annotator, .. } = filters;
    let stored = LabelSelection { annotator, ..LabelSelection::default() };
    let (stored, is_whole) = results.labels(&stored, MOST_LABELS).await?;
    let selection = ResultSelection { judge_model, evaluation_prompt_id, ..ResultSelection::default() };
    let labels = Labels::of_stored(stored);
    let agreed = agreed(&results, &selection, Repeats::majority(), labels).await?;
    Ok(view.show(&AgreementPage::of(agreed, !is_whole)))
}

/// Compares the labels of the form.
pub(super) async fn compare(
    view: View,
    State(results): State<Results>,
    Form(Given { labels, judge_model, evaluation_prompt_id }): Form<Given>,
) -> Result<Response, ApiError> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let selection = ResultSelection {
        judge_model: given(judge_model),
        evaluation_prompt_id: given(evaluation_prompt_id),
        ..ResultSelection::default()
    };
    let labels = Labels::new(parsed(&labels)?)?;
    let agreed = agreed(&results, &selection, Repeats::majority(), labels).await?;
    Ok(view.show(&AgreementPage::of(agreed, false)))
}

/// Labels as JSON lines, or as one JSON list.
fn parsed(written: &str) -> Result<Vec<Object<HumanLabel>>, ApiError> {
    let invalid = |place: &str, error: &serde_json::Error| ApiError::invalid(place, error.to_string());
    let labels: Vec<Object<HumanLabel>> = if written.trim_start().starts_with('[') {
        serde_json::from_str(written).map_err(|error| invalid("labels", &error))?
    } else {
        let lines = written.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let read = |(number, line): (usize, &str)| {
            serde_json::from_str(line)
                .map_err(|error| invalid(&format!("labels, line {}", number + 1), &error))
        };
        lines.map(read).collect::<Result<_, _>>()?
    };
    if labels.is_empty() || labels.len() > MOST_LABELS as usize {
        return Err(ApiError::invalid(
            "labels",
            format!("expected 1 to {MOST_LABELS} labels, found {}", labels.len()),
        ));
    }
    Ok(labels)
}

impl From<Calibration> for CalibrationResponse {
    fn from(Calibration { metric, judge, bins, counts, not_judged }: Calibration) -> Self {
        let group = |CalibrationBin { judge, people, interval, labels }| GroupResponse {
            judge,
            people,
            interval,
            labels,
        };
        Self {
            evaluation_prompt_id: metric,
            judge_model: judge,
            groups: bins.into_iter().map(group).collect(),
            counts,
            not_judged,
        }
    }
}

impl CalibrationResponse {
    fn plot(&self) -> Markup {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
        let title = format!("{} by {}", name(&self.judge_model), name(&self.evaluation_prompt_id));
        let points: Vec<Calibrated> = self
            .groups
            .iter()
            .map(|group| Calibrated {
                judge: group.judge,
                people: group.people,
                interval: group.interval.map(|Interval { low, high }| (low, high)),
                labels: group.labels,
            })
            .collect();
        calibration(&title, &points)
    }
}

impl From<Confusion> for ConfusionResponse {
    fn from(Confusion { metric, judge, cells }: Confusion) -> Self {
        let cells = cells.into_iter().map(|cell| CellResponse {
            people: cell.people,
            judge: cell.judge,
            labels: cell.labels,
        });
        Self { evaluation_prompt_id: metric, judge_model: judge, cells: cells.collect() }
    }
}

impl ConfusionResponse {
    fn table(&self) -> Markup {
        let verdicts = |of: fn(&CellResponse) -> Rating| {
            let mut verdicts: Vec<Rating> = self.cells.iter().map(of).collect();
            verdicts.sort_unstable();
            verdicts.dedup();
            verdicts
        };
        let (people, judge) = (verdicts(|cell| cell.people), verdicts(|cell| cell.judge));
        let counts: HashMap<(Rating, Rating), u64> =
            self.cells.iter().map(|cell| ((cell.people, cell.judge), cell.labels)).collect();
        // Pairs of verdicts that no label has are not among the cells.
        let count = |people: Rating, judge: Rating| counts.get(&(people, judge)).copied().unwrap_or_default();
        html! {
            p { strong { (named(self.judge_model.as_ref())) " by " (named(self.evaluation_prompt_id.as_ref())) } }
            @if self.cells.is_empty() { p.note { "The judge has no verdict on a labelled answer." } }
            @else if people.len() > MOST_VERDICTS || judge.len() > MOST_VERDICTS {
                p.note { "There are more than " (MOST_VERDICTS) " different scores, which only the page's data list." }
            } @else {
                div.scroll { table.matrix {
                    thead { tr { th scope="col" { "people, judge" } @for judge in &judge { th.number scope="col" { (judge) } } } }
                    tbody { @for people in &people { tr {
                        th scope="row" { (people) }
                        @for judge in &judge { td.number.same[people == judge] { (text::count(count(*people, *judge))) } }
                    } } }
                } }
            }
        }
    }
}

fn rates(rate: &RateResponse) -> Markup {
    html! {
        td.number { (number(rate.accuracy)) } td.number { (number(rate.kappa)) }
        td.number { (text::count(rate.agreed)) } td.number { (text::count(rate.pairs)) }
    }
}

impl AgreementPage {
    /// That of `agreed`.
    pub(super) fn of(agreed: Agreed, older_left_out: bool) -> Self {
        let Agreed { agreement, calibrations, confusions } = agreed;
        Self {
            agreement: AgreementResponse { older_left_out, ..agreement },
            calibration: calibrations.into_iter().map(CalibrationResponse::from).collect(),
            confusion: confusions.into_iter().map(ConfusionResponse::from).collect(),
        }
    }

    /// Whether no label is of an answer that a judge has judged.
    pub(super) fn is_empty(&self) -> bool {
        self.agreement.scores.is_empty() && self.agreement.winners.is_empty()
    }

    /// The numbers and plots.
    pub(super) fn tables(&self) -> Markup {
        let AgreementResponse { labels, older_left_out, scores, winners } = &self.agreement;
        html! {
            h2 { "Judges and people" }
            p { (text::counted(*labels, "label")) " compared." @if *older_left_out { " Older ones are left out." } }
            @if !scores.is_empty() { (self.scores()) }
            @if !winners.is_empty() { (self.winners()) }
            @if !self.confusion.is_empty() {
                h3 { "Confusion" }
                div.plots { @for one in &self.confusion { div { (one.table()) } } }
                p.note { "How often people say what is in a row where the judge says what is in a column; scores are rounded to whole numbers, and A is the answer that the person saw first. Labels without a verdict of the judge are left out." }
            }
        }
    }

    fn scores(&self) -> Markup {
        html! {
            h3 { "Scores" }
            div.scroll { table data-sortable {
                thead { tr {
                    th scope="col" { "judge" } th scope="col" { "metric" } th.number scope="col" { "same score" } th.number scope="col" { "kappa" }
                    th.number scope="col" { "agreed" } th.number scope="col" { "labels" } th scope="col" { "left out" } th.number scope="col" { "not judged" }
                } }
                tbody { @for one in &self.agreement.scores { tr {
                    td { (named(one.judge_model.as_ref())) } td { (named(one.evaluation_prompt_id.as_ref())) }
                    (rates(&one.agreement)) td { (left_out(one.counts)) } td.number { (text::count(one.not_judged)) }
                } } }
            } }
            h3 { "Calibration" }
            div.plots { @for one in &self.calibration { (one.plot()) } }
            p.note { "Points are answers to which the judge gives similar scores, with the mean of people's scores and its 95 % interval. Labels of answers without a score of the judge are left out." }
        }
    }

    fn winners(&self) -> Markup {
        html! {
            h3 { "Winners" }
            div.scroll { table data-sortable {
                thead { tr {
                    th scope="col" { "judge" } th scope="col" { "metric" } th.number scope="col" { "same winner" } th.number scope="col" { "kappa" }
                    th.number scope="col" { "agreed" } th.number scope="col" { "labels" }
                    th.number scope="col" { "without ties" } th.number scope="col" { "kappa" } th.number scope="col" { "agreed" } th.number scope="col" { "labels" }
                    th.number scope="col" { "ties" } th.number scope="col" { "same in both orders" } th scope="col" { "left out" } th.number scope="col" { "not judged" }
                } }
                tbody { @for one in &self.agreement.winners { tr {
                    td { (named(one.judge_model.as_ref())) } td { (named(one.evaluation_prompt_id.as_ref())) }
                    (rates(&one.three_way)) (rates(&one.without_ties)) td.number { (text::count(one.ties)) }
                    td.number { (number(one.position.consistency)) } td { (left_out(one.counts)) } td.number { (text::count(one.not_judged)) }
                } } }
            } }
        }
    }
}

impl Page for FormPage {
    fn title(&self) -> String {
        "Compare judges with people".to_owned()
    }

    fn section(&self) -> Section {
        Section::Judges
    }

    fn body(&self, view: &View) -> Markup {
        let action = format!("{}/agreement", Section::Judges.path());
        let stored = link(
            &action,
            [
                ("stored", Some("true")),
                ("judge_model", self.filters.judge_model.as_deref()),
                ("evaluation_prompt_id", self.filters.evaluation_prompt_id.as_deref()),
            ],
        );
        html! {
            form.edit method="post" action=(action) {
                (view.token())
                label { "judge (all if empty)" input name="judge_model" value=[self.filters.judge_model.as_ref()]; }
                label { "metric (all if empty)" input name="evaluation_prompt_id" value=[self.filters.evaluation_prompt_id.as_ref()]; }
                label { "labels, one JSON object a line" textarea.tall name="labels" required spellcheck="false" {} }
                div.actions { button type="submit" { "Compare" } a href=(Section::Judges.path()) { "Cancel" } }
            }
            p { "A label is a person's score of an answer, or the better one of two answers:" }
            pre {
                r#"{"query_id": "…", "model_id": "gpt-4o", "score": 7}"# "\n"
                r#"{"query_text": "Why?", "model_a": "gpt-4o", "model_b": "claude", "winner": "a"}"#
            }
            p.note {
                "They are compared with the stored judgements and not kept. To keep labels, " a href=(Section::Label.path()) { "give or import them" } "; "
                a href=(stored) { "compare stored labels" } "."
            }
        }
    }
}

impl Page for AgreementPage {
    fn title(&self) -> String {
        "Judges and people".to_owned()
    }

    fn section(&self) -> Section {
        Section::Judges
    }

    fn body(&self, _: &View) -> Markup {
        html! {
            @if self.is_empty() {
                p { (text::counted(self.agreement.labels, "label")) " compared." }
                (layout::empty("No judgement has one of these queries.", html! { p { "Check the queries of the labels, and the judge and metric of the form." } }))
            } @else { (self.tables()) }
            p { a.button.quiet href=(format!("{}/agreement", Section::Judges.path())) { "Compare other labels" } }
        }
    }
}
