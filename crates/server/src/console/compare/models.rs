//! Comparisons of models.

use ::records::Service;
use axum::{extract::State, response::Response};
use judge::results::{QueryDifference, largest_regressions};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::ResultSelection;

use super::{
    super::{
        Section,
        filters::{Filters, link},
        layout,
        measured::{named, number},
        page::Page,
        plot::{Cell, heat_map},
        records::record,
        text,
        view::View,
    },
    LETTERS, MOST_COMPARED,
    export::{self, ExportParameters, ExportTable},
    runs_path,
    shown::{self, Kind, Row},
};
use crate::{
    answer::ApiError,
    handlers::summaries::summarized,
    request::Both,
    results::Results,
    wire::{MethodParameters, Repeats, ResultFilters, ScoresResponse, SummaryResponse},
};

/// Queries that are listed.
const MOST_REGRESSIONS: usize = 25;
/// Metrics of which means by theme are plotted.
const MOST_HEAT_MAPS: usize = 4;

/// What is compared, as it was given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Compared {
    model_a: Option<String>,
    model_b: Option<String>,
    model_c: Option<String>,
    model_d: Option<String>,
    model_e: Option<String>,
    model_f: Option<String>,
    model_g: Option<String>,
    model_h: Option<String>,
    theme: Option<String>,
    evaluation_prompt_id: Option<String>,
    run_id: Option<String>,
}

type Parameters = Both<Both<Compared, ResultFilters>, MethodParameters>;

/// A comparison of models, and the means of all.
#[derive(Debug, Serialize)]
struct ComparePage {
    filters: Compared,
    /// The models, the first of which is compared with each other one.
    chosen: Vec<String>,
    #[serde(flatten)]
    summary: SummaryResponse,
    /// The queries on which the first model scores lower than another, largest difference first.
    regressions: Vec<Regression>,
}

/// Scores of two models on a query.
#[derive(Debug, Serialize)]
struct Regression {
    model_b: String,
    evaluation_prompt_id: Option<String>,
    /// The query's id; null if it is known only by its text.
    query_id: Option<String>,
    score_a: f64,
    score_b: f64,
    difference: f64,
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
    let ComparePage { summary, .. } = compared(&results, parameters).await?;
    Ok(match table {
        ExportTable::Comparisons => {
            export::comparisons(summary.comparisons.iter().map(|one| ([None; 2], one)))
        }
        ExportTable::Scores => export::scores(summary.scores.iter().map(|one| (None, one))),
        ExportTable::Pairs => export::pairs(summary.pairs.iter().map(|one| (None, one))),
    })
}

async fn compared(results: &Results, parameters: Parameters) -> Result<ComparePage, ApiError> {
    let Both(Both(filters, selected), parameters) = parameters;
    let selection: ResultSelection = selected.into_selection()?;
    let chosen = filters.chosen()?;
    let (gathering, without_query) = results.gather(&selection).await?;
    let models = chosen.clone();
    let computed = results.compute([gathering], move |[judgements]| {
        let others = models.iter().skip(1);
        let pairs: Vec<_> = others.map(|other| (models[0].clone(), other.clone())).collect();
        let summary = summarized(&judgements, (parameters, without_query), &pairs)?;
        let method = parameters.method();
        let mut regressions: Vec<Regression> = Vec::new();
        for (first, other) in &pairs {
            let worse = largest_regressions(&judgements, (first, other), &method, MOST_REGRESSIONS);
            regressions.extend(worse.into_iter().map(|one| Regression::new(other, one)));
        }
        // Stable: equal differences stay in the order of models.
        regressions.sort_by(|a, b| a.difference.total_cmp(&b.difference));
        regressions.truncate(MOST_REGRESSIONS);
        Ok::<_, ApiError>((summary, regressions))
    });
    let (summary, regressions) = computed.await?;
    Ok(ComparePage { filters, chosen, summary, regressions })
}

impl Compared {
    fn models(&self) -> [Option<&String>; MOST_COMPARED] {
        let Self { model_a, model_b, model_c, model_d, model_e, model_f, model_g, model_h, .. } = self;
        [model_a, model_b, model_c, model_d, model_e, model_f, model_g, model_h].map(Option::as_ref)
    }

