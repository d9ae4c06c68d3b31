//! The results of a run: answers with their verdicts and what the judges said, newest first.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use store::{
    postgres::{ResultSelection, ResultStatus, ResultWinner, StoredResult},
    storage::StorageError,
};
use uuid::Uuid;

use super::{run::results_link, run_link};
use crate::{
    answer::ApiError,
    console::{
        Section,
        filters::{Filters, link},
        layout,
        measured::named,
        page::Page,
        records::record,
        text,
        verdict::{Compared, Verdict},
        view::View,
    },
    handlers::runs::run_id,
    request::Segment,
    results::Results,
    wire::{Status, Whole},
};

/// Characters of an answer, and of what a judge said, that are shown.
const ANSWER_CHARACTERS: usize = 600;
const WORDS_CHARACTERS: usize = 2_000;

/// Which results are shown.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct Wanted {
    status: Option<Status>,
    model_id: Option<String>,
    judge_model: Option<String>,
    evaluation_prompt_id: Option<String>,
    query_id: Option<String>,
    #[serde(default)]
    limit: Whole<1, 100, 25>,
    cursor: Option<String>,
}

/// The results of a run.
#[derive(Debug, Serialize)]
struct ResultsPage {
    #[serde(serialize_with = "written")]
    run_id: Uuid,
    run_name: Option<String>,
    items: Vec<RunResult>,
    next_cursor: Option<String>,
    /// How many results satisfy the filters.
    count: u64,
    /// The filters, as given.
    filters: Map<String, Value>,
}

fn written<S: Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A judged answer.
#[derive(Debug, Serialize)]
struct RunResult {
    id: String,
    query_id: Option<String>,
    query: Option<Beginning>,
    model_id: Option<String>,
    /// The answer; null if there was none.
    answer: Option<Beginning>,
    /// The id of the answer among the outputs.
    output_id: Option<String>,
    evaluation_prompt_id: Option<String>,
    judge_model: Option<String>,
    #[serde(flatten)]
    verdict: Verdict,
    /// What the judge said, as received.
    words: Option<Beginning>,
    /// Why there is no verdict.
    reason: Option<String>,
    /// The id of the earlier result whose verdict was reused.
    cached_from: Option<String>,
    timestamp: Option<String>,
    #[serde(skip)]
    at: Option<time::PrimitiveDateTime>,
}

/// The beginning of a text.
#[derive(Debug, Serialize)]
struct Beginning {
    text: String,
    /// Bytes of the whole text.
    bytes: usize,
    is_whole: bool,
}

/// Shows the results of a run.
pub(super) async fn show(
    view: View,
    State(runs): State<judge::runs::Runs>,
    State(results): State<Results>,
    Segment(id): Segment,
    Filters(wanted): Filters<Wanted>,
) -> Result<Response, ApiError> {
    let id = run_id(&id)?;
    let run = runs.progress(id).await?;
    let filters = view.given.parameters.iter().filter(|(name, _)| name != "cursor");
    let filters = filters.map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    let selection = ResultSelection {
        run_id: Some(id),
        status: wanted.status.map(ResultStatus::from),
        model_id: wanted.model_id,
        judge_model: wanted.judge_model,
        evaluation_prompt_id: wanted.evaluation_prompt_id,
        query_id: wanted.query_id,
        ..ResultSelection::default()
    };
    let (items, next_cursor) =
        results.page_after(&selection, wanted.cursor.as_deref().unwrap_or(""), wanted.limit.get()).await?;
    let counted = results.database.count_evaluation_results(&selection);
    let count = results.process.measured(Service::Judge, "count_results", counted).await?;
    let items = items.into_iter().map(RunResult::from).collect();
    Ok(view.show(&ResultsPage { run_id: id, run_name: run.name, items, next_cursor, count, filters }))
}

impl Beginning {
    fn of(whole: &str, characters: usize) -> Self {
        let (shown, is_whole) = text::beginning(whole, characters);
        Self { text: shown.to_owned(), bytes: whole.len(), is_whole }
    }

    fn shown(&self) -> Markup {
        html! {
            (text::text(&self.text))
            @if !self.is_whole { "… " span.note { (text::counted(self.bytes as u64, "byte")) } }
        }
    }
}

impl From<StoredResult> for RunResult {
    fn from(StoredResult { result, problems: _ }: StoredResult) -> Self {
        // Runs write an object; that of another program may have anything.
        let metadata = match result.result_metadata {
            Some(Value::Object(metadata)) => metadata,
            Some(_) | None => Map::new(),
        };
        let text = |key: &str| metadata.get(key).and_then(Value::as_str);
        let owned = |key: &str| text(key).map(str::to_owned);
        let score = result.score.filter(|score| score.is_finite());
        let status: Option<ResultStatus> = text("status").and_then(|status| status.parse().ok());
        let assumed = if score.is_some() { ResultStatus::Scored } else { ResultStatus::Unparsed };
        let is_pairwise = text("mode") == Some("pairwise");
        let comparison = is_pairwise.then(|| Compared {
            opponent: owned("opponent"),
            is_swapped: metadata.get("swapped").and_then(Value::as_bool).unwrap_or(false),
            winner: text("winner").and_then(ResultWinner::named).map(ResultWinner::as_str),
        });
        let verdict = Verdict {
            status: status.unwrap_or(assumed).as_str(),
            score,
            is_out_of_range: metadata.get("out_of_range").and_then(Value::as_bool).unwrap_or(false),
            comparison,
        };
        let reason = text("error").or_else(|| text("reason"));
        Self {
            id: result.id,
            query_id: result.query_id,
            query: result.query_text.map(|query| Beginning::of(&query, text::PREVIEW_CHARACTERS)),
            model_id: result.model_id,
            answer: result.output_text.map(|answer| Beginning::of(&answer, ANSWER_CHARACTERS)),
            output_id: owned("output_id"),
            evaluation_prompt_id: result.evaluation_prompt_id,
            judge_model: result.judge_model,
            verdict,
            words: text("raw_text").map(|words| Beginning::of(words, WORDS_CHARACTERS)),
            reason: reason.map(|reason| text::beginning(reason, WORDS_CHARACTERS).0.to_owned()),
            cached_from: owned("cached_from"),
            timestamp: result.timestamp.map(|time| time.to_string()),
            at: result.timestamp.and_then(store::StoredTime::in_calendar),
        }
    }
}

