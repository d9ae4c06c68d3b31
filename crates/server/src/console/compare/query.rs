//! The answers of models to one query, with their scores, and what differs between two of them.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::{NewestAnswer, ResultSelection};

use crate::{
    answer::ApiError,
    console::{
        Section,
        diff::{Sides, compared, marked},
        filters::{Filters, link},
        layout,
        measured::{left_out, named, number},
        page::Page,
        records::record,
        text,
        view::View,
    },
    handlers::summaries::summarized,
    request::Both,
    results::Results,
    wire::{MethodParameters, PairResponse, ResultFilters, ScoresResponse},
};

/// Models that are listed.
const MOST_MODELS: usize = 200;

/// The query, and the two models whose answers are shown; the first two by default.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Chosen {
    query_id: String,
    model_a: Option<String>,
    model_b: Option<String>,
    evaluation_prompt_id: Option<String>,
    run_id: Option<String>,
    /// Whether long texts are shown completely.
    #[serde(default)]
    whole: bool,
}

/// The answers to a query.
#[derive(Debug, Serialize)]
struct QueryPage {
    filters: Chosen,
    query_text: Option<String>,
    /// All models with results for the query.
    models: Vec<String>,
    unlisted: u64,
    scores: Vec<ScoresResponse>,
    pairs: Vec<PairResponse>,
    answers: Vec<Answer>,
    /// What differs, if two answers are stored.
    difference: Option<Sides>,
}

/// The newest answer of a model.
#[derive(Debug, Serialize)]
struct Answer {
    model_id: String,
    /// Its beginning; null if no result has it.
    text: Option<String>,
    text_bytes: u64,
    is_whole: bool,
}

/// Shows the answers to a query.
pub(super) async fn show(
    view: View,
    State(results): State<Results>,
    Filters(parameters): Filters<Both<Both<Chosen, ResultFilters>, MethodParameters>>,
) -> Result<Response, ApiError> {
    let Both(Both(mut filters, selected), method) = parameters;
    let selection: ResultSelection = selected.into_selection()?;
    let (gathering, without_query) = results.gather(&selection).await?;
    let summary = results
        .compute([gathering], move |[judgements]| summarized(&judgements, (method, without_query), &[]));
    let summary = summary.await?;
    let (models, unlisted) = models(&summary.scores, &summary.pairs);
    let given = [filters.model_a.take(), filters.model_b.take()];
    let mut others = models.iter().filter(|model| !given.iter().flatten().any(|given| given == *model));
    [filters.model_a, filters.model_b] = given.clone().map(|model| model.or_else(|| others.next().cloned()));
    let limit = if filters.whole { u32::MAX as usize } else { text::SHOWN_CHARACTERS };
    let (mut answers, mut query_text) = (Vec::new(), None);
    for model in [&filters.model_a, &filters.model_b].into_iter().flatten() {
        let of_model = ResultSelection { model_id: Some(model.clone()), ..selection.clone() };
        // One more character shows whether there is more.
        let characters = u32::try_from(limit.saturating_add(1)).unwrap_or(u32::MAX);
        let read = results.database.newest_answer(&of_model, characters);
        let found = results.process.measured(Service::Judge, "read_answer", read).await?;
        answers.push(Answer::new(model, found.as_ref(), limit));
        query_text = query_text.or(found.and_then(|answer| answer.query_text));
    }
    let texts: Vec<String> = answers.iter().filter_map(|answer| answer.text.clone()).collect();
    let difference = match <[String; 2]>::try_from(texts) {
        Ok([first, second]) => Some(results.compute([], move |[]| compared(&first, &second)).await),
        Err(_) => None,
    };
    let query_text = query_text.map(|query| text::beginning(&query, limit).0.to_owned());
    let (scores, pairs) = (summary.scores, summary.pairs);
    Ok(view.show(&QueryPage { filters, query_text, models, unlisted, scores, pairs, answers, difference }))
}

fn models(scores: &[ScoresResponse], pairs: &[PairResponse]) -> (Vec<String>, u64) {
    let scored = scores.iter().map(|one| &one.model_id);
    let paired = pairs.iter().flat_map(|pair| [&pair.model_a, &pair.model_b]);
    let mut models: Vec<String> = scored.chain(paired).flatten().cloned().collect();
    models.sort_unstable();
    models.dedup();
    let unlisted = models.len().saturating_sub(MOST_MODELS) as u64;
    models.truncate(MOST_MODELS);
    (models, unlisted)
}

impl Answer {
    fn new(model: &str, found: Option<&NewestAnswer>, limit: usize) -> Self {
        let beginning = found.map(|answer| text::beginning(&answer.text, limit));
        Self {
            model_id: model.to_owned(),
            text: beginning.map(|(text, _)| text.to_owned()),
            text_bytes: found.map_or(0, |answer| answer.text_bytes),
            is_whole: beginning.is_none_or(|(_, is_whole)| is_whole),
        }
    }
}

fn path() -> String {
    format!("{}/query", Section::Compare.path())
}

