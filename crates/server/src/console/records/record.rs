//! One record, and the records that are nearest to it.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{StoredTime, storage::Record};
use time::PrimitiveDateTime;

use super::{
    Row, page_link, record_link,
    results::{QueryResults, of_query},
    user_metadata,
};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link},
        page::Page,
        text,
        view::View,
    },
    records::Records,
    wire::{Conditions, Mode, ProblemResponse, Resource, SearchRequest},
};

/// Nearest records that are shown.
const NEIGHBOURS: usize = 8;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct RecordParameters {
    id: String,
    /// Whether a long text is shown completely.
    #[serde(default)]
    whole: bool,
}

/// A record, whole.
#[derive(Debug, Serialize)]
struct RecordPage {
    id: String,
    text: String,
    metadata: Map<String, Value>,
    problems: Vec<ProblemResponse>,
    /// The nearest other records by the meaning of its text.
    neighbours: Vec<Row>,
    /// Why there are none, if they could not be found.
    neighbours_problem: Option<String>,
    /// Of a query: what judges said of its answers.
    results: Option<QueryResults>,
    /// Why there are none, if they could not be read.
    results_problem: Option<String>,
    #[serde(skip)]
    created_at: Option<PrimitiveDateTime>,
    #[serde(skip)]
    shows_whole: bool,
    #[serde(skip)]
    service: Service,
    #[serde(skip)]
    noun: &'static str,
}

/// Shows a record.
pub(super) async fn show<R: Resource>(
    view: View,
    State(records): State<Records<R>>,
    Filters(RecordParameters { id, whole }): Filters<RecordParameters>,
) -> Result<Response, ApiError> {
    let record = records.get(id).await?;
    let found = match record.text.trim().is_empty() {
        true => Ok(Vec::new()),
        false => neighbours(&records, &record).await,
    };
    // The record is shown without them, for instance while the model is overloaded.
    let (neighbours, neighbours_problem) = match found {
        Ok(found) => (found, None),
        Err(error) => (Vec::new(), Some(error.public_message())),
    };
    let results = match R::SERVICE {
        Service::Query => of_query(records.process(), &record.id).await,
        Service::Evaluation | Service::Judge => Ok(None),
    };
    let (results, results_problem) = match results {
        Ok(results) => (results, None),
        Err(error) => (None, Some(error.public_message())),
    };
    let Record { id, text, metadata, created_at, problems } = record;
    Ok(view.show(&RecordPage {
        id,
        text,
        metadata,
        problems: ProblemResponse::of_record(problems, R::TEXT),
        neighbours,
        neighbours_problem,
        results,
        results_problem,
        created_at: created_at.and_then(StoredTime::in_calendar),
        shows_whole: whole,
        service: R::SERVICE,
        noun: R::NOUN,
    }))
}

async fn neighbours<R: Resource>(records: &Records<R>, record: &Record) -> Result<Vec<Row>, ApiError> {
    let search = SearchRequest {
        text: Some(record.text.clone()),
        embedding: None,
        limit: NEIGHBOURS as u32 + 1,
        conditions: Conditions::default(),
        min_similarity: None,
        mode: Mode::Vector,
        exact: false,
        fields: None,
    };
    let (hits, _) = records.search(search).await?;
    let others = hits.into_iter().filter(|hit| hit.record.id != record.id).take(NEIGHBOURS);
    Ok(others.map(Row::new::<R>).collect())
}

impl RecordPage {
    fn named(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(Value::as_str)
    }