    /// The models in the order of their letters.
    fn chosen(&self) -> Result<Vec<String>, ApiError> {
        let mut chosen: Vec<String> = Vec::new();
        for (place, model) in self.models().into_iter().enumerate() {
            let Some(model) = model else { continue };
            if chosen.contains(model) {
                let field = field(place);
                return Err(ApiError::invalid(field, "expected a model other than those before it"));
            }
            chosen.push(model.clone());
        }
        Ok(chosen)
    }
}

fn field(place: usize) -> String {
    format!("model_{}", LETTERS[place].to_ascii_lowercase())
}

impl Regression {
    fn new(other: &str, QueryDifference { metric, query, first, second }: QueryDifference) -> Self {
        let query_id = query.strip_prefix("id ").map(str::to_owned);
        Self {
            model_b: other.to_owned(),
            evaluation_prompt_id: metric,
            query_id,
            score_a: first,
            score_b: second,
            difference: first - second,
        }
    }
}

impl ComparePage {
    fn models(&self) -> Vec<&str> {
        let scored = self.summary.scores.iter().filter_map(|scores| scores.model_id.as_deref());
        let paired =
            self.summary.pairs.iter().flat_map(|pair| [pair.model_a.as_deref(), pair.model_b.as_deref()]);
        // A chosen one may have no results that satisfy the filters.
        let chosen = self.chosen.iter().map(String::as_str);
        let mut models: Vec<&str> = scored.chain(paired.flatten()).chain(chosen).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    fn form(&self) -> Markup {
        let models = self.models();
        let filters = &self.filters;
        // One more than are chosen, so that another can be added.
        let shown = (self.chosen.len() + 1).clamp(2, MOST_COMPARED);
        html! {
            form.filters method="get" action=(Section::Compare.path()) {
                @for place in 0..shown {
                    label { "model " (LETTERS[place]) @if place >= 2 && place >= self.chosen.len() { " (optional)" }
                        select name=(field(place)) {
                            option value="" { "–" }
                            @for model in &models {
                                option value=(model) selected[self.chosen.get(place).is_some_and(|chosen| chosen == model)] { (text::plain(model)) }
                            }
                        }
                    }
                }
                label { "theme" input name="theme" value=[filters.theme.as_ref()]; }
                label { "metric" input name="evaluation_prompt_id" value=[filters.evaluation_prompt_id.as_ref()]; }
                label { "run" input name="run_id" value=[filters.run_id.as_ref()]; }
                button type="submit" { "Compare" }
            }
        }
    }

    fn comparisons(&self) -> Markup {
        let rows: Vec<Row<'_>> = self
            .summary
            .comparisons
            .iter()
            .map(|comparison| {
                // Each comparison of this page is with another model.
                let name = comparison.model_b.clone().unwrap_or_default();
                Row { letter: self.letter(&name), name, comparison }
            })
            .collect();
        html! {
            h2 { "A minus " @if self.chosen.len() > 2 { "each other" } @else { "B" } }
            p { @for (letter, model) in LETTERS.iter().zip(&self.chosen) { strong { (letter) } ": " (text::text(model)) " " } }
            @if rows.is_empty() { p.note { "None of the models has scores that satisfy the filters." } }
            @else { (shown::comparisons(Kind::Models, &rows)) }
        }
    }

    fn letter(&self, model: &str) -> &'static str {
        let place = self.chosen.iter().position(|chosen| chosen == model);
        // Comparisons are only of chosen models.
        place.and_then(|place| LETTERS.get(place)).copied().unwrap_or_default()
    }

