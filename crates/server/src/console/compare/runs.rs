//! Comparisons of runs on the queries that they have in common.

use ::records::Service;
use axum::{extract::State, response::Response};
use judge::results::compare_selections;
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::{ResultSelection, runs::NamedRun};
use uuid::Uuid;

use super::{
    super::{Section, filters::Filters, layout, page::Page, text, view::View},
    LETTERS, MOST_COMPARED,
    export::{self, ExportParameters, ExportTable},
    models::repeats,
    runs_path,
    shown::{self, Kind, Row},
};
use crate::{
    answer::ApiError,
    handlers::summaries::summarized,
    request::Both,
    results::{Results, check_size},
    wire::{
        ComparisonResponse, MethodParameters, PairResponse, Repeats, ResultFilters, RunId, ScoresResponse,
        SummaryResponse,
    },
};

/// Runs that a form offers, the newest ones.
const MOST_OFFERED: u32 = 100;

/// What is compared, as it was given.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct Compared {
    run_a: Option<RunId>,
    run_b: Option<RunId>,
    run_c: Option<RunId>,
    run_d: Option<RunId>,
    run_e: Option<RunId>,
    run_f: Option<RunId>,
    run_g: Option<RunId>,
    run_h: Option<RunId>,
}

/// Further conditions, for the form.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Limited {
    theme: Option<String>,
    evaluation_prompt_id: Option<String>,
}

type Parameters = Both<Both<Compared, Limited>, Both<ResultFilters, MethodParameters>>;

/// A comparison of runs.
#[derive(Debug, Serialize)]
struct RunsPage {
    filters: Limited,
    repeats: Repeats,
    seed: u64,
    /// The runs, the first of which is compared with each other one.
    runs: Vec<RunScores>,
    comparisons: Vec<RunComparison>,
    /// The newest runs, which the form offers.
    offered: Vec<Offered>,
}

/// The results of a run.
#[derive(Debug, Serialize)]
struct RunScores {
    run_id: String,
    name: Option<String>,
    without_query: u64,
    scores: Vec<ScoresResponse>,
    pairs: Vec<PairResponse>,
}

/// Scores of the first run and another, by a model and a metric.
#[derive(Debug, Serialize)]
struct RunComparison {
    run_b: String,
    #[serde(flatten)]
    comparison: ComparisonResponse,
}

/// A run that can be chosen.
#[derive(Debug, Serialize)]
struct Offered {
    run_id: String,
    name: Option<String>,
    #[serde(serialize_with = "written")]
    created_at: time::PrimitiveDateTime,
}

fn written<S: serde::Serializer>(at: &time::PrimitiveDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&::records::timestamp::format(*at))
}

/// Shows the comparison.
pub(super) async fn show(
    view: View,
    State(results): State<Results>,
    Filters(parameters): Filters<Parameters>,
) -> Result<Response, ApiError> {
    Ok(view.show(&compared(&results, parameters).await?))
}

/// Exports a table of the comparison.
pub(super) async fn export(
    State(results): State<Results>,
    Filters(Both(parameters, ExportParameters { table })): Filters<Both<Parameters, ExportParameters>>,
) -> Result<Response, ApiError> {
    let page = compared(&results, parameters).await?;
    let first = page.runs.first().map(|run| run.run_id.as_str());
    let runs = || page.runs.iter().map(|run| (Some(run.run_id.as_str()), run));
    Ok(match table {
        ExportTable::Comparisons => export::comparisons(
            page.comparisons.iter().map(|one| ([first, Some(one.run_b.as_str())], &one.comparison)),
        ),
        ExportTable::Scores => {
            export::scores(runs().flat_map(|(id, run)| run.scores.iter().map(move |one| (id, one))))
        }
        ExportTable::Pairs => {
            export::pairs(runs().flat_map(|(id, run)| run.pairs.iter().map(move |one| (id, one))))
        }
    })
}