    fn facts(&self) -> Markup {
        let category_key = self.service.category_key();
        let list = Section::of_records(self.service).path();
        html! {
            dl {
                dt { "id" } dd { (text::id(&self.id)) }
                dt { (category_key.replace('_', " ")) }
                dd { @if let Some(category) = self.named(category_key) {
                    a href=(link(&list, [("category", Some(category))])) { (text::text(category)) }
                } }
                @if self.service == Service::Judge {
                    dt { "model" }
                    dd { @if let Some(model) = self.named("model_id") {
                        a href=(link(&list, [("model_id", Some(model))])) { (text::text(model)) }
                    } }
                }
                dt { "created" }
                dd { @match (self.created_at, self.named("timestamp")) {
                    (Some(at), _) => (text::time(at)),
                    (None, Some(written)) => (text::text(written)),
                    (None, None) => "unknown",
                } }
            }
            @if !self.problems.is_empty() {
                div.panel.problem {
                    p { "Shown differently from how it is stored:" }
                    ul { @for problem in &self.problems { li { (text::text(&problem.to_string())) } } }
                }
            }
        }
    }

    fn long(&self, written: &str) -> Markup {
        let limit = if self.shows_whole { usize::MAX } else { text::SHOWN_CHARACTERS };
        let (shown, is_whole) = text::beginning(written, limit);
        html! {
            pre tabindex="0" { (text::text(shown)) }
            @if !is_whole {
                p.note {
                    "The first " (text::count(text::SHOWN_CHARACTERS as u64)) " characters of "
                    (text::counted(written.len() as u64, "byte")) ". "
                    a href={ (record_link(self.service, &self.id)) "&whole=true" } { "Show all" }
                }
            }
        }
    }

    fn neighbours(&self) -> Markup {
        html! {
            h2 { "Nearest by meaning" }
            @if let Some(problem) = &self.neighbours_problem {
                p.problem { "They could not be searched: " (text::text(problem)) }
            } @else if self.neighbours.is_empty() {
                p.note { "There are no others with a text." }
            } @else {
                div.scroll { table data-rows data-sortable {
                    thead { tr { th.number scope="col" { "distance" } th scope="col" { "Text" }
                        th scope="col" { (self.service.category_key().replace('_', " ")) } } }
                    tbody { @for row in &self.neighbours { tr {
                        td.number { @if let Some(distance) = row.distance { (format!("{distance:.4}")) } }
                        td.text { a href=(record_link(self.service, &row.id)) { (text::text(&row.text)) } @if !row.is_whole { "…" } }
                        td { @if let Some(category) = &row.category { (text::text(category)) } }
                    } } }
                } }
                p.note { "Cosine distance between the first 256 word pieces of the texts, up to " (NEIGHBOURS) " records." }
            }
        }
    }
}

impl Page for RecordPage {
    fn title(&self) -> String {
        let mut noun = self.noun.to_owned();
        if let Some(first) = noun.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        noun
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, view: &View) -> Markup {
        let user = Value::Object(user_metadata(self.service, &self.metadata));
        html! {
            div.actions {
                a.button.quiet href=(page_link(self.service, "edit", &self.id)) { "Edit" }
                a.button.quiet href=(page_link(self.service, "delete", &self.id)) { "Delete" }
                @if self.service == Service::Query && view.has(Section::Compare) {
                    a.button.quiet href=(link(&format!("{}/query", Section::Compare.path()), [("query_id", Some(self.id.as_str()))])) { "Answers and scores" }
                }
                @if self.service == Service::Evaluation {
                    @for section in [Section::Compare, Section::Judges].into_iter().filter(|section| view.has(*section)) {
                        a.button.quiet href=(link(&section.path(), [("evaluation_prompt_id", Some(self.id.as_str()))])) { (section.title()) " by this metric" }
                    }
                }
            }
            (self.facts())
            h2 { (self.noun) }
            (self.long(&self.text))
            @if self.service == Service::Judge && let Some(query) = self.named("query") {
                h2 { "Answers the query" }
                (self.long(query))
            }
            h2 { "Metadata" }
            @if user == Value::Object(Map::new()) { p.note { "None." } }
            @else { (self.long(&format!("{user:#}"))) }
            @if self.results.is_some() || self.results_problem.is_some() { h2 #results { "Results" } }
            @if let Some(results) = &self.results { (results.shown(view, &self.id)) }
            @if let Some(problem) = &self.results_problem { p.problem { "They could not be read: " (text::text(problem)) } }
            (self.neighbours())
        }
    }
}
