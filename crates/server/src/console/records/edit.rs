//! Adding, changing and deleting records.

use ::records::Service;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{
    json::exact_object,
    storage::{Production, Record},
};

use super::{OneRecord, page_link, record_link, user_metadata};
use crate::{
    answer::ApiError,
    console::{Form, Section, filters::Filters, page::Page, text, view::View},
    records::Records,
    request::IdempotencyKey,
    wire::{ClientId, DraftChange, DraftRecord, Label, Resource},
};

type Result<T> = std::result::Result<T, ApiError>;

/// A form for a record.
#[derive(Debug, Serialize)]
struct EditPage {
    /// The record; null for a new one.
    id: Option<String>,
    text: String,
    category: String,
    metadata: Map<String, Value>,
    #[serde(skip)]
    service: Service,
    #[serde(skip)]
    noun: &'static str,
}

/// The fields of the form of a new record.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewFields {
    text: String,
    category: Label,
    model_id: Option<Label>,
    query: Option<String>,
    metadata: String,
    /// Makes sending the form twice harmless.
    id: ClientId,
}

/// The fields of the form of a change.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct ChangedFields {
    text: String,
    category: Label,
    metadata: String,
}

/// Shows the form of a new record.
pub(super) async fn show_new<R: Resource>(view: View) -> Response {
    view.show(&EditPage {
        id: None,
        text: String::new(),
        category: String::new(),
        metadata: Map::new(),
        service: R::SERVICE,
        noun: R::NOUN,
    })
}

/// Stores a new record.
pub(super) async fn store<R: Resource>(
    State(records): State<Records<R>>,
    key: IdempotencyKey,
    Form(fields): Form<NewFields>,
) -> Result<Response> {
    let NewFields { text, category, model_id, query, metadata, id } = fields;
    let production = match R::SERVICE {
        Service::Judge => {
            let missing = || ApiError::invalid("model_id", "expected the model that produced it");
            let Label(model_id) = model_id.filter(|Label(model)| !model.is_empty()).ok_or_else(missing)?;
            // An output may answer nothing that is known.
            Some(Production { model_id, query: query.unwrap_or_default() })
        }
        Service::Query | Service::Evaluation => None,
    };
    let draft = DraftRecord {
        id: Some(id),
        text,
        category: category.0,
        production,
        metadata: Some(parsed(&metadata)?),
    };
    let stored = records.store(draft, &key).await?;
    Ok(Redirect::to(&record_link(R::SERVICE, &stored.record.id)).into_response())
}

/// Shows the form of a change.
pub(super) async fn show<R: Resource>(
    view: View,
    State(records): State<Records<R>>,
    Filters(OneRecord { id }): Filters<OneRecord>,
) -> Result<Response> {
    let record = records.get(id).await?;
    Ok(view.show(&EditPage {
        category: category::<R>(&record),
        metadata: user_metadata(R::SERVICE, &record.metadata),
        id: Some(record.id),
        text: record.text,
        service: R::SERVICE,
        noun: R::NOUN,
    }))
}

/// Changes the fields of a record that differ.
pub(super) async fn update<R: Resource>(
    State(records): State<Records<R>>,
    Filters(OneRecord { id }): Filters<OneRecord>,
    Form(ChangedFields { text, category: Label(new_category), metadata }): Form<ChangedFields>,
) -> Result<Response> {
    let before = records.get(id).await?;
    let (metadata, old_metadata) = (parsed(&metadata)?, user_metadata(R::SERVICE, &before.metadata));
    let old_category = category::<R>(&before);
    let change = DraftChange {
        // The form cannot hold carriage returns.
        text: (text != before.text.replace("\r\n", "\n")).then_some(text),
        category: (new_category != old_category).then_some(new_category),
        metadata: (metadata != old_metadata).then_some(metadata),
    };
    let id = before.id;
    if change.text.is_some() || change.category.is_some() || change.metadata.is_some() {
        records.update(id.clone(), change).await?;
    }
    Ok(Redirect::to(&record_link(R::SERVICE, &id)).into_response())
}

