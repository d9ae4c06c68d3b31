//! Answers in JSON.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
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
