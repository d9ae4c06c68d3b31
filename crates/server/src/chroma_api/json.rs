//! Answers in JSON.

use std::marker::PhantomData;

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

use crate::{large_workers::LARGE_BYTES, process::Process};

/// `T` as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        of_body(serde_json::to_vec(&self.0).expect("wire types are JSON"))
    }
}

/// A list whose elements are written as they are added.
pub(super) struct JsonList<T> {
    body: Vec<u8>,
    of: PhantomData<T>,
}

impl<T> Default for JsonList<T> {
    fn default() -> Self {
        Self { body: vec![b'['], of: PhantomData }
    }
}

impl<T: Serialize> JsonList<T> {
    /// Adds an element.
    pub(super) fn push(&mut self, element: &T) {
        if self.body.len() > 1 {
            self.body.push(b',');
        }
        serde_json::to_writer(&mut self.body, element).expect("wire types are JSON");
    }
}

impl<T> IntoResponse for JsonList<T> {
    fn into_response(mut self) -> Response {
        self.body.push(b']');
        of_body(self.body)
    }
}

impl<T: JsonSchema> OperationOutput for JsonList<T> {
    type Inner = Vec<T>;

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        Json::<Vec<T>>::inferred_responses(context, operation)
    }
}

/// The answer that `make` returns, which has about `bytes`. Large ones are made on the threads of [`LargeWorkers`], so that small
/// requests do not wait for them.
///
/// [`LargeWorkers`]: crate::large_workers::LargeWorkers
pub(super) async fn answered(
    process: &Process,
    bytes: usize,
    make: impl FnOnce() -> Response + Send + 'static,
) -> Response {
    if bytes <= LARGE_BYTES { make() } else { process.large_workers.run(async move { make() }).await }
}

fn of_body(mut body: Vec<u8>) -> Response {
    // The body may wait for a slow client, and it grew by doubling.
    if body.len() > LARGE_BYTES {
        body.shrink_to_fit();
    }
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
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
