//! Import of labels.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::postgres::{LabelOutcome, StoredLabel};

use super::Labelling;
use crate::{
    answer::ApiError,
    console::{Section, form::Form, page::Page, text, view::View},
    export::labels::{read, read_lines},
    wire::NewLabel,
};

/// Labels that are stored in one transaction.
const BATCH: usize = 1_000;
/// Labels that are named in the result.
const NAMED: usize = 100;

/// The form.
#[derive(Debug, Serialize)]
struct ImportPage {}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Given {
    labels: String,
}

/// What became of the labels.
#[derive(Debug, Serialize)]
struct ImportedPage {
    labels: usize,
    stored: usize,
    /// Those that were there before.
    unchanged: usize,
    /// Those that were not stored, because another label has their id.
    conflicts: usize,
    /// The first of these.
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Problem {
    line: usize,
    id: String,
}

/// Shows the form.
pub(super) async fn show(view: View) -> Response {
    view.show(&ImportPage {})
}

/// Stores the labels, after all of them were read: none is stored if one cannot be read.
pub(super) async fn store(
    view: View,
    State(Labelling { results, .. }): State<Labelling>,
    Form(Given { labels: written }): Form<Given>,
) -> Result<Response, ApiError> {
    let is_json = written.trim_start().starts_with('{');
    let given: Vec<(usize, NewLabel)> = if is_json { read_lines(&written) } else { read(&written) }?;
    if given.is_empty() {
        return Err(ApiError::invalid(
            "labels",
            "expected labels as CSV with a header line, or as JSON Lines",
        ));
    }
    let mut labels: Vec<(usize, StoredLabel)> = Vec::new();
    for (line, label) in given {
        let label = label.into_stored().map_err(|error| error.within(&format!("line {line}")))?;
        label.check().map_err(|error| ApiError::from(error).within(&format!("line {line}")))?;
        labels.push((line, label));
    }
    let mut page =
        ImportedPage { labels: labels.len(), stored: 0, unchanged: 0, conflicts: 0, problems: Vec::new() };
    for batch in labels.chunks(BATCH) {
        let stored: Vec<StoredLabel> = batch.iter().map(|(_, label)| label.clone()).collect();
        let stored = results.database.store_labels(&stored);
        let outcomes = results.process.measured(Service::Judge, "store_labels", stored).await?;
        for ((line, label), outcome) in batch.iter().zip(outcomes) {
            match outcome {
                LabelOutcome::Stored => page.stored += 1,
                LabelOutcome::Unchanged => page.unchanged += 1,
                LabelOutcome::Conflict => {
                    page.conflicts += 1;
                    page.problems.push(Problem { line: *line, id: label.id.to_string() });
                }
            }
        }
    }
    page.problems.truncate(NAMED);
    Ok(view.show(&page))
}

impl Page for ImportPage {
    fn title(&self) -> String {
        "Import labels".to_owned()
    }

    fn section(&self) -> Section {
        Section::Label
    }

    fn body(&self, view: &View) -> Markup {
        html! {
            form.edit method="post" action={ (Section::Label.path()) "/import" } {
                (view.token())
                label { "labels, as CSV with a header line or as JSON Lines" textarea.tall name="labels" required spellcheck="false" dir="auto" {} }
                div.actions { button type="submit" { "Import" } a href=(Section::Label.path()) { "Cancel" } }
            }
            p { "As an export has written them, or:" }
            pre {
                "annotator,query_id,evaluation_prompt_id,model_id,score\nann,…,…,gpt-4o,7\n\n"
                r#"{"annotator": "ann", "query_text": "Why?", "model_id": "gpt-4o", "score": 7}"# "\n"
                r#"{"annotator": "ann", "query_id": "…", "model_a": "gpt-4o", "model_b": "claude", "winner": "a"}"#
            }
            p.note {
                "If a line cannot be read, nothing is stored. Labels that are there already are left as they are. "
                code { "model_a" } " is the answer that the annotator saw first. Without " code { "evaluation_prompt_id" }
                ", a label is compared with judgements by every metric. For more than a form can hold, use " code { "POST /api/v1/labels" } "."
            }
        }
    }
}

impl Page for ImportedPage {
    fn title(&self) -> String {
        "Imported".to_owned()
    }

    fn section(&self) -> Section {
        Section::Label
    }

    fn body(&self, _: &View) -> Markup {
        let more = self.conflicts - self.problems.len();
        html! {
            dl {
                dt { "labels" } dd { (text::count(self.labels as u64)) }
                dt { "stored" } dd { (text::count(self.stored as u64)) }
                dt { "there before" } dd { (text::count(self.unchanged as u64)) }
                dt { "not stored" } dd { (text::count(self.conflicts as u64)) }
            }
            @if !self.problems.is_empty() {
                div.panel.problem role="alert" {
                    p { "Not stored, because other labels have their ids:" }
                    ul { @for one in &self.problems { li { "line " (one.line) ", " (text::id(&one.id)) } } }
                    @if more > 0 { p { "and " (text::counted(more as u64, "label")) " more" } }
                }
            }
            p { a.button.quiet href=(Section::Label.path()) { "All labels" } }
        }
    }
}
