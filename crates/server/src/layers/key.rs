//! The API key check.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};

use super::refused;
use crate::{answer::ApiError, connections::ConnectionUse, process::Process, route_class::RouteClass};

/// Admits requests with the key, and requests for open routes.
pub(crate) async fn with_key(State(process): State<Arc<Process>>, request: Request, next: Next) -> Response {
    let class = RouteClass::of(&request);
    let has_key = has_key(&process, request.headers())
        || class.takes_chroma_key() && has_chroma_key(&process, request.headers())
        || class.is_console() && process.sessions.of(request.headers()).is_some();
    if has_key && let Some(used) = request.extensions().get::<ConnectionUse>() {
        used.trust();
    }
    if has_key || !class.needs_key() {
        return next.run(request).await;
    }
    refused(ApiError::Unauthorized, &request)
}

/// Whether the headers contain the key, or no key is set.
pub(crate) fn has_key(process: &Process, headers: &HeaderMap) -> bool {
    let Some(key) = &process.config.api_key else { return true };
    headers.get("x-api-key").is_some_and(|given| key.is(given.as_bytes()))
}

/// Whether the headers contain the key in a form that Chroma's clients send.
fn has_chroma_key(process: &Process, headers: &HeaderMap) -> bool {
    let Some(key) = &process.config.api_key else { return true };
    let bearer = headers.get(header::AUTHORIZATION).map(|given| given.as_bytes());
    let bearer = bearer
        .and_then(|given| given.split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    let token = headers.get("x-chroma-token").map(|given| given.as_bytes());
    [bearer.map(|(_, token)| token), token].into_iter().flatten().any(|given| key.is(given))
}