async fn compared(results: &Results, parameters: Parameters) -> Result<RunsPage, ApiError> {
    let Both(Both(compared, filters), Both(selected, parameters)) = parameters;
    let selection = selected.into_selection()?;
    if selection.run_id.is_some() {
        return Err(ApiError::invalid("run_id", "expected the runs as `run_a`, `run_b` and so on"));
    }
    let chosen = compared.chosen()?;
    let named = results.process.measured(Service::Judge, "name_runs", results.database.runs_named(&chosen));
    let newest =
        results.process.measured(Service::Judge, "name_runs", results.database.newest_runs(MOST_OFFERED));
    let (named, offered) = tokio::try_join!(named, newest)?;
    let (mut gathered, mut without_query) = (Vec::new(), Vec::new());
    for id in &chosen {
        if named.iter().all(|run| run.id != *id) {
            return Err(ApiError::NoRecord { noun: "run", id: id.to_string() });
        }
        let of_run = ResultSelection { run_id: Some(*id), ..selection.clone() };
        let (gathering, without) = results.gather(&of_run).await?;
        gathered.push(gathering);
        without_query.push(without);
    }
    let method = parameters.method();
    let computed = results.compute_all(gathered, move |judgements| {
        // Each metric and model has a group in at least one of two.
        let bytes = judgements.iter().map(|one| one.summary_bytes());
        check_size(bytes.fold(0, usize::saturating_add))?;
        let summaries = judgements
            .iter()
            .zip(without_query)
            .map(|(one, without_query)| summarized(one, (parameters, without_query), &[]))
            .collect::<Result<Vec<SummaryResponse>, ApiError>>()?;
        let compared = judgements.split_first().map(|(first, others)| {
            let compare = |other| compare_selections(first, other, &method);
            others.iter().map(compare).collect::<Vec<_>>()
        });
        // Nothing is compared without runs.
        Ok::<_, ApiError>((summaries, compared.unwrap_or_default()))
    });
    let (summaries, differences) = computed.await?;
    let name = |id: &Uuid| named.iter().find(|run| run.id == *id).and_then(|run| run.name.clone());
    let runs = chosen.iter().zip(summaries).map(|(id, summary)| RunScores {
        run_id: id.to_string(),
        name: name(id),
        without_query: summary.without_query,
        scores: summary.scores,
        pairs: summary.pairs,
    });
    let comparisons = chosen.iter().skip(1).zip(differences).flat_map(|(id, differences)| {
        let run_b = id.to_string();
        differences.into_iter().map(move |one| RunComparison { run_b: run_b.clone(), comparison: one.into() })
    });
    Ok(RunsPage {
        filters,
        repeats: parameters.repeats,
        seed: parameters.seed,
        runs: runs.collect(),
        comparisons: comparisons.collect(),
        offered: offered.into_iter().map(Offered::from).collect(),
    })
}

impl Compared {
    /// The runs in the order of their letters.
    fn chosen(&self) -> Result<Vec<Uuid>, ApiError> {
        let Self { run_a, run_b, run_c, run_d, run_e, run_f, run_g, run_h } = self;
        let all: [&Option<RunId>; MOST_COMPARED] = [run_a, run_b, run_c, run_d, run_e, run_f, run_g, run_h];
        let mut chosen: Vec<Uuid> = Vec::new();
        for (place, run) in all.into_iter().enumerate() {
            let Some(RunId(run)) = run else { continue };
            if chosen.contains(run) {
                return Err(ApiError::invalid(field(place), "expected a run other than those before it"));
            }
            chosen.push(*run);
        }
        Ok(chosen)
    }
}

fn field(place: usize) -> String {
    format!("run_{}", LETTERS[place].to_ascii_lowercase())
}

impl From<NamedRun> for Offered {
    fn from(NamedRun { id, name, created_at }: NamedRun) -> Self {
        Self { run_id: id.to_string(), name, created_at }
    }
}

impl RunScores {
    /// Its letter and name.
    fn label(&self, place: usize) -> String {
        format!("{} {}", LETTERS[place], self.name.as_deref().unwrap_or(&self.run_id))
    }
}

impl RunsPage {
    fn form(&self) -> Markup {
        // One more than are chosen, so that another can be added.
        let shown = (self.runs.len() + 1).clamp(2, MOST_COMPARED);
        let is_offered = |id: &str| self.offered.iter().any(|run| run.run_id == id);
        html! {
            form.filters method="get" action=(runs_path()) {
                @for place in 0..shown {
                    @let chosen = self.runs.get(place);
                    label { "run " (LETTERS[place]) @if place >= 2 && chosen.is_none() { " (optional)" }
                        select name=(field(place)) {
                            option value="" { "–" }
                            @if let Some(run) = chosen.filter(|run| !is_offered(&run.run_id)) {
                                option value=(run.run_id) selected { (text::plain(run.name.as_deref().unwrap_or(&run.run_id))) }
                            }
                            @for run in &self.offered {
                                option value=(run.run_id) selected[chosen.is_some_and(|chosen| chosen.run_id == run.run_id)] {
                                    (text::plain(run.name.as_deref().unwrap_or(&run.run_id))) ", " (text::moment(run.created_at))
                                }
                            }
                        }
                    }
                }
                label { "theme" input name="theme" value=[self.filters.theme.as_ref()]; }
                label { "metric" input name="evaluation_prompt_id" value=[self.filters.evaluation_prompt_id.as_ref()]; }
                button type="submit" { "Compare" }
            }
        }
    }

