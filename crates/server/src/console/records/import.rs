//! Records from JSON Lines: those of the API's batches, or those that an export has written.

use ::records::Service;
use axum::{extract::State, response::Response};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::json::exact_object;

use super::record_link;
use crate::{
    answer::ApiError,
    console::{Form, Section, page::Page, text, view::View},
    records::Records,
    request::{IdempotencyKey, read_value},
    wire::{DraftRecord, ItemStatus, OnError, Resource},
};

/// Records of a batch, as in the API.
const BATCH: usize = 1_000;
/// Records that are named in the result.
const NAMED: usize = 100;

/// The form.
#[derive(Debug, Serialize)]
struct ImportPage {
    resource: &'static str,
    #[serde(skip)]
    service: Service,
    #[serde(skip)]
    text: &'static str,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Lines {
    lines: String,
}

/// What became of the lines.
#[derive(Debug, Serialize)]
struct ImportedPage {
    resource: &'static str,
    /// Lines with a record.
    records: usize,
    stored: usize,
    /// Those that were there before, with the same content.
    unchanged: usize,
    /// Those that were not stored.
    not_stored: usize,
    /// The first of these.
    problems: Vec<Problem>,
    #[serde(skip)]
    service: Service,
}

#[derive(Debug, Serialize)]
struct Problem {
    line: usize,
    id: String,
    reason: String,
}

/// Shows the form.
pub(super) async fn show<R: Resource>(view: View) -> Response {
    view.show(&ImportPage { resource: R::PATH, service: R::SERVICE, text: R::TEXT })
}

/// Stores the records, after all lines were read: none is stored if one cannot be read.
pub(super) async fn store<R: Resource>(
    view: View,
    State(records): State<Records<R>>,
    key: IdempotencyKey,
    Form(Lines { lines }): Form<Lines>,
) -> Result<Response, ApiError> {
    let mut drafts: Vec<(usize, DraftRecord)> = Vec::new();
    for (place, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let draft = draft::<R>(line).map_err(|error| error.within(&format!("line {}", place + 1)))?;
        drafts.push((place + 1, draft));
    }
    if drafts.is_empty() {
        return Err(ApiError::invalid("lines", "expected JSON objects, one a line"));
    }
    let mut page = ImportedPage {
        resource: R::PATH,
        records: drafts.len(),
        stored: 0,
        unchanged: 0,
        not_stored: 0,
        problems: Vec::new(),
        service: R::SERVICE,
    };
    let mut rest = drafts.into_iter();
    loop {
        let (lines, batch): (Vec<usize>, Vec<DraftRecord>) = rest.by_ref().take(BATCH).unzip();
        if batch.is_empty() {
            break;
        }
        let done = records.store_batch(batch, OnError::Continue, &key).await?;
        for (line, item) in lines.into_iter().zip(done.items) {
            match item.status {
                ItemStatus::Stored => page.stored += 1,
                ItemStatus::Unchanged => page.unchanged += 1,
                ItemStatus::Conflict | ItemStatus::Refused => {
                    page.not_stored += 1;
                    let reason = item.error.map_or_else(String::new, |error| error.reason);
                    page.problems.push(Problem { line, id: item.id, reason });
                }
            }
        }
    }
    page.problems.truncate(NAMED);
    Ok(view.show(&page))
}

/// The record of a line. An export has the service's keys among the metadata, and times, which cannot be given.
fn draft<R: Resource>(line: &str) -> Result<DraftRecord, ApiError> {
    let malformed = |error: &dyn std::fmt::Display| {
        ApiError::invalid("record", format!("expected a JSON object: {error}"))
    };
    let mut record: Map<String, Value> = exact_object(line).map_err(|error| malformed(&error))?;
    if let Some(Value::Object(metadata)) = record.get_mut("metadata") {
        metadata.remove("timestamp");
        let own: Vec<(&str, Value)> = R::SERVICE
            .own_keys()
            .iter()
            .filter_map(|key| Some((key.name, metadata.remove(key.name)?)))
            .collect();
        for (key, value) in own {
            record.entry(key).or_insert(value);
        }
    }
    let new: R::New = read_value(Value::Object(record))?;
    Ok(new.into())
}

impl Page for ImportPage {
    fn title(&self) -> String {
        format!("Import {}", Section::of_records(self.service).title().to_lowercase())
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, view: &View) -> Markup {
        let list = Section::of_records(self.service).path();
        let own: Vec<String> =
            self.service.own_keys().iter().map(|key| format!("\"{}\": \"…\"", key.name)).collect();
        html! {
            form.edit method="post" action={ (list) "/import" } {
                (view.token())
                label { "records, one JSON object a line" textarea.tall name="lines" required spellcheck="false" dir="auto" {} }
                div.actions { button type="submit" { "Import" } a href=(list) { "Cancel" } }
            }
            p { "A line as in the API, or as an export has written it:" }
            pre { "{\"id\": \"…\", \"" (self.text) "\": \"…\", " (own.join(", ")) ", \"metadata\": {}}" }
            p.note {
                "If a line cannot be read, nothing is stored. Records that are there already, with the same id and content, are left as they are; those with another content are reported and not stored. "
                "Records get the time of the import and new embeddings: the times of an export are left out. The whole form may have as many bytes as a request; for more, use "
                code { "POST /api/v1/" (self.resource) "/batch" } "."
            }
        }
    }
}

impl Page for ImportedPage {
    fn title(&self) -> String {
        "Imported".to_owned()
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, _: &View) -> Markup {
        let more = self.not_stored - self.problems.len();
        html! {
            dl {
                dt { "records" } dd { (text::count(self.records as u64)) }
                dt { "stored" } dd { (text::count(self.stored as u64)) }
                dt { "there before" } dd { (text::count(self.unchanged as u64)) }
                dt { "not stored" } dd { (text::count(self.not_stored as u64)) }
            }
            @if !self.problems.is_empty() {
                div.panel.problem role="alert" {
                    p { "Not stored:" }
                    ul { @for one in &self.problems { li {
                        "line " (one.line) ", " a href=(record_link(self.service, &one.id)) { (text::text(&one.id)) } ": " (text::text(&one.reason))
                    } } }
                    @if more > 0 { p { "and " (text::counted(more as u64, "record")) " more" } }
                }
            }
            p { a.button.quiet href=(Section::of_records(self.service).path()) { "All records" } }
        }
    }
}
