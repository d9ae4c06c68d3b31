//! The two response forms of the contract's routes.

use std::marker::PhantomData;

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{MediaType, Operation, Response as ResponseDocs, SchemaObject},
};
use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Envelope, Page, Pagination};
use crate::large_workers::LARGE_BYTES;

/// How an answer is wrapped.
pub(crate) trait Form: Send + Sync + 'static {
    /// An answer around `T`.
    type Wrapped<T: Serialize + JsonSchema + Send>: Serialize + JsonSchema + Send;
    /// A page of `T`.
    type Page<T: Serialize + JsonSchema + Send>: Serialize + JsonSchema + Send;

    /// Wraps `data`.
    fn wrap<T: Serialize + JsonSchema + Send>(data: T, message: &str) -> Self::Wrapped<T>;

    /// Makes a page.
    fn page<T: Serialize + JsonSchema + Send>(items: Vec<T>, pagination: Pagination) -> Self::Page<T>;
}

/// Under `/api/v1`: the contract's envelope, and pages.
pub(crate) enum Enveloped {}

/// The old routes: `data` alone, and lists instead of pages.
pub(crate) enum Unwrapped {}

impl Form for Enveloped {
    type Wrapped<T: Serialize + JsonSchema + Send> = Envelope<T>;
    type Page<T: Serialize + JsonSchema + Send> = Page<T>;

    fn wrap<T: Serialize + JsonSchema + Send>(data: T, message: &str) -> Envelope<T> {
        Envelope::new(data, message)
    }

    fn page<T: Serialize + JsonSchema + Send>(items: Vec<T>, pagination: Pagination) -> Page<T> {
        Page { items, pagination }
    }
}

impl Form for Unwrapped {
    type Wrapped<T: Serialize + JsonSchema + Send> = T;
    type Page<T: Serialize + JsonSchema + Send> = Vec<T>;

    fn wrap<T: Serialize + JsonSchema + Send>(data: T, _: &str) -> T {
        data
    }

    fn page<T: Serialize + JsonSchema + Send>(items: Vec<T>, _: Pagination) -> Vec<T> {
        items
    }
}

/// `T` in the form `F`, with status 200.
pub(crate) struct Answer<F, T> {
    /// JSON.
    body: Vec<u8>,
    headers: Vec<(HeaderName, HeaderValue)>,
    form: PhantomData<fn() -> (F, T)>,
}

/// Names the fields that were ignored.
const IGNORED_FIELDS: HeaderName = HeaderName::from_static("x-panopticon-ignored-fields");
/// Says that an earlier request has stored the record.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Names the models that this request registered.
const REGISTERED_MODELS: HeaderName = HeaderName::from_static("x-panopticon-registered-models");
/// Maximum bytes of the names in a header. Clients and proxies limit headers.
const MAX_NAMES_BYTES: usize = 2_000;

impl<F: Form, T: Serialize + JsonSchema + Send + 'static> Answer<F, T> {
    pub(crate) fn new(data: T, message: &'static str) -> Self {
        let mut body = serde_json::to_vec(&F::wrap(data, message)).expect("wire types are JSON");
        // The body may wait for a slow client, and serialization grew it by doubling.
        if body.len() > LARGE_BYTES {
            body.shrink_to_fit();
        }
        Self { body, headers: Vec::new(), form: PhantomData }
    }
}

impl<F, T> Answer<F, T> {
    /// Names the fields that were ignored, if any were.
    pub(crate) fn ignoring(self, fields: &[String]) -> Self {
        self.naming(IGNORED_FIELDS, fields)
    }

    /// Names the models that were registered, if any.
    pub(crate) fn registering(self, models: &[String]) -> Self {
        self.naming(REGISTERED_MODELS, models)
    }

    fn naming(mut self, header: HeaderName, all: &[String]) -> Self {
        let mut names = String::new();
        for name in all {
            let name = encoded(name);
            if names.len() + name.len() > MAX_NAMES_BYTES {
                break;
            }
            names.push_str(if names.is_empty() { "" } else { ", " });
            names.push_str(&name);
        }
        if !names.is_empty() {
            let names = HeaderValue::from_str(&names).expect("encoded names are visible ASCII");
            self.headers.push((header, names));
        }
        self
    }

    /// Says that an earlier request stored the records.
    pub(crate) fn replayed(mut self) -> Self {
        self.headers.push((REPLAYED, HeaderValue::from_static("true")));
        self
    }
}

/// `name` in visible ASCII: other bytes, and those that would end the name, are percent-encoded.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'%' | b',' => encoded.push_str(&format!("%{byte:02X}")),
            byte if byte.is_ascii_graphic() => encoded.push(byte.into()),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl<F, T> IntoResponse for Answer<F, T> {
    fn into_response(self) -> Response {
        let Self { body, headers, form: _ } = self;
        let mut response = ([(header::CONTENT_TYPE, "application/json")], body).into_response();
        response.headers_mut().extend(headers);
        response
    }
}

impl<F: Form, T: Serialize + JsonSchema + Send> OperationOutput for Answer<F, T> {
    type Inner = T;

    fn operation_response(context: &mut GenContext, _: &mut Operation) -> Option<ResponseDocs> {
        let json_schema = context.schema.subschema_for::<F::Wrapped<T>>();
        let schema = SchemaObject { json_schema, external_docs: None, example: None };
        let media_type = MediaType { schema: Some(schema), ..MediaType::default() };
        Some(ResponseDocs {
            description: "Done.".to_owned(),
            content: [("application/json".to_owned(), media_type)].into_iter().collect(),
            ..ResponseDocs::default()
        })
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDocs)> {
        Self::operation_response(context, operation)
            .map(|response| (Some(200), response))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_names_of_any_bytes_make_one_header() {
        let names = ["plain", "two,parts", "line\nbreak", "größe"].map(str::to_owned);
        let response = Answer::<Unwrapped, _>::new(1, "").ignoring(&names).into_response();
        let header = response.headers().get(IGNORED_FIELDS).expect("fields were ignored");
        assert_eq!(header, "plain, two%2Cparts, line%0Abreak, gr%C3%B6%C3%9Fe");
        let none = Answer::<Unwrapped, _>::new(1, "").ignoring(&[]).into_response();
        assert!(none.headers().get(IGNORED_FIELDS).is_none());
    }

    #[test]
    fn body_of_large_answer_has_no_spare_capacity() {
        let Answer { body, .. } = Answer::<Unwrapped, _>::new(vec!["x"; 100_000], "");
        assert_eq!((body.len(), body.capacity()), (400_001, 400_001));
    }
}
