//! The services' description: OpenAPI 3.1, from the handlers' types.

use std::sync::Arc;

use aide::{
    axum::{ApiRouter, AxumOperationHandler},
    generate::in_context,
    openapi::{
        ApiKeyLocation, Info, MediaType, OpenApi, Operation, Parameter, ParameterData,
        ParameterSchemaOrContent, PathStyle, ReferenceOr, Response, Responses, SchemaObject, SecurityScheme,
        StatusCode,
    },
    swagger::Swagger,
};
use axum::{Router, extract::Extension, response::Html};
use schemars::json_schema;

use crate::{
    answer::ErrorEnvelope,
    route_class::{ClassOf, RouteClass},
};

/// The description as JSON.
#[derive(Clone)]
pub(crate) struct Document(pub(crate) Arc<str>);

const KEY: &str = "key";
const DESCRIPTION: &str = "Keeps test prompts, evaluation metrics and what models answered, and finds them by meaning. \
Routes under `/api/v1` answer `{status, data, message, timestamp}`; the older ones without it answer `data` alone. \
Errors have the same envelope everywhere. Times are UTC.";

/// The page that shows the description, which is at `document`.
pub(crate) fn page<S: Clone + Send + Sync + 'static>(
    document: &str,
) -> impl AxumOperationHandler<(), Html<&'static str>, ((),), S> {
    Swagger::new(document).with_title("Panopticon").axum_handler()
}

/// Describes routes as they are made.
pub(crate) struct Description {
    api: OpenApi,
    /// Of every error's body.
    error: schemars::Schema,
    key: Key,
    class_of: ClassOf,
}

/// Whether clients have to send the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// On all routes but those that are open.
    Needed,
    /// There is none.
    None,
}

impl Description {
    pub(crate) fn begin(key: Key, class_of: ClassOf) -> Self {
        let info = Info {
            title: "Panopticon".to_owned(),
            description: Some(DESCRIPTION.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Info::default()
        };
        let error = in_context(|context| context.schema.subschema_for::<ErrorEnvelope>());
        Self { api: OpenApi { info, ..OpenApi::default() }, error, key, class_of }
    }

    /// Adds the routes of `router`.
    pub(crate) fn add<S: Clone + Send + Sync + 'static>(&mut self, router: ApiRouter<S>) -> Router<S> {
        router.finish_api(&mut self.api)
    }

    /// The whole description.
    pub(crate) fn finish(mut self) -> Extension<Document> {
        complete(&mut self.api, &self.error, self.key, self.class_of);
        let json = serde_json::to_string(&self.api).expect("a description is JSON");
        Extension(Document(json.into()))
    }
}

/// Adds what all operations have.
fn complete(api: &mut OpenApi, error: &schemars::Schema, key: Key, class_of: ClassOf) {
    if key == Key::Needed {
        let components = api.components.get_or_insert_default();
        components.security_schemes.insert(KEY.to_owned(), ReferenceOr::Item(key_scheme()));
    }
    let paths = api.paths.get_or_insert_default();
    for (path, item) in &mut paths.paths {
        let ReferenceOr::Item(item) = item else { continue };
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                complete_operation((method, path, class_of(path)), operation, error, key);
            }
        }
    }
}

fn complete_operation(
    (method, path, class): (&str, &str, RouteClass),
    operation: &mut Operation,
    error: &schemars::Schema,
    key: Key,
) {
    let words = path.split(['/', '{', '}', '-', '.']).filter(|word| !word.is_empty());
    operation.operation_id = Some(words.fold(method.to_owned(), |id, word| format!("{id}_{word}")));
    operation.tags = vec![tag(path).to_owned()];
    let variables: Vec<&str> =
        path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
    operation.parameters.extend(variables.iter().map(|name| ReferenceOr::Item(path_parameter(name))));

    let has_body = operation.request_body.is_some();
    let is_idempotent = operation
        .parameters
        .iter()
        .any(|parameter| matches!(parameter, ReferenceOr::Item(Parameter::Header { .. })));
    let mut statuses =
        vec![(500, "A fault of the server."), (503, "Not now: try again."), (504, "It took too long.")];
    if key == Key::Needed && class.needs_key() {
        operation.security = vec![[(KEY.to_owned(), Vec::new())].into_iter().collect()];
        statuses.push((401, "The key is missing or wrong."));
    }
    if key == Key::None && class.checks_origin() {
        statuses.push((403, "A page of another origin sent it."));
        statuses.push((421, "The header Host has no name of this server."));
    }
    if has_body {
        statuses.extend([
            (400, "The body is no JSON."),
            (413, "The body is too large."),
            (415, "The body is no JSON."),
        ]);
    }
    if !variables.is_empty() {
        statuses.push((400, "The path is malformed."));
        let absence = match path.ends_with("/{theme}") || path.ends_with("/{metric_type}") {
            true => "The path has no category. Records of an empty one are in the list with filters.",
            false => "There is no such record.",
        };
        statuses.push((404, absence));
    }
    if has_body || !operation.parameters.is_empty() {
        statuses.push((422, "A field or parameter is not what it has to be."));
    }
    if class == RouteClass::Evaluation {
        statuses.push((
            502,
            "The model gave no output: its provider refused the call, or it answered nothing that can be judged.",
        ));
        statuses.push((
            503,
            "Not now: the model's provider, or the server, has too much to do. Try again after Retry-After.",
        ));
    }
    if is_idempotent {
        statuses.push((409, "Another record has this id, with other content."));
    }
    let responses = operation.responses.get_or_insert_with(Responses::default);
    for (status, description) in statuses {
        let schema = SchemaObject { json_schema: error.clone(), external_docs: None, example: None };
        let media_type = MediaType { schema: Some(schema), ..MediaType::default() };
        let response = Response {
            description: description.to_owned(),
            content: [("application/json".to_owned(), media_type)].into_iter().collect(),
            ..Response::default()
        };
        responses.responses.insert(StatusCode::Code(status), ReferenceOr::Item(response));
    }
}

fn key_scheme() -> SecurityScheme {
    SecurityScheme::ApiKey {
        location: ApiKeyLocation::Header,
        name: "X-API-Key".to_owned(),
        description: None,
        extensions: Default::default(),
    }
}

/// Routes that belong together.
fn tag(path: &str) -> &str {
    let path = path.strip_prefix("/api/v1").unwrap_or(path);
    match path.split('/').nth(1) {
        Some(
            resource @ ("queries" | "evaluation-metrics" | "outputs" | "results" | "runs" | "evaluate"
            | "models"),
        ) => resource,
        _ => "operation",
    }
}

fn path_parameter(name: &str) -> Parameter {
    let json_schema = json_schema!({ "type": "string", "minLength": 1 });
    let schema = SchemaObject { json_schema, external_docs: None, example: None };
    let parameter_data = ParameterData {
        name: name.to_owned(),
        description: Some("Percent-encoded.".to_owned()),
        required: true,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(schema),
        example: None,
        examples: Default::default(),
        explode: None,
        extensions: Default::default(),
    };
    Parameter::Path { parameter_data, style: PathStyle::Simple }
}