    fn comparisons(&self) -> Markup {
        let rows: Vec<Row<'_>> = self
            .comparisons
            .iter()
            .filter_map(|one| {
                // Only the runs of the page are compared.
                let place = self.runs.iter().position(|run| run.run_id == one.run_b)?;
                let run = &self.runs[place];
                let name = run.name.clone().unwrap_or_else(|| run.run_id.clone());
                Some(Row { letter: LETTERS[place], name, comparison: &one.comparison })
            })
            .collect();
        html! {
            h2 { "A minus " @if self.runs.len() > 2 { "each other" } @else { "B" } }
            @if rows.is_empty() { p.note { "None of the runs has scores that satisfy the filters." } }
            @else {
                (shown::comparisons(Kind::Runs, &rows))
                p.note { "A model that only one of two runs has is compared on no query. Comparisons of two answers have no scores; their win rates are below." }
            }
        }
    }

    fn files(&self, view: &View) -> Markup {
        let seed = self.seed.to_string();
        let own = ["seed", "repeats"];
        let given = view.given.parameters.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let mut parameters: Vec<(&str, Option<&str>)> =
            given.map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
        parameters.extend([("repeats", Some(repeats(self.repeats))), ("seed", Some(seed.as_str()))]);
        let mut tables = Vec::new();
        if !self.comparisons.is_empty() {
            tables.push(ExportTable::Comparisons);
        }
        if self.runs.iter().any(|run| !run.scores.is_empty()) {
            tables.push(ExportTable::Scores);
        }
        if self.runs.iter().any(|run| !run.pairs.is_empty()) {
            tables.push(ExportTable::Pairs);
        }
        shown::files(&runs_path(), &parameters, &tables)
    }
}

impl Page for RunsPage {
    fn title(&self) -> String {
        "Compare runs".to_owned()
    }

    fn section(&self) -> Section {
        Section::Compare
    }

    fn body(&self, view: &View) -> Markup {
        let labels: Vec<String> = self.runs.iter().enumerate().map(|(place, run)| run.label(place)).collect();
        let of_runs = || labels.iter().map(String::as_str).zip(&self.runs);
        let scores: Vec<_> =
            of_runs().flat_map(|(label, run)| run.scores.iter().map(move |one| (Some(label), one))).collect();
        let pairs: Vec<_> =
            of_runs().flat_map(|(label, run)| run.pairs.iter().map(move |one| (Some(label), one))).collect();
        html! {
            (self.form())
            p { a href=(Section::Compare.path()) { "Compare models" } " instead of runs." }
            @if self.offered.len() >= MOST_OFFERED as usize { p.note { "The newest " (MOST_OFFERED) " runs are offered; an older one is compared from its page." } }
            @for (label, run) in of_runs().filter(|(_, run)| run.without_query > 0) {
                p.note { (text::text(label)) ": " (text::counted(run.without_query, "result")) " without a query are left out." }
            }
            @if self.offered.is_empty() {
                (layout::empty("There is no run yet.", html! { p { a href={ (Section::Runs.path()) "/new" } { "Start one" } "." } }))
            } @else if self.runs.is_empty() {
                p { "Choose two to eight runs to compare each model's scores on the queries that both have a score for." }
            } @else {
                p { @for (label, run) in of_runs() { a href={ (Section::Runs.path()) "/" (run.run_id) } { (text::text(label)) } " " } }
                (self.files(view))
                @if self.runs.len() > 1 { (self.comparisons()) }
                @if !scores.is_empty() { (shown::scores(&scores)) }
                @if !pairs.is_empty() { (shown::pairs(&pairs)) }
                @if scores.is_empty() && pairs.is_empty() { p.note { "There are no results that satisfy the filters." } }
                p.note { "Several verdicts on a query are combined by their " (repeats(self.repeats)) "." }
            }
        }
    }
}
