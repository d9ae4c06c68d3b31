//! The OpenAPI 3.1 document, derived from the handlers' types.

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
    transform::TransformOperation,
};
use axum::{Router, extract::Extension, response::Html};
use schemars::json_schema;

use crate::{
    answer::{ChromaError, ErrorEnvelope},
    route_class::{ClassOf, RouteClass},
};

/// The document as JSON.
#[derive(Clone)]
pub(crate) struct Document(pub(crate) Arc<str>);

const KEY: &str = "key";
const DESCRIPTION: &str = "Stores test prompts, evaluation metrics and model outputs, and searches them by \
    meaning. \
Routes under `/api/v1` return `{status, data, message, timestamp}`; the older ones without the prefix return only `data`. \
Errors have this envelope on all routes. Times are in UTC.";

const OF_CHROMA: &str =
    "Chroma's API v2 for collections in PostgreSQL. Errors have the body `{error, message}`.";

/// Adds a summary to the description of a route.
pub(crate) fn summary(text: &'static str) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| operation.summary(text)
}

/// The page that renders the document at the path `document`.
pub(crate) fn page<S: Clone + Send + Sync + 'static>(
    document: &str,
) -> impl AxumOperationHandler<(), Html<&'static str>, ((),), S> {
    Swagger::new(document).with_title("Panopticon").axum_handler()
}

/// Builds the document while routes are added.
pub(crate) struct Description {
    api: OpenApi,
    /// The schema of every error's body.
    error: schemars::Schema,
    key: Key,
    class_of: ClassOf,
}

/// Whether clients must send the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// On all routes except the open ones.
    Needed,
    /// No key is set.
    None,
}

impl Description {
    /// That of the services.
    pub(crate) fn begin(key: Key, class_of: ClassOf) -> Self {
        let error = in_context(|context| context.schema.subschema_for::<ErrorEnvelope>());
        Self::new(DESCRIPTION, error, key, class_of)
    }

    /// That of Chroma's API.
    pub(crate) fn of_chroma(key: Key, class_of: ClassOf) -> Self {
        let error = in_context(|context| context.schema.subschema_for::<ChromaError>());
        Self::new(OF_CHROMA, error, key, class_of)
    }

    fn new(description: &str, error: schemars::Schema, key: Key, class_of: ClassOf) -> Self {
        let info = Info {
            title: "Panopticon".to_owned(),
            description: Some(description.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Info::default()
        };
        Self { api: OpenApi { info, ..OpenApi::default() }, error, key, class_of }
    }

    /// Adds the routes of `router`.
    pub(crate) fn add<S: Clone + Send + Sync + 'static>(&mut self, router: ApiRouter<S>) -> Router<S> {
        router.finish_api(&mut self.api)
    }

    /// The complete document.
    pub(crate) fn finish(mut self) -> Extension<Document> {
        complete(&mut self.api, &self.error, self.key, self.class_of);
        let json = serde_json::to_string(&self.api).expect("a description is JSON");
        Extension(Document(json.into()))
    }
}

/// Adds the parts that all operations share.
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
            ("put", &mut item.put),
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
    let mut statuses = vec![
        (500, "Internal error."),
        (503, "Temporarily unavailable: try again."),
        (
            504,
            "The request \
            took too long.",
        ),
    ];
    if key == Key::Needed && class.needs_key() {
        operation.security = vec![[(KEY.to_owned(), Vec::new())].into_iter().collect()];
        statuses.push((401, "The key is missing or wrong."));
    }
    if key == Key::None && class.checks_origin() {
        statuses.push((403, "A page of another origin sent the request."));
        statuses.push((421, "The header Host does not name this server."));
    }
    if has_body {
        statuses.extend([
            (400, "The body is not JSON."),
            (413, "The body is too large."),
            (415, "The body is not JSON."),
        ]);
    }
    if !variables.is_empty() {
        statuses.push((400, "The path is malformed."));
        let absence = match path.ends_with("/{theme}") || path.ends_with("/{metric_type}") {
            _ if is_of_chroma(path) => "There is no such tenant, database or collection.",
            true => {
                "The path has no category. To list records of the empty category, use the list with \
                filters."
            }
            false => "No record has this id.",
        };
        statuses.push((404, absence));
    }
    if has_body || !operation.parameters.is_empty() {
        statuses.push((422, "A field or parameter is invalid."));
    }
    if class == RouteClass::Evaluation {
        statuses.push((
            502,
            "The model gave no output: its provider rejected the call, or the response has nothing to judge.",
        ));
        statuses.push((
            503,
            "Temporarily unavailable: the model's provider or the server is overloaded. Try again after \
                Retry-After.",
        ));
    }
    if is_idempotent {
        statuses.push((409, "A record with this id and other content exists."));
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

fn is_of_chroma(path: &str) -> bool {
    path.starts_with("/api/v2")
}

/// The tag of a path.
fn tag(path: &str) -> &str {
    if is_of_chroma(path) {
        let is_of = |part: &&str| path.contains(&format!("/{part}"));
        return match path.contains("/{collection}/") {
            true => "records",
            false => ["collections", "databases", "tenants"].into_iter().find(is_of).unwrap_or("operation"),
        };
    }
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