    fn regressions(&self, view: &View) -> Markup {
        html! {
            h2 { "Where A is worse" }
            @if self.regressions.is_empty() { p.note { "On no query." } }
            @else {
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "query" } th scope="col" { "metric" } th scope="col" { "worse than" } th.number scope="col" { "A" } th.number scope="col" { "other" } th.number scope="col" { "difference" } th scope="col" { "answers" } } }
                    tbody { @for one in &self.regressions { tr {
                        td { @match &one.query_id {
                            Some(id) => (record(view, Service::Query, id)),
                            None => span.note { "known only by its text" },
                        } }
                        td { (named(one.evaluation_prompt_id.as_ref())) }
                        td { (self.letter(&one.model_b)) ": " (text::text(&one.model_b)) }
                        td.number { (number(Some(one.score_a))) } td.number { (number(Some(one.score_b))) }
                        td.number { (number(Some(one.difference))) }
                        td { @if let Some(id) = &one.query_id { a href=(self.answers(id, &one.model_b)) { "side by side" } } }
                    } } }
                } }
                p.note { "Up to " (MOST_REGRESSIONS) " queries, largest difference first." }
            }
        }
    }

    /// The page of the answers to a query.
    fn answers(&self, query: &str, other: &str) -> String {
        let parameters = [
            ("query_id", Some(query)),
            ("model_a", self.chosen.first().map(String::as_str)),
            ("model_b", Some(other)),
            ("run_id", self.filters.run_id.as_deref()),
        ];
        link(&format!("{}/query", Section::Compare.path()), parameters)
    }

    /// Means by model and theme, a picture for each metric.
    fn themes(&self) -> Markup {
        let mut metrics: Vec<Option<&String>> =
            self.summary.scores.iter().map(|one| one.evaluation_prompt_id.as_ref()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        let name = |name: Option<&String>| name.map_or_else(|| "unknown".to_owned(), String::clone);
        let cells = |metric: Option<&String>| -> Vec<Cell> {
            let of_metric =
                self.summary.scores.iter().filter(|one| one.evaluation_prompt_id.as_ref() == metric);
            let cell = |one: &ScoresResponse| Cell {
                row: name(one.model_id.as_ref()),
                column: name(one.theme.as_ref()),
                value: one.mean.mean,
                n: one.mean.queries,
            };
            of_metric.map(cell).collect()
        };
        html! {
            div.plots {
                @for metric in metrics.iter().take(MOST_HEAT_MAPS) {
                    (heat_map(&format!("Mean score by model and theme: {}", name(*metric)), &cells(*metric)))
                }
            }
            @if metrics.len() > MOST_HEAT_MAPS { p.note { "Pictures of " (MOST_HEAT_MAPS) " of " (metrics.len()) " metrics; choose a metric to see another." } }
        }
    }

    /// The address with all that it depends on, and the tables as files.
    fn files(&self, view: &View) -> Markup {
        let seed = self.summary.seed.to_string();
        let own = ["seed", "repeats"];
        let given = view.given.parameters.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        let mut parameters: Vec<(&str, Option<&str>)> =
            given.map(|(name, value)| (name.as_str(), Some(value.as_str()))).collect();
        parameters.extend([("repeats", Some(repeats(self.summary.repeats))), ("seed", Some(seed.as_str()))]);
        let tables = [
            (ExportTable::Comparisons, self.summary.comparisons.is_empty()),
            (ExportTable::Scores, self.summary.scores.is_empty()),
            (ExportTable::Pairs, self.summary.pairs.is_empty()),
        ];
        let tables: Vec<ExportTable> =
            tables.into_iter().filter_map(|(table, is_empty)| (!is_empty).then_some(table)).collect();
        shown::files(&Section::Compare.path(), &parameters, &tables)
    }
}

/// The name of a way to combine verdicts.
pub(super) fn repeats(repeats: Repeats) -> &'static str {
    match repeats {
        Repeats::Mean => "mean",
        Repeats::Majority => "majority",
    }
}

impl Page for ComparePage {
    fn title(&self) -> String {
        Section::Compare.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Compare
    }

    fn body(&self, view: &View) -> Markup {
        let summary = &self.summary;
        html! {
            (self.form())
            p { a href=(runs_path()) { "Compare runs" } " instead of models." }
            @if summary.without_query > 0 {
                p.note { (text::counted(summary.without_query, "result")) " without a query are left out." }
            }
            @if summary.scores.is_empty() && summary.pairs.is_empty() {
                (layout::empty("There are no results that satisfy these filters.", html! {
                    p { "Results come from runs: " a href=(Section::Runs.path()) { "Runs" } "." }
                }))
            } @else {
                (self.files(view))
                @if self.chosen.len() > 1 {
                    (self.comparisons())
                    (self.regressions(view))
                } @else { p { "Choose two to eight models to compare them on the queries that both have a score for." } }
                @if !summary.scores.is_empty() {
                    (shown::scores(&summary.scores.iter().map(|one| (None, one)).collect::<Vec<_>>()))
                    (self.themes())
                }
                @if !summary.pairs.is_empty() { (shown::pairs(&summary.pairs.iter().map(|one| (None, one)).collect::<Vec<_>>())) }
                p.note { "Several verdicts on a query are combined by their " (repeats(summary.repeats)) "." }
            }
        }
    }
}