/// A question whether to delete a record.
#[derive(Debug, Serialize)]
struct DeletionPage {
    id: String,
    text: String,
    #[serde(skip)]
    service: Service,
    #[serde(skip)]
    noun: &'static str,
}

/// Asks whether to delete a record.
pub(super) async fn show_deletion<R: Resource>(
    view: View,
    State(records): State<Records<R>>,
    Filters(OneRecord { id }): Filters<OneRecord>,
) -> Result<Response> {
    let Record { id, text, .. } = records.get(id).await?;
    let (beginning, _) = text::beginning(&text, text::PREVIEW_CHARACTERS);
    let text = beginning.to_owned();
    Ok(view.show(&DeletionPage { id, text, service: R::SERVICE, noun: R::NOUN }))
}

/// Deletes a record.
pub(super) async fn delete<R: Resource>(
    State(records): State<Records<R>>,
    Filters(OneRecord { id }): Filters<OneRecord>,
    Form(Confirmed { .. }): Form<Confirmed>,
) -> Result<Response> {
    records.delete(id).await?;
    Ok(Redirect::to(&Section::of_records(R::SERVICE).path()).into_response())
}

/// A form without fields.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Confirmed {}

fn category<R: Resource>(record: &Record) -> String {
    let category = record.metadata.get(R::SERVICE.category_key()).and_then(Value::as_str);
    // Rows of the old services may have none.
    category.unwrap_or_default().to_owned()
}

/// The metadata that `written` says; no text means none.
fn parsed(written: &str) -> Result<Map<String, Value>> {
    if written.trim().is_empty() {
        return Ok(Map::new());
    }
    exact_object(written)
        .map_err(|error| ApiError::invalid("metadata", format!("expected a JSON object: {error}")))
}

impl EditPage {
    fn fields(&self) -> Markup {
        let metadata = match self.metadata.is_empty() {
            true => String::new(),
            false => format!("{:#}", Value::Object(self.metadata.clone())),
        };
        html! {
            label { (self.noun) textarea.tall name="text" required dir="auto" { "\n" (self.text) } }
            label { (self.service.category_key().replace('_', " "))
                input name="category" required dir="auto" value=(self.category); }
            @if self.service == Service::Judge && self.id.is_none() {
                label { "model" input name="model_id" required; }
                label { "query that it answers" textarea name="query" dir="auto" {} }
            }
            label { "metadata, a JSON object" textarea name="metadata" spellcheck="false" { "\n" (metadata) } }
        }
    }
}

impl Page for EditPage {
    fn title(&self) -> String {
        match self.id {
            Some(_) => format!("Edit {}", self.noun),
            None => format!("Add {}", self.noun),
        }
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, view: &View) -> Markup {
        let list = Section::of_records(self.service).path();
        let (action, back) = match &self.id {
            Some(id) => (page_link(self.service, "edit", id), record_link(self.service, id)),
            None => (format!("{list}/new"), list),
        };
        html! {
            form.edit method="post" action=(action) {
                (view.token())
                @if self.id.is_none() {
                    input type="hidden" name="id" value=(uuid::Uuid::new_v4());
                }
                (self.fields())
                div.actions { button type="submit" { "Save" } a href=(back) { "Cancel" } }
                @if self.id.is_some() { p.note { "The id and the time of creation stay. A changed text gets a new embedding." } }
            }
        }
    }
}

impl Page for DeletionPage {
    fn title(&self) -> String {
        format!("Delete this {}?", self.noun)
    }

    fn section(&self) -> Section {
        Section::of_records(self.service)
    }

    fn body(&self, view: &View) -> Markup {
        html! {
            dl { dt { "id" } dd { (text::id(&self.id)) } }
            pre { (text::text(&self.text)) }
            p { "This cannot be undone. Results that name it stay." }
            div.actions {
                form method="post" action=(page_link(self.service, "delete", &self.id)) {
                    (view.token())
                    button.danger type="submit" { "Delete" }
                }
                a href=(record_link(self.service, &self.id)) { "Cancel" }
            }
        }
    }
}
