//! A JSON body.

use std::marker::PhantomData;

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{MediaType, Operation, RequestBody, SchemaObject},
    operation::{ParamLocation, add_parameters, parameters_from_schema, set_body},
};
use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request},
    http::header,
};
use memchr::memmem;
use records::{shortened, without_nul};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, error::Category};

use super::{
    parameters,
    unknown::{InvalidField, Known, UnknownFields, read},
};
use crate::answer::{ApiError, SHOWN_CHARACTERS};

/// A body of `T`, and the names of the ignored fields.
pub(crate) struct Body<T, U> {
    pub(crate) value: T,
    pub(crate) ignored: Vec<String>,
    unknown: PhantomData<U>,
}

/// A body of `T` whose fields are all optional, as is the body itself.
pub(crate) struct OptionalBody<T, U>(pub(crate) Body<T, U>);

/// A body of `T`, or the same fields in the query string.
pub(crate) struct BodyOrParameters<T, U>(pub(crate) Body<T, U>);

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema + Send + 'static, U: UnknownFields> FromRequest<S>
    for Body<T, U>
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        check_media_type(&request)?;
        Self::from_json(&bytes(request).await?)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema + Default + Send + 'static, U: UnknownFields>
    FromRequest<S> for OptionalBody<T, U>
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        // Clients send a media type even without a body: `curl -d ''` sends that of forms.
        let checked = check_media_type(&request);
        let body = bytes(request).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Self(Body::new(T::default(), Vec::new())));
        }
        checked?;
        Body::from_json(&body).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema + Send + 'static, U: UnknownFields> FromRequest<S>
    for BodyOrParameters<T, U>
{
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().map(str::to_owned);
        let checked = check_media_type(&request);
        let body = bytes(request).await?;
        if body.is_empty() {
            // A missing query string counts as empty.
            let Known { value, unknown } = parameters::read_query::<T, U>(query.as_deref().unwrap_or(""))?;
            return Ok(Self(Body::new(value, U::judge::<T>(unknown)?)));
        }
        checked?;
        Body::from_json(&body).map(Self)
    }
}

impl<T: DeserializeOwned + JsonSchema, U: UnknownFields> Body<T, U> {
    pub(crate) fn from_json(json: &[u8]) -> Result<Self, ApiError> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let known = read(&mut deserializer).map_err(misread::<T, U>)?;
        deserializer.end().map_err(malformed)?;
        refuse_nul(json)?;
        Ok(Self::new(known.value, U::judge::<T>(known.unknown)?))
    }

    fn new(value: T, ignored: Vec<String>) -> Self {
        Self { value, ignored, unknown: PhantomData }
    }
}

/// Rejects a body of another media type than JSON.
pub(crate) fn check_media_type(request: &Request) -> Result<(), ApiError> {
    // Without a media type, JSON is assumed; requests without the key have been checked by `layers::origin_check`.
    for found in request.headers().get_all(header::CONTENT_TYPE) {
        let found = String::from_utf8_lossy(found.as_bytes());
        let essence = found.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        let is_json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        if !is_json {
            return Err(ApiError::MediaType { found: found.into_owned() });
        }
    }
    Ok(())
}

/// The body, which a layer has read within its limits.
async fn bytes(request: Request) -> Result<Bytes, ApiError> {
    to_bytes(request.into_body(), usize::MAX).await.map_err(|source| ApiError::Body { source })
}

fn misread<T: JsonSchema, U: UnknownFields>(misread: InvalidField<serde_json::Error>) -> ApiError {
    match misread.source.classify() {
        Category::Data => misread.into_error::<T, U>(),
        Category::Syntax | Category::Eof | Category::Io => malformed(misread.source),
    }
}

fn malformed(error: serde_json::Error) -> ApiError {
    ApiError::MalformedJson { reason: error.to_string() }
}

/// Rejects NUL, the one character that PostgreSQL cannot store, in all fields, stored or searched.
fn refuse_nul(json: &[u8]) -> Result<(), ApiError> {
    // JSON has no other spelling of it.
    if memmem::find(json, br"\u0000").is_none() {
        return Ok(());
    }
    let value: Value = serde_json::from_slice(json).map_err(malformed)?;
    match place_of_nul(&value) {
        Some(place) => {
            let field = without_nul(place.strip_prefix('.').unwrap_or(&place));
            Err(ApiError::invalid(field, "contains the character NUL, which cannot be stored: remove it"))
        }
        None => Ok(()),
    }
}

/// A path such as `.items[1].theme`. It is built on the way back, since there are many values but only one path.
fn place_of_nul(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then(String::new),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .find_map(|(index, value)| Some(format!("[{index}]{}", place_of_nul(value)?))),
        Value::Object(entries) => entries.iter().find_map(|(key, value)| {
            let inner = if key.contains('\0') { String::new() } else { place_of_nul(value)? };
            Some(format!(".{}{inner}", shortened(key, SHOWN_CHARACTERS)))
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

fn body_docs<T: JsonSchema>(context: &mut GenContext, required: bool) -> RequestBody {
    let json_schema = context.schema.subschema_for::<T>();
    let schema = SchemaObject { json_schema, external_docs: None, example: None };
    let media_type = MediaType { schema: Some(schema), ..MediaType::default() };
    RequestBody {
        content: [("application/json".to_owned(), media_type)].into_iter().collect(),
        required,
        ..RequestBody::default()
    }
}

impl<T: JsonSchema, U> OperationInput for Body<T, U> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let body = body_docs::<T>(context, true);
        set_body(context, operation, body);
    }
}

impl<T: JsonSchema, U> OperationInput for OptionalBody<T, U> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let body = body_docs::<T>(context, false);
        set_body(context, operation, body);
    }
}

impl<T: JsonSchema, U> OperationInput for BodyOrParameters<T, U> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let body = body_docs::<T>(context, false);
        set_body(context, operation, body);
        let schema = context.schema.subschema_for::<T>();
        let mut parameters = parameters_from_schema(context, schema, ParamLocation::Query);
        for parameter in &mut parameters {
            // The parameters may be in the body instead.
            parameter.parameter_data_mut().required = false;
        }
        add_parameters(context, operation, parameters);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nul_is_found_in_keys_and_nested_values() {
        assert_eq!(place_of_nul(&json!({"a": [1, {"b": "x\0"}]})).as_deref(), Some(".a[1].b"));
        assert_eq!(place_of_nul(&json!({"a": {"k\0": 1}})).as_deref(), Some(".a.k\0"));
        assert_eq!(place_of_nul(&json!({"a": "\\u0000"})), None);
        assert!(refuse_nul(br#"{"a": "\\u0000"}"#).is_ok());
        let refused = refuse_nul(br#"{"a": "\u0000"}"#).expect_err("it is refused");
        assert!(refused.to_string().starts_with("`a`: contains the character NUL"), "{refused}");
        // This would take minutes if the key were copied for each number.
        let key = "k".repeat(500_000);
        let body = json!({"metadata": {key: vec![1; 300_000], "z": "\0"}}).to_string();
        let refused = refuse_nul(body.as_bytes()).expect_err("it is refused");
        assert!(refused.to_string().starts_with("`metadata.z`"), "{refused}");
    }
}
