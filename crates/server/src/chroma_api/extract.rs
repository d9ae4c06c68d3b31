//! Bodies, paths and query strings, with the errors that Chroma gives.

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{MediaType, Operation, RequestBody, SchemaObject},
    operation::{ParamLocation, add_parameters, parameters_from_schema, set_body},
};
use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, RawPathParams, Request},
    http::{StatusCode, header, request::Parts},
};
use schemars::JsonSchema;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::error::Category;
use uuid::Uuid;

use super::error::Refusal;
use crate::answer::ApiError;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        if !is_json(&request) {
            let message = "Expected request with `Content-Type: application/json`";
            return Err(Refusal::Chroma(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned()));
        }
        let coding = request.headers().get(header::CONTENT_ENCODING);
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let message = "Compressed bodies are not supported: send the request without Content-Encoding";
            return Err(Refusal::Chroma(StatusCode::UNSUPPORTED_MEDIA_TYPE, message.to_owned()));
        }
        // A layer has read it within its limits.
        let bytes = to_bytes(request.into_body(), usize::MAX).await;
        let bytes = bytes.map_err(|source| ApiError::Body { source })?;
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes);
        let read = serde_path_to_error::deserialize(&mut deserializer);
        let value = read.map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            match error.classify() {
                // An error of syntax inside of a value that may have several forms.
                Category::Data if let Err(error) = serde_json::from_slice::<IgnoredAny>(&bytes) => {
                    malformed(&error)
                }
                Category::Data if path == "." => unfit(&error.to_string()),
                Category::Data => unfit(&format!("{path}: {error}")),
                Category::Syntax | Category::Eof | Category::Io => malformed(&error),
            }
        })?;
        deserializer.end().map_err(|error| malformed(&error))?;
        Ok(Self(value))
    }
}

fn unfit(problem: &str) -> Refusal {
    let message = format!("Failed to deserialize the JSON body into the target type: {problem}");
    Refusal::Chroma(StatusCode::UNPROCESSABLE_ENTITY, message)
}

fn malformed(error: &serde_json::Error) -> Refusal {
    Refusal::invalid(format!("Failed to parse the request body as JSON: {error}"))
}

fn is_json(request: &Request) -> bool {
    // Clients before 1.0 declare none, and Chroma takes their bodies as JSON.
    let Some(media_type) = request.headers().get(header::CONTENT_TYPE) else { return true };
    // A media type that is no text is not JSON's.
    let essence = media_type.to_str().ok().and_then(|found| found.split(';').next()).unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

impl<T: JsonSchema> OperationInput for Body<T> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = SchemaObject {
            json_schema: context.schema.subschema_for::<T>(),
            external_docs: None,
            example: None,
        };
        let media_type = MediaType { schema: Some(schema), ..MediaType::default() };
        let content = [("application/json".to_owned(), media_type)].into_iter().collect();
        set_body(context, operation, RequestBody { content, required: true, ..RequestBody::default() });
    }
}

/// `limit` and `offset` of the query string.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Page {
    pub(super) limit: Option<u32>,
    pub(super) offset: Option<u32>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let mut page = Self::default();
        for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
            let place = match &*name {
                "limit" => &mut page.limit,
                "offset" => &mut page.offset,
                _ => continue,
            };
            if place.is_some() {
                let message = format!("Failed to deserialize query string: duplicate field `{name}`");
                return Err(Refusal::invalid(message));
            }
            *place = Some(value.parse().map_err(|error| {
                Refusal::invalid(format!("Failed to deserialize query string: {name}: {error}"))
            })?);
        }
        Ok(page)
    }
}

impl OperationInput for Page {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<Self>();
        let parameters = parameters_from_schema(context, schema, ParamLocation::Query);
        add_parameters(context, operation, parameters);
    }
}

/// The segments of the path that vary.
pub(super) struct Path {
    pub(super) tenant: String,
    pub(super) database: String,
    /// Name or id, as the route takes it.
    pub(super) collection: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Path {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::Path)?;
        let mut path = Self { tenant: String::new(), database: String::new(), collection: String::new() };
        for (name, value) in &params {
            match name {
                "tenant" => value.clone_into(&mut path.tenant),
                "database" => value.clone_into(&mut path.database),
                _ => value.clone_into(&mut path.collection),
            }
        }
        // No name has one, and PostgreSQL rejects it.
        if [&path.tenant, &path.database, &path.collection].iter().any(|name| name.contains('\0')) {
            return Err(ApiError::Path.into());
        }
        Ok(path)
    }
}

/// `crate::openapi` documents the segments.
impl OperationInput for Path {}

impl Path {
    /// The id of the collection, for routes that take no name.
    pub(super) fn id(&self) -> Result<Uuid, Refusal> {
        let id = Uuid::try_parse(&self.collection);
        id.map_err(|_| Refusal::invalid("Collection ID is not a valid UUIDv4"))
    }
}
