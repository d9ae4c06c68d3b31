//! Lists and searches.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Row, record_link};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link, metadata_condition},
        layout,
        page::Page,
        plot::{Bar, bars},
        text,
        view::View,
    },
    records::Records,
    wire::{Conditions, EndDate, KeysetParameters, Mode, Resource, SearchRequest, StartDate, Whole},
};

/// Most results of a search.
const MOST_FOUND: u32 = 100;
/// Categories that are plotted.
const PLOTTED: usize = 12;
/// Categories that a filter suggests.
const SUGGESTED: usize = 500;

/// Filters, search and place of a list.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct ListParameters {
    /// What to search for; without it, records are listed.
    q: Option<String>,
    #[serde(default)]
    mode: Mode,
    category: Option<String>,
    model_id: Option<String>,
    /// A condition on the metadata: JSON as in the API, or `key=value`.
    #[serde(rename = "where")]
    filter: Option<String>,
    /// Only records whose text contains this.
    contains: Option<String>,
    start_date: Option<StartDate>,
    end_date: Option<EndDate>,
    #[serde(default)]
    limit: Whole<1, 1000, 100>,
    cursor: Option<String>,
}

/// Records, as filtered or found.
#[derive(Debug, Serialize)]
struct RecordsPage {
    resource: &'static str,
    items: Vec<Row>,
    /// The `cursor` of the next page.
    next_cursor: Option<String>,
    /// How many records satisfy the filters; null for a search.
    count: Option<u64>,
    /// The largest categories.
    categories: Vec<Category>,
    /// Number of all categories; null if the store could not list them.
    all_categories: Option<usize>,
    /// What was searched and filtered, as given.
    filters: Map<String, Value>,
    #[serde(skip)]
    service: Service,
    #[serde(skip)]
    noun: &'static str,
}

#[derive(Debug, Serialize)]
struct Category {
    category: Option<String>,
    count: u64,
}

/// Shows records.
pub(super) async fn show<R: Resource>(
    view: View,
    State(records): State<Records<R>>,
    Filters(parameters): Filters<ListParameters>,
) -> Result<Response, ApiError> {
    let filters = given(&view);
    let listed = async {
        match parameters.q.clone() {
            Some(text) => {
                let found = records.search(search(text, &parameters)).await?.0;
                let items = found.into_iter().map(Row::new::<R>).collect();
                Ok::<_, ApiError>((items, None, None))
            }
            None => {
                let keyset = KeysetParameters { limit: parameters.limit, cursor: parameters.cursor.clone() };
                let listed = records.list(conditions(&parameters), keyset);
                let counted = records.count(conditions(&parameters));
                let (page, count) = tokio::try_join!(listed, counted)?;
                let items = page.items.into_iter().map(Row::listed::<R>).collect();
                Ok((items, page.next_cursor, Some(count)))
            }
        }
    };
    let (listed, categories) = tokio::join!(listed, records.categories());
    let (items, next_cursor, count) = listed?;
    // A list works without them: those of a store with very many exceed an answer.
    let all = categories.ok();
    let all_categories = all.as_ref().map(Vec::len);
    let mut categories: Vec<Category> = all
        .into_iter()
        .flatten()
        .map(|category| Category { category: category.category, count: category.records })
        .collect();
    categories.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.category.cmp(&b.category)));
    categories.truncate(SUGGESTED);
    Ok(view.show(&RecordsPage {
        resource: R::PATH,
        items,
        next_cursor,
        count,
        categories,
        all_categories,
        filters,
        service: R::SERVICE,
        noun: R::NOUN,
    }))
}

/// The filters as they were given, for the form.
fn given(view: &View) -> Map<String, Value> {
    let pairs = view.given.parameters.iter().filter(|(name, _)| name != "cursor");
    pairs.map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect()
}

fn search(text: String, parameters: &ListParameters) -> SearchRequest {
    SearchRequest {
        text: Some(text),
        embedding: None,
        limit: parameters.limit.get().min(MOST_FOUND),
        conditions: conditions(parameters),
        min_similarity: None,
        mode: parameters.mode,
        exact: false,
        fields: None,
    }
}

fn conditions(parameters: &ListParameters) -> Conditions {
    let parameters = parameters.clone();
    Conditions {
        category: parameters.category,
        model_id: parameters.model_id,
        filter: parameters.filter.map(|written| metadata_condition(&written)),
        document: parameters.contains.map(|contained| json!({ "$contains": contained })),
        start: parameters.start_date,
        end: parameters.end_date,
    }
}

impl RecordsPage {
    fn path(&self) -> String {
        Section::of_records(self.service).path()
    }

    fn filter(&self, name: &str) -> Option<&str> {
        self.filters.get(name).and_then(Value::as_str)
    }

