//! The API key check.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::HeaderMap,
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{answer::ApiError, connections::ConnectionUse, process::Process, route_class::RouteClass};

/// Admits requests with the key, and requests for open routes.
pub(crate) async fn with_key(State(process): State<Arc<Process>>, request: Request, next: Next) -> Response {
    let has_key = has_key(&process, request.headers());
    if has_key && let Some(used) = request.extensions().get::<ConnectionUse>() {
        used.trust();
    }
    if has_key || !RouteClass::of(&request).needs_key() {
        return next.run(request).await;
    }
    ApiError::Unauthorized.into_response()
}

/// Whether the headers contain the key, or no key is set.
pub(crate) fn has_key(process: &Process, headers: &HeaderMap) -> bool {
    let Some(key) = &process.config.api_key else { return true };
    headers.get("x-api-key").is_some_and(|given| key.is(given.as_bytes()))
}
