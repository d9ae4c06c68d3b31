//! A new run.

use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use judge::runs::{Begun, DEFAULT_JUDGE, DEFAULT_LIMIT, Runs};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use uuid::Uuid;

use super::run_link;
use crate::{
    answer::ApiError,
    console::{Section, filters::Filters, form::Form, page::Page, view::View},
    request::read_value,
    wire::NewRun,
};

/// What the form is filled in with.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
pub(super) struct Prefilled {
    theme: Option<String>,
    models: Option<String>,
    evaluation_prompt_ids: Option<String>,
}

/// The form.
#[derive(Debug, Serialize)]
struct NewRunPage(Prefilled);

/// The fields; an empty one means the default of the API.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Fields {
    /// Makes sending the form twice harmless.
    id: String,
    models: String,
    judge_models: String,
    evaluation_prompt_ids: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    theme: String,
    #[serde(default)]
    limit: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    repeats: String,
    #[serde(default)]
    requests: String,
    #[serde(default)]
    tokens: String,
    #[serde(default)]
    cost_usd: String,
}

/// Shows the form.
pub(super) async fn show(view: View, Filters(prefilled): Filters<Prefilled>) -> Response {
    view.show(&NewRunPage(prefilled))
}

/// Starts the run.
pub(super) async fn create(
    State(runs): State<Runs>,
    Form(fields): Form<Fields>,
) -> Result<Response, ApiError> {
    let id = Uuid::try_parse(&fields.id).map_err(|_| ApiError::invalid("id", "expected a UUID"))?;
    let new: NewRun = read_value(body(fields)?)?;
    let begun = match runs.create(new.into_request(id)?).await? {
        Begun::New(progress) | Begun::Before(progress) => progress,
    };
    Ok(Redirect::to(&run_link(begun.id)).into_response())
}

/// The body that the API takes.
fn body(fields: Fields) -> Result<Value, ApiError> {
    let mut body = Map::new();
    for (name, ids) in [
        ("models", &fields.models),
        ("judge_models", &fields.judge_models),
        ("evaluation_prompt_ids", &fields.evaluation_prompt_ids),
    ] {
        let ids = listed(ids);
        if !ids.is_empty() || name != "judge_models" {
            body.insert(name.to_owned(), json!(ids));
        }
    }
    for (name, text) in [("name", fields.name), ("theme", fields.theme), ("mode", fields.mode)] {
        if !text.is_empty() {
            body.insert(name.to_owned(), json!(text));
        }
    }
    for (name, number) in [("limit", &fields.limit), ("repeats", &fields.repeats)] {
        if let Some(number) = given(name, number)? {
            body.insert(name.to_owned(), Value::Number(number));
        }
    }
    let mut budget = Map::new();
    for (name, number) in
        [("requests", &fields.requests), ("tokens", &fields.tokens), ("cost_usd", &fields.cost_usd)]
    {
        if let Some(number) = given(name, number)? {
            budget.insert(name.to_owned(), Value::Number(number));
        }
    }
    if !budget.is_empty() {
        body.insert("budget".to_owned(), Value::Object(budget));
    }
    Ok(Value::Object(body))
}

/// Names, separated by commas or lines.
fn listed(written: &str) -> Vec<&str> {
    written.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty()).collect()
}

fn given(field: &str, written: &str) -> Result<Option<Number>, ApiError> {
    match written.trim() {
        "" => Ok(None),
        number => match number.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ApiError::invalid(field, "expected a number, or nothing")),
        },
    }
}

impl Page for NewRunPage {
    fn title(&self) -> String {
        "New run".to_owned()
    }

    fn section(&self) -> Section {
        Section::Runs
    }

    fn body(&self, view: &View) -> Markup {
        let Self(Prefilled { theme, models, evaluation_prompt_ids }) = self;
        let path = Section::Runs.path();
        html! {
            p { "Each model answers the queries, and each judge judges each answer by each metric." }
            form.edit method="post" action={ (path) "/new" } {
                (view.token())
                input type="hidden" name="id" value=(Uuid::new_v4());
                label { "name (optional)" input name="name" dir="auto"; }
                label { "models that answer, one a line" textarea name="models" required spellcheck="false" { "\n" @if let Some(models) = models { (models) } } }
                label { "models that judge, one a line" textarea name="judge_models" spellcheck="false" placeholder=(DEFAULT_JUDGE) {} }
                label {
                    "ids of metrics, one a line"
                    textarea name="evaluation_prompt_ids" required spellcheck="false" { "\n" @if let Some(ids) = evaluation_prompt_ids { (ids) } }
                }
                @if view.has(Section::Metrics) { p.note { "The ids are on the pages of " a href=(Section::Metrics.path()) { "Metrics" } "." } }
                label { "theme of the queries" input name="theme" required value=[theme.as_ref()]; }
                label { "queries at most" input name="limit" inputmode="numeric" placeholder=(DEFAULT_LIMIT); }
                label { "answers are"
                    select name="mode" {
                        option value="pointwise" { "scored one by one" }
                        option value="pairwise" { "compared by two, in both orders" }
                    }
                }
                label { "judgements by each judge" input name="repeats" inputmode="numeric" placeholder="1"; }
                fieldset {
                    legend { "Budget: the run stops there, and can be resumed" }
                    label { "calls at most" input name="requests" inputmode="numeric"; }
                    label { "tokens at most" input name="tokens" inputmode="numeric"; }
                    label { "USD at most" input name="cost_usd" inputmode="decimal"; }
                }
                div.actions { button type="submit" { "Start" } a href=(path) { "Cancel" } }
                p.note { "Calls of models cost money. The run continues in the background until it is cancelled or its budget is used." }
            }
        }
    }
}
