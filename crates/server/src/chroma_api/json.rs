//! Answers in JSON.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{self, MediaType, Operation, SchemaObject},
};
use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::large_workers::LARGE_BYTES;

/// `T` as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut body = serde_json::to_vec(&self.0).expect("wire types are JSON");
        // The body may wait for a slow client, and serialization grew it by doubling.
        if body.len() > LARGE_BYTES {
            body.shrink_to_fit();
        }
        ([(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for Json<T> {
    type Inner = T;

    fn inferred_responses(
        context: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let json_schema = context.schema.subschema_for::<T>();
        let schema = SchemaObject { json_schema, external_docs: None, example: None };
        let media_type = MediaType { schema: Some(schema), ..MediaType::default() };
        let content = [("application/json".to_owned(), media_type)].into_iter().collect();
        vec![(Some(200), openapi::Response { content, ..openapi::Response::default() })]
    }
}