impl RunResult {
    fn shown(&self, view: &View) -> Markup {
        html! { tr {
            td.text {
                @match &self.query_id { Some(id) => (record(view, Service::Query, id)), None => span.note { "not stored" } }
                @if let Some(query) = &self.query { br; (query.shown()) }
            }
            td.text {
                @match (&self.output_id, &self.model_id) {
                    (Some(id), Some(model)) => { strong { (text::text(model)) } " " (record(view, Service::Judge, id)) },
                    (_, model) => strong { (named(model.as_ref())) },
                }
                br;
                @match &self.answer { Some(answer) => (answer.shown()), None => span.note { "no answer" } }
            }
            td { (self.verdict.shown()) @if self.cached_from.is_some() { " " span.note { "reused" } } }
            td.text {
                @match &self.words { Some(words) => (words.shown()), None => span.note { "nothing" } }
                @if let Some(reason) = &self.reason { br; span.problem { (text::text(reason)) } }
            }
            td { (named(self.judge_model.as_ref())) br; span.note { "by " @match &self.evaluation_prompt_id {
                Some(metric) => (record(view, Service::Evaluation, metric)), None => "unknown",
            } } }
            td { @match (self.at, &self.timestamp) {
                (Some(at), _) => (text::time(at)),
                (None, Some(written)) => (text::text(written)),
                (None, None) => span.note { "unknown" },
            } }
        } }
    }
}

impl ResultsPage {
    fn filter(&self, name: &str) -> Option<&str> {
        self.filters.get(name).and_then(Value::as_str)
    }

    fn form(&self, path: &str) -> Markup {
        html! {
            form.filters method="get" action=(path) {
                label { "status"
                    select name="status" {
                        option value="" { "all" }
                        @for status in ResultStatus::ALL.map(ResultStatus::as_str) {
                            option value=(status) selected[self.filter("status") == Some(status)] { (status) }
                        }
                    }
                }
                label { "model" input name="model_id" value=[self.filter("model_id")]; }
                label { "judge" input name="judge_model" value=[self.filter("judge_model")]; }
                label { "metric" input name="evaluation_prompt_id" value=[self.filter("evaluation_prompt_id")]; }
                label { "query" input name="query_id" value=[self.filter("query_id")]; }
                div.actions { button type="submit" { "Show" } @if !self.filters.is_empty() { a href=(path) { "Clear" } } }
            }
        }
    }
}

impl Page for ResultsPage {
    fn title(&self) -> String {
        match &self.run_name {
            Some(name) => format!("Results of {name}"),
            None => format!("Results of run {}", self.run_id),
        }
    }

    fn section(&self) -> Section {
        Section::Runs
    }

    fn body(&self, view: &View) -> Markup {
        let path = results_link(self.run_id);
        let of_run = self.run_id.to_string();
        let file = |format: &str| {
            let filters = ["status", "model_id", "judge_model", "evaluation_prompt_id", "query_id"]
                .map(|name| (name, self.filter(name)));
            let of_run = [("run_id", Some(of_run.as_str())), ("format", Some(format))];
            link(&format!("{}/export", Section::Runs.path()), filters.into_iter().chain(of_run))
        };
        html! {
            (self.form(&path))
            div.actions {
                a.button.quiet href=(run_link(self.run_id)) { "The run" }
                a.button.quiet href=(file("csv")) download { "Export as CSV" }
                a.button.quiet href=(file("jsonl")) download { "Export as JSON Lines" }
                span.note { (text::counted(self.items.len() as u64, "result")) " shown of " (text::count(self.count)) ", newest first" }
            }
            @if self.items.is_empty() {
                (layout::empty("There are no results that satisfy these filters.", html! {
                    p { "Results are stored as judges answer. " a href=(path) { "Show all results of the run" } "." }
                }))
            } @else {
                div.scroll { table data-rows {
                    thead { tr {
                        th scope="col" { "query" } th scope="col" { "answer" } th scope="col" { "verdict" }
                        th scope="col" { "the judge's words" } th scope="col" { "judge" } th scope="col" { "time" }
                    } }
                    tbody { @for item in &self.items { (item.shown(view)) } }
                } }
                p.note { "Beginnings of long texts, with their size. Verdicts that were reused have the words of the earlier result." }
            }
            @if let Some(cursor) = &self.next_cursor {
                @let parameters = self.filters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                p { a.button.quiet rel="next" href=(link(&path, parameters.chain([("cursor", Some(cursor.as_str()))]))) { "Next page" } }
            }
        }
    }
}

impl Results {
    /// The selected results after `cursor`, and the cursor after them. Long texts shorten the page.
    async fn page_after(
        &self,
        selection: &ResultSelection,
        cursor: &str,
        limit: u32,
    ) -> Result<(Vec<StoredResult>, Option<String>), ApiError> {
        let mut limit = limit;
        loop {
            match self.stored_after(selection, cursor, limit).await {
                // A single result is never too large.
                Err(ApiError::Storage(StorageError::TooLarge)) if limit > 1 => limit = (limit / 4).max(1),
                page => return page,
            }
        }
    }
}
