//! Agreement of judges with people's labels, which are given by a form and not stored.

use axum::{extract::State, response::Response};
use judge::{
    outcome::Counts,
    results::{Calibration, CalibrationBin},
    statistics::Interval,
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::ResultSelection;

use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::Filters,
        form::Form,
        layout,
        measured::{left_out, named, number},
        page::Page,
        plot::{Calibrated, calibration},
        text,
        view::View,
    },
    handlers::summaries::agreed,
    request::Object,
    results::Results,
    wire::{AgreementResponse, HumanLabel, Labels, RateResponse, Repeats},
};

/// Labels at most, as in the API.
const MOST_LABELS: usize = 100_000;

/// The judge and the metric.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Chosen {
    judge_model: Option<String>,
    evaluation_prompt_id: Option<String>,
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
struct AgreementPage {
    labels: u64,
    #[serde(flatten)]
    agreement: AgreementResponse,
    calibration: Vec<CalibrationResponse>,
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

/// Shows the form.
pub(super) async fn form(view: View, Filters(filters): Filters<Chosen>) -> Response {
    view.show(&FormPage { filters })
}

/// Compares.
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
    let labels = parsed(&labels)?;
    let count = labels.len() as u64;
    let labels = Labels::new(labels)?;
    let (agreement, calibrations) = agreed(&results, &selection, Repeats::majority(), labels).await?;
    let calibration = calibrations.into_iter().map(CalibrationResponse::from).collect();
    Ok(view.show(&AgreementPage { labels: count, agreement, calibration }))
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
    if labels.is_empty() || labels.len() > MOST_LABELS {
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

fn rates(rate: &RateResponse) -> Markup {
    html! {
        td.number { (number(rate.accuracy)) } td.number { (number(rate.kappa)) }
        td.number { (text::count(rate.agreed)) } td.number { (text::count(rate.pairs)) }
    }
}

impl AgreementPage {
    fn scores(&self) -> Markup {
        html! {
            h2 { "Scores" }
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
            h2 { "Calibration" }
            div.plots { @for one in &self.calibration { (one.plot()) } }
            p.note { "Points are answers to which the judge gives similar scores, with the mean of people's scores and its 95 % interval. Labels of answers without a score of the judge are left out." }
        }
    }

    fn winners(&self) -> Markup {
        html! {
            h2 { "Winners" }
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
            p.note { "They are compared with the stored judgements and not kept." }
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
        let AgreementResponse { scores, winners } = &self.agreement;
        html! {
            p { (text::counted(self.labels, "label")) " compared." }
            @if scores.is_empty() && winners.is_empty() {
                (layout::empty("No judgement has one of these queries.", html! { p { "Check the queries of the labels, and the judge and metric of the form." } }))
            }
            @if !scores.is_empty() { (self.scores()) }
            @if !winners.is_empty() { (self.winners()) }
            p { a.button.quiet href=(format!("{}/agreement", Section::Judges.path())) { "Compare other labels" } }
        }
    }
}
