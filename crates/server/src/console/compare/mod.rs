//! Comparisons of models by the judges' results.

mod query;

use ::records::Service;
use axum::{Router, extract::State, response::Response, routing::get};
use judge::{
    results::{QueryDifference, largest_regressions},
    statistics::Interval,
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::ResultSelection;

use super::{
    Section,
    filters::{Filters, link},
    layout,
    measured::{interval, left_out, named, number},
    page::Page,
    plot::{Cell, Estimate, forest, heat_map, win_rates},
    records::record,
    text,
    view::View,
};
use crate::{
    answer::ApiError,
    handlers::summaries::summarized,
    request::Both,
    results::Results,
    wire::{
        ComparisonResponse, MethodParameters, PairResponse, Repeats, ResultFilters, ScoresResponse,
        SummaryResponse,
    },
};

/// Queries that are listed.
const MOST_REGRESSIONS: usize = 25;
/// Metrics of which means by theme are plotted.
const MOST_HEAT_MAPS: usize = 4;
/// Rows that are plotted.
const PLOTTED: usize = 40;

/// The page of comparisons.
pub(crate) fn router() -> Router<Results> {
    Router::new()
        .route(&Section::Compare.path(), get(show))
        .route(&format!("{}/query", Section::Compare.path()), get(query::show))
}

/// What is compared, as it was given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
struct Compared {
    model_a: Option<String>,
    model_b: Option<String>,
    theme: Option<String>,
    evaluation_prompt_id: Option<String>,
    run_id: Option<String>,
}

/// A comparison of two models, and the means of all.
#[derive(Debug, Serialize)]
struct ComparePage {
    filters: Compared,
    #[serde(flatten)]
    summary: SummaryResponse,
    /// The queries on which `model_a` scores lower than `model_b`, largest difference first.
    regressions: Vec<Regression>,
}

/// Scores of two models on a query.
#[derive(Debug, Serialize)]
struct Regression {
    evaluation_prompt_id: Option<String>,
    /// The query's id; null if it is known only by its text.
    query_id: Option<String>,
    score_a: f64,
    score_b: f64,
    difference: f64,
}

async fn show(
    view: View,
    State(results): State<Results>,
    Filters(parameters): Filters<Both<Both<Compared, ResultFilters>, MethodParameters>>,
) -> Result<Response, ApiError> {
    let Both(Both(filters, selected), parameters) = parameters;
    let selection: ResultSelection = selected.into_selection()?;
    let models = match (filters.model_a.clone(), filters.model_b.clone()) {
        (Some(a), Some(b)) if a == b => {
            return Err(ApiError::invalid("model_b", "expected a model other than `model_a`"));
        }
        (a, b) => a.zip(b),
    };
    let (gathering, without_query) = results.gather(&selection).await?;
    let computed = results.compute([gathering], move |[judgements]| {
        let summary = summarized(&judgements, (parameters, without_query), models.as_ref())?;
        let method = parameters.method();
        let regressions = models.map_or_else(Vec::new, |(a, b)| {
            largest_regressions(&judgements, (&a, &b), &method, MOST_REGRESSIONS)
        });
        Ok::<_, ApiError>((summary, regressions))
    });
    let (summary, regressions) = computed.await?;
    let regressions = regressions.into_iter().map(Regression::from).collect();
    Ok(view.show(&ComparePage { filters, summary, regressions }))
}

impl From<QueryDifference> for Regression {
    fn from(QueryDifference { metric, query, first, second }: QueryDifference) -> Self {
        let query_id = query.strip_prefix("id ").map(str::to_owned);
        Self {
            evaluation_prompt_id: metric,
            query_id,
            score_a: first,
            score_b: second,
            difference: first - second,
        }
    }
}

/// A p-value; a small one is not zero.
fn p_value(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 0.001 => "< 0.001".to_owned(),
        value => number(value),
    }
}