    fn filter_form(&self) -> Markup {
        let mode = self.filter("mode").unwrap_or("vector");
        let category = self.service.category_key().replace('_', " ");
        html! {
            form.filters method="get" action=(self.path()) {
                label.wide { "Search" input type="search" name="q" value=[self.filter("q")]; }
                label { "by"
                    select name="mode" {
                        @for (name, title) in [("vector", "meaning"), ("text", "words"), ("hybrid", "both")] {
                            option value=(name) selected[mode == name] { (title) }
                        }
                    }
                }
                label { (category) input name="category" list="categories" value=[self.filter("category")]; }
                datalist #categories {
                    @for category in self.categories.iter().filter_map(|category| category.category.as_ref()) {
                        option value=(category) {}
                    }
                }
                @if self.service == Service::Judge {
                    label { "model" input name="model_id" value=[self.filter("model_id")]; }
                }
                label { "text contains" input name="contains" value=[self.filter("contains")]; }
                label { "metadata" input name="where" placeholder="key=value or JSON" value=[self.filter("where")]; }
                label { "from" input name="start_date" placeholder="2026-01-31" value=[self.filter("start_date")]; }
                label { "to" input name="end_date" placeholder="2026-01-31" value=[self.filter("end_date")]; }
                div.actions {
                    button type="submit" { "Show" }
                    @if !self.filters.is_empty() { a href=(self.path()) { "Clear" } }
                }
            }
        }
    }

    fn export_link(&self) -> String {
        let category_key = self.service.category_key();
        let document = self.filter("contains").map(|contained| json!({ "$contains": contained }).to_string());
        let filter = self.filter("where").map(|written| match metadata_condition(written) {
            Value::String(json) => json,
            condition => condition.to_string(),
        });
        link(
            &format!("{}/export", self.path()),
            [
                (category_key, self.filter("category")),
                ("model_id", self.filter("model_id")),
                ("where", filter.as_deref()),
                ("where_document", document.as_deref()),
                ("start_date", self.filter("start_date")),
                ("end_date", self.filter("end_date")),
            ],
        )
    }

    /// The same list from `cursor` on.
    fn next_link(&self, cursor: &str) -> String {
        let names = ["category", "model_id", "where", "contains", "start_date", "end_date", "limit"];
        let parameters = names.map(|name| (name, self.filter(name)));
        link(&self.path(), parameters.into_iter().chain([("cursor", Some(cursor))]))
    }

    fn table(&self) -> Markup {
        let is_search = self.count.is_none();
        let has_scores = self.items.iter().any(|row| row.score.is_some());
        let is_judge = self.service == Service::Judge;
        html! {
            div.scroll {
                table data-rows data-sortable[is_search] {
                    thead { tr {
                        th scope="col" { "Text" }
                        th scope="col" { (self.service.category_key().replace('_', " ")) }
                        @if is_judge { th scope="col" { "model" } }
                        th scope="col" { "created" }
                        @if is_search { th.number scope="col" { "distance" } }
                        @if has_scores { th.number scope="col" { "score" } }
                    } }
                    tbody {
                        @for row in &self.items {
                            tr {
                                td.text {
                                    a href=(record_link(self.service, &row.id)) {
                                        @if row.text.trim().is_empty() { "(no text)" } @else { (text::text(&row.text)) }
                                    }
                                    @if !row.is_whole { "… " span.note { (text::counted(row.text_bytes as u64, "byte")) } }
                                    @if !row.problems.is_empty() { " " span.problem { "shown differently from how it is stored" } }
                                }
                                td { @if let Some(category) = &row.category { (text::text(category)) } }
                                @if is_judge { td { @if let Some(model) = &row.model_id { (text::text(model)) } } }
                                td { @match (row.created_at, &row.timestamp) {
                                    (Some(at), _) => (text::time(at)),
                                    (None, Some(written)) => (text::text(written)),
                                    (None, None) => "unknown",
                                } }
                                @if is_search {
                                    td.number { @if let Some(distance) = row.distance { (format!("{distance:.4}")) } }
                                }
                                @if has_scores { td.number { @if let Some(score) = row.score { (format!("{score:.4}")) } } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn nothing(&self) -> Markup {
        let noun = self.noun;
        if self.filters.is_empty() {
            let advice = html! {
                p { a href={ (self.path()) "/new" } { "Add one" } ", send them to " code { "POST /api/v1/" (self.resource) }
                    ", or copy a ChromaDB directory:" }
                pre { "panopticon migrate DIRECTORY" }
            };
            return layout::empty(&format!("There is no {noun} yet."), advice);
        }
        let advice = html! { p { "Change the filters, or " a href=(self.path()) { "clear them" } "." } };
        layout::empty(&format!("No {noun} satisfies these filters."), advice)
    }

    fn categories_plot(&self) -> Markup {
        let key = self.service.category_key().replace('_', " ");
        let shown: Vec<Bar> = self
            .categories
            .iter()
            .take(PLOTTED)
            .map(|category| Bar {
                label: category.category.clone().unwrap_or_else(|| format!("(no {key})")),
                count: category.count,
                link: Some(link(&self.path(), [("category", category.category.as_deref())])),
            })
            .collect();
        let more = self.all_categories.unwrap_or_default().saturating_sub(shown.len());
        html! {
            @if !shown.is_empty() {
                h2 { "By " (key) }
                (bars((&key, "records"), &shown))
                @if more > 0 { p.note { "The largest " (shown.len()) "; " (more) " more are left out." } }
            }
            @if self.all_categories.is_none() {
                p.note { "The categories could not be listed." }
            }
        }
    }
}

impl Page for RecordsPage {
    fn title(&self) -> String {
        Section::of_records(self.service).title().to_owned()
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, _: &View) -> Markup {
        let shown = self.items.len() as u64;
        html! {
            (self.filter_form())
            div.actions {
                a.button.quiet href={ (self.path()) "/new" } { "Add" }
                a.button.quiet href={ (self.path()) "/import" } { "Import JSON Lines" }
                a.button.quiet href={ (self.path()) "/map" } { "Map" }
                a.button.quiet href=(self.export_link()) download={ (self.resource) ".jsonl" } { "Export as JSON Lines" }
                span.note {
                    @match self.count {
                        Some(count) => { (text::counted(shown, "record")) " shown of " (text::count(count)) ", newest first" }
                        None => {
                            "The best " (text::counted(shown, "record")) "; the export has all that satisfy the filters"
                        }
                    }
                }
            }
            @if self.items.is_empty() { (self.nothing()) } @else { (self.table()) }
            @if let Some(cursor) = &self.next_cursor {
                p { a.button.quiet href=(self.next_link(cursor)) rel="next" { "Next page" } }
            }
            (self.categories_plot())
        }
    }
}
