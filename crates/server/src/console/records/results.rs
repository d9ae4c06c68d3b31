//! What judges said of the answers to a query.

use std::cmp::Reverse;

use ::records::{Service, timestamp};
use maud::{Markup, html};
use serde::{Serialize, Serializer};
use store::postgres::{ResultSelection, StoredJudgement};
use time::PrimitiveDateTime;

use super::record_link;
use crate::{
    answer::ApiError,
    console::{Section, filters::link, measured::named, text, verdict::Verdict, view::View},
    process::Process,
};

/// Results that are shown.
const SHOWN: usize = 100;

/// The newest results of a query.
#[derive(Debug, Default, Serialize)]
pub(super) struct QueryResults {
    items: Vec<QueryResult>,
    /// All of them.
    count: u64,
}

/// A judge's verdict.
#[derive(Debug, Serialize)]
struct QueryResult {
    model_id: Option<String>,
    judge_model: Option<String>,
    evaluation_prompt_id: Option<String>,
    run_id: Option<String>,
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(serialize_with = "written")]
    timestamp: Option<PrimitiveDateTime>,
}

fn written<S: Serializer>(time: &Option<PrimitiveDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(timestamp::format).serialize(serializer)
}

/// The results of the query `id`; none if the process has no database.
pub(super) async fn of_query(process: &Process, id: &str) -> Result<Option<QueryResults>, ApiError> {
    let Some(database) = &process.database else { return Ok(None) };
    let selection = ResultSelection { query_id: Some(id.to_owned()), ..ResultSelection::default() };
    let add = |found: &mut QueryResults, judgement: StoredJudgement<'_>| found.add(&judgement);
    let gathered = database.gather_judgements(&selection, add);
    let mut found = process.measured(Service::Judge, "read_judgements", gathered).await?;
    found.forget_older();
    Ok(Some(found))
}

impl QueryResults {
    fn add(&mut self, judgement: &StoredJudgement<'_>) {
        self.count += 1;
        self.items.push(QueryResult::from(judgement));
        if self.items.len() >= 2 * SHOWN {
            self.forget_older();
        }
    }

    /// Newest first; those without a time last.
    fn forget_older(&mut self) {
        self.items.sort_by_key(|item| Reverse(item.timestamp));
        self.items.truncate(SHOWN);
    }

    /// The section of the page of the query `id`.
    pub(super) fn shown(&self, view: &View, id: &str) -> Markup {
        html! {
            @if self.items.is_empty() {
                p.note { "No result names this query." }
            } @else {
                div.scroll { table data-sortable {
                    thead { tr {
                        th scope="col" { "model" } th scope="col" { "metric" } th scope="col" { "judge" } th scope="col" { "verdict" }
                        th scope="col" { "time" } th scope="col" { "run" } th scope="col" { "answers" }
                    } }
                    tbody { @for item in &self.items { (item.row(view, id)) } }
                } }
                p.note {
                    @if self.count > self.items.len() as u64 { "The newest " (self.items.len()) " of " (text::counted(self.count, "result")) ". " }
                    "Results of old services that know the query only by its text are not among them."
                }
            }
        }
    }
}

impl From<&StoredJudgement<'_>> for QueryResult {
    fn from(judgement: &StoredJudgement<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            model_id: owned(judgement.model_id),
            judge_model: owned(judgement.judge_model),
            evaluation_prompt_id: owned(judgement.evaluation_prompt_id),
            run_id: owned(judgement.run_id),
            verdict: Verdict::from(judgement),
            timestamp: judgement.at,
        }
    }
}

impl QueryResult {
    fn row(&self, view: &View, query: &str) -> Markup {
        let of_section = |section: Section, name: &str, value: Option<&String>| match value {
            Some(value) if view.has(section) => {
                html! { a href=(link(&section.path(), [(name, Some(value.as_str()))])) { (text::text(value)) } }
            }
            value => named(value),
        };
        let opponent = self.verdict.comparison.as_ref().and_then(|comparison| comparison.opponent.as_deref());
        let side_by_side = link(
            &format!("{}/query", Section::Compare.path()),
            [("query_id", Some(query)), ("model_a", self.model_id.as_deref()), ("model_b", opponent)],
        );
        html! { tr {
            td { (of_section(Section::Outputs, "model_id", self.model_id.as_ref())) }
            td { @match &self.evaluation_prompt_id {
                Some(id) if view.has(Section::Metrics) => a href=(record_link(Service::Evaluation, id)) { (text::text(id)) },
                id => (named(id.as_ref())),
            } }
            td { (of_section(Section::Judges, "judge_model", self.judge_model.as_ref())) }
            td { (self.verdict.shown()) }
            td { @if let Some(time) = self.timestamp { (text::time(time)) } @else { span.note { "unknown" } } }
            td { @match &self.run_id {
                // Results may name runs that are not Panopticon's.
                Some(run) if view.has(Section::Runs) && uuid::Uuid::try_parse(run).is_ok() => a href={ (Section::Runs.path()) "/" (run) } { (text::text(run)) },
                Some(run) => (text::text(run)),
                None => "–",
            } }
            td { @if view.has(Section::Compare) && self.model_id.is_some() { a href=(side_by_side) { "side by side" } } }
        } }
    }
}
