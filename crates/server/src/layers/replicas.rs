//! Where replicas answer reads, a client sees its own writes: each response says what the client has to send with later
//! requests, to any process, so that they see what this one has written.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use store::postgres::{InvalidLsn, Lsn, reading_after};

use crate::{answer::ApiError, process::Process};

/// A position in the primary's write-ahead log.
pub(crate) const LSN: HeaderName = HeaderName::from_static("x-panopticon-lsn");

/// Has the reads of a request see everything up to the position that it names, and says up to where later ones must see.
pub(crate) async fn after_writes(
    State(process): State<Arc<Process>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(database) = &process.replicated else { return next.run(request).await };
    let given = request.headers().get(LSN);
    let given = given.map(|value| value.to_str().map_err(|_| InvalidLsn).and_then(str::parse));
    let needed: Lsn = match given.transpose() {
        // A client that names no position needs none.
        Ok(needed) => needed.unwrap_or_default(),
        Err(error @ InvalidLsn) => return ApiError::invalid(LSN.as_str(), error.to_string()).into_response(),
    };
    let mut response = reading_after(needed, next.run(request)).await;
    if let Some(written) = database.written() {
        // What the client knows of may have been written by another process.
        let known = if needed == Lsn::PRIMARY { written } else { written.max(needed) };
        let value = HeaderValue::from_str(&known.to_string()).expect("digits are visible ASCII");
        response.headers_mut().insert(LSN, value);
    }
    response
}