impl QueryPage {
    fn form(&self) -> Markup {
        let Chosen { query_id, model_a, model_b, evaluation_prompt_id, run_id, .. } = &self.filters;
        let choice = |name: &str, title: &str, chosen: Option<&String>| {
            html! {
                label { (title)
                    select name=(name) {
                        option value="" { "–" }
                        @for model in &self.models {
                            option value=(model) selected[chosen == Some(model)] { (text::plain(model)) }
                        }
                    }
                }
            }
        };
        html! {
            form.filters method="get" action=(path()) {
                input type="hidden" name="query_id" value=(query_id);
                (choice("model_a", "model A", model_a.as_ref()))
                (choice("model_b", "model B", model_b.as_ref()))
                label { "metric" input name="evaluation_prompt_id" value=[evaluation_prompt_id.as_ref()]; }
                label { "run" input name="run_id" value=[run_id.as_ref()]; }
                button type="submit" { "Compare" }
            }
        }
    }

    fn whole(&self) -> String {
        let Chosen { query_id, model_a, model_b, evaluation_prompt_id, run_id, .. } = &self.filters;
        let parameters = [
            ("query_id", Some(query_id.as_str())),
            ("model_a", model_a.as_deref()),
            ("model_b", model_b.as_deref()),
            ("evaluation_prompt_id", evaluation_prompt_id.as_deref()),
            ("run_id", run_id.as_deref()),
            ("whole", Some("true")),
        ];
        link(&path(), parameters)
    }

    fn answers(&self) -> Markup {
        let marked_text = |place: usize, answer: &str| match (&self.difference, place) {
            (Some(sides), 0) => marked(&sides.first),
            (Some(sides), _) => marked(&sides.second),
            (None, _) => text::text(answer),
        };
        html! {
            div.sides { @for (place, answer) in self.answers.iter().enumerate() {
                section aria-label={ "answer " (["A", "B"][place.min(1)]) } {
                    h2 { (["A", "B"][place.min(1)]) ": " (text::text(&answer.model_id)) }
                    @match &answer.text {
                        None => p.note { "No selected result has its answer." },
                        Some(answer) => pre tabindex="0" { (marked_text(place, answer)) },
                    }
                    @if !answer.is_whole {
                        p.note { "The first " (text::count(text::SHOWN_CHARACTERS as u64)) " characters of " (text::counted(answer.text_bytes, "byte")) ". " a href=(self.whole()) { "Show all" } }
                    }
                }
            } }
            @if let Some(sides) = &self.difference {
                p.note {
                    @if sides.first.iter().chain(&sides.second).any(|piece| piece.is_changed) { "Words that the other answer does not have in this place are marked." }
                    @else { "The answers are the same." }
                    @if !sides.is_whole { " Only their beginnings are compared." }
                    " Each is the newest answer of the model among the selected results."
                }
            }
        }
    }

    fn scores(&self) -> Markup {
        html! {
            @if !self.scores.is_empty() {
                h2 { "Scores" }
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "metric" } th scope="col" { "model" } th.number scope="col" { "mean score" } th.number scope="col" { "judgements" } th scope="col" { "left out" } } }
                    tbody { @for one in &self.scores { tr {
                        td { (named(one.evaluation_prompt_id.as_ref())) } td { (named(one.model_id.as_ref())) }
                        td.number { (number(one.mean.mean)) } td.number { (text::count(one.counts.scored)) } td { (left_out(one.counts)) }
                    } } }
                } }
            }
            @if !self.pairs.is_empty() {
                h2 { "Pairwise" }
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "metric" } th scope="col" { "first" } th scope="col" { "second" } th.number scope="col" { "wins" } th.number scope="col" { "losses" } th.number scope="col" { "ties" } th scope="col" { "left out" } th.number scope="col" { "one order only" } } }
                    tbody { @for pair in &self.pairs { tr {
                        td { (named(pair.evaluation_prompt_id.as_ref())) } td { (named(pair.model_a.as_ref())) } td { (named(pair.model_b.as_ref())) }
                        td.number { (text::count(pair.wins_a)) } td.number { (text::count(pair.wins_b)) } td.number { (text::count(pair.ties)) }
                        td { (left_out(pair.counts)) } td.number { (text::count(pair.incomplete)) }
                    } } }
                } }
            }
        }
    }
}

impl Page for QueryPage {
    fn title(&self) -> String {
        "Answers to a query".to_owned()
    }

    fn section(&self) -> Section {
        Section::Compare
    }

    fn body(&self, view: &View) -> Markup {
        html! {
            dl { dt { "query" } dd { (record(view, Service::Query, &self.filters.query_id)) } }
            @if let Some(query) = &self.query_text { pre tabindex="0" { (text::text(query)) } }
            (self.form())
            @if self.unlisted > 0 { p.note { (text::counted(self.unlisted, "model")) " are not listed." } }
            @if self.models.is_empty() {
                (layout::empty("There are no results for this query that satisfy the filters.", html! {
                    p { "Results come from runs: " a href=(Section::Runs.path()) { "Runs" } "." }
                }))
            } @else { (self.answers()) (self.scores()) }
        }
    }
}