fn label<const N: usize>(parts: [Option<&String>; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().map(|part| part.map_or("unknown", String::as_str)).collect();
    parts.join(" · ")
}

/// What a comparison says, in words.
fn verdict(comparison: &ComparisonResponse) -> String {
    let Some(Interval { low, high }) = comparison.interval else {
        return "too few queries to tell".to_owned();
    };
    match (low > 0.0, high < 0.0) {
        (true, _) => "A is better".to_owned(),
        (_, true) => "B is better".to_owned(),
        _ => match comparison.queries_needed {
            Some(needed) if needed > comparison.queries => {
                format!("not decided; about {} queries would decide it", text::count(needed))
            }
            _ => "not decided".to_owned(),
        },
    }
}

impl ComparePage {
    fn models(&self) -> Vec<&str> {
        let scored = self.summary.scores.iter().filter_map(|scores| scores.model_id.as_deref());
        let paired =
            self.summary.pairs.iter().flat_map(|pair| [pair.model_a.as_deref(), pair.model_b.as_deref()]);
        let mut models: Vec<&str> = scored.chain(paired.flatten()).collect();
        models.sort_unstable();
        models.dedup();
        models
    }

    fn form(&self) -> Markup {
        let models = self.models();
        let filters = &self.filters;
        let choice = |name: &str, title: &str, chosen: Option<&String>| {
            html! {
                label { (title)
                    select name=(name) {
                        option value="" { "–" }
                        @for model in &models {
                            option value=(model) selected[chosen.is_some_and(|chosen| chosen == model)] { (text::plain(model)) }
                        }
                    }
                }
            }
        };
        html! {
            form.filters method="get" action=(Section::Compare.path()) {
                (choice("model_a", "model A", filters.model_a.as_ref()))
                (choice("model_b", "model B", filters.model_b.as_ref()))
                label { "theme" input name="theme" value=[filters.theme.as_ref()]; }
                label { "metric" input name="evaluation_prompt_id" value=[filters.evaluation_prompt_id.as_ref()]; }
                label { "run" input name="run_id" value=[filters.run_id.as_ref()]; }
                button type="submit" { "Compare" }
            }
        }
    }

    fn comparisons(&self) -> Markup {
        let comparisons = &self.summary.comparisons;
        let estimates: Vec<Estimate> = comparisons
            .iter()
            .take(PLOTTED)
            .map(|comparison| Estimate {
                label: comparison.evaluation_prompt_id.clone().unwrap_or_else(|| "unknown".to_owned()),
                value: comparison.difference,
                interval: comparison.interval.map(|Interval { low, high }| (low, high)),
                n: comparison.queries,
            })
            .collect();
        html! {
            h2 { "A minus B" }
            @if comparisons.is_empty() { p.note { "Neither model has scores that satisfy the filters." } }
            @else {
                (forest(("Difference of the mean scores, A minus B, by metric, with 95 % intervals", Some(0.0)), &estimates))
                div.scroll { table data-sortable {
                    thead { tr {
                        th scope="col" { "metric" } th scope="col" { "result" } th.number scope="col" { "difference" }
                        th scope="col" { "95 % interval" } th.number scope="col" { "p" } th.number scope="col" { "queries" }
                        th.number scope="col" { "A better" } th.number scope="col" { "B better" }
                        th.number scope="col" { "only A" } th.number scope="col" { "only B" }
                        th scope="col" { "left out of A" } th scope="col" { "left out of B" }
                    } }
                    tbody { @for one in comparisons { tr {
                        td { (named(one.evaluation_prompt_id.as_ref())) } td { (verdict(one)) }
                        td.number { (number(one.difference)) } td.nowrap { (interval(one.interval)) }
                        td.number.nowrap { (p_value(one.p_value)) } td.number { (text::count(one.queries)) }
                        td.number { (text::count(one.a_better)) } td.number { (text::count(one.b_better)) }
                        td.number { (text::count(one.only_a)) } td.number { (text::count(one.only_b)) }
                        td { (left_out(one.counts_a)) } td { (left_out(one.counts_b)) }
                    } } }
                } }
                p.note { "Over queries for which both have a score; intervals by bootstrap over queries, p by the paired t-test. Judgements left out have no score." }
            }
        }
    }

    fn regressions(&self, view: &View) -> Markup {
        html! {
            h2 { "Where A is worse" }
            @if self.regressions.is_empty() { p.note { "On no query." } }
            @else {
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "query" } th scope="col" { "metric" } th.number scope="col" { "A" } th.number scope="col" { "B" } th.number scope="col" { "difference" } th scope="col" { "answers" } } }
                    tbody { @for one in &self.regressions { tr {
                        td { @match &one.query_id {
                            Some(id) => (record(view, Service::Query, id)),
                            None => span.note { "known only by its text" },
                        } }
                        td { (named(one.evaluation_prompt_id.as_ref())) }
                        td.number { (number(Some(one.score_a))) } td.number { (number(Some(one.score_b))) }
                        td.number { (number(Some(one.difference))) }
                        td { @if let Some(id) = &one.query_id { a href=(self.answers(id)) { "side by side" } } }
                    } } }
                } }
                p.note { "Up to " (MOST_REGRESSIONS) " queries, largest difference first." }
            }
        }
    }

    /// The page of the answers to a query.
    fn answers(&self, query: &str) -> String {
        let Compared { model_a, model_b, run_id, .. } = &self.filters;
        let parameters = [
            ("query_id", Some(query)),
            ("model_a", model_a.as_deref()),
            ("model_b", model_b.as_deref()),
            ("run_id", run_id.as_deref()),
        ];
        link(&format!("{}/query", Section::Compare.path()), parameters)
    }

    fn scores(&self) -> Markup {
        let scores = &self.summary.scores;
        let estimate = |scores: &ScoresResponse| Estimate {
            label: label([scores.model_id.as_ref(), scores.theme.as_ref()]),
            value: scores.mean.mean,
            interval: scores.mean.interval.map(|Interval { low, high }| (low, high)),
            n: scores.mean.queries,
        };
        html! {
            h2 { "Mean scores" }
            @for group in scores.chunk_by(|a, b| a.evaluation_prompt_id == b.evaluation_prompt_id) {
                @let metric = group[0].evaluation_prompt_id.as_deref().unwrap_or("unknown");
                @let estimates: Vec<Estimate> = group.iter().take(PLOTTED).map(estimate).collect();
                (forest((&format!("Mean score by {metric}, with 95 % intervals"), None), &estimates))
            }
            div.scroll { table data-sortable {
                thead { tr {
                    th scope="col" { "metric" } th scope="col" { "model" } th scope="col" { "theme" } th.number scope="col" { "mean" }
                    th scope="col" { "95 % interval" } th.number scope="col" { "queries" } th.number scope="col" { "without a score" }
                    th scope="col" { "judgements left out" } th.number scope="col" { "off the scale" }
                } }
                tbody { @for one in scores { tr {
                    td { (named(one.evaluation_prompt_id.as_ref())) } td { (named(one.model_id.as_ref())) } td { (named(one.theme.as_ref())) }
                    td.number { (number(one.mean.mean)) } td.nowrap { (interval(one.mean.interval)) }
                    td.number { (text::count(one.mean.queries)) } td.number { (text::count(one.queries_without_score)) }
                    td { (left_out(one.counts)) } td.number { (text::count(one.out_of_range)) }
                } } }
            } }
        }
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

    fn pairs(&self) -> Markup {
        let estimate = |pair: &PairResponse| Estimate {
            label: label([pair.theme.as_ref(), pair.model_a.as_ref(), pair.model_b.as_ref()]),
            value: pair.win_rate_a.mean,
            interval: pair.win_rate_a.interval.map(|Interval { low, high }| (low, high)),
            n: pair.win_rate_a.queries,
        };
        let estimates: Vec<Estimate> = self.summary.pairs.iter().take(PLOTTED).map(estimate).collect();
        html! {
            h2 { "Pairwise" }
            (win_rates("Win rate of the first model with its 95 % interval; a tie counts as half a win", &estimates))
            @if self.summary.pairs.len() > PLOTTED { p.note { "The first " (PLOTTED) " of " (self.summary.pairs.len()) "." } }
            div.scroll { table data-sortable {
                thead { tr {
                    th scope="col" { "metric" } th scope="col" { "theme" } th scope="col" { "first" } th scope="col" { "second" }
                    th.number scope="col" { "win rate" } th scope="col" { "95 % interval" } th.number scope="col" { "queries" }
                    th.number scope="col" { "wins" } th.number scope="col" { "losses" } th.number scope="col" { "ties" }
                    th.number scope="col" { "same in both orders" } th scope="col" { "left out" } th.number scope="col" { "one order only" }
                } }
                tbody { @for pair in &self.summary.pairs { tr {
                    td { (named(pair.evaluation_prompt_id.as_ref())) } td { (named(pair.theme.as_ref())) }
                    td { (named(pair.model_a.as_ref())) } td { (named(pair.model_b.as_ref())) }
                    td.number { (number(pair.win_rate_a.mean)) } td.nowrap { (interval(pair.win_rate_a.interval)) }
                    td.number { (text::count(pair.win_rate_a.queries)) }
                    td.number { (text::count(pair.wins_a)) } td.number { (text::count(pair.wins_b)) } td.number { (text::count(pair.ties)) }
                    td.number { (number(pair.position.consistency)) } td { (left_out(pair.counts)) } td.number { (text::count(pair.incomplete)) }
                } } }
            } }
        }
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
        let repeats = match summary.repeats {
            Repeats::Mean => "mean",
            Repeats::Majority => "majority",
        };
        html! {
            (self.form())
            @if summary.without_query > 0 {
                p.note { (text::counted(summary.without_query, "result")) " without a query are left out." }
            }
            @if summary.scores.is_empty() && summary.pairs.is_empty() {
                (layout::empty("There are no results that satisfy these filters.", html! {
                    p { "Results come from runs: " a href=(Section::Runs.path()) { "Runs" } "." }
                }))
            } @else {
                @if self.filters.model_a.is_some() && self.filters.model_b.is_some() {
                    (self.comparisons())
                    (self.regressions(view))
                } @else { p { "Choose two models to compare them on the queries that both have a score for." } }
                @if !summary.scores.is_empty() { (self.scores()) (self.themes()) }
                @if !summary.pairs.is_empty() { (self.pairs()) }
                p.note { "Several verdicts on a query are combined by their " (repeats) "." }
            }
        }
    }
}
