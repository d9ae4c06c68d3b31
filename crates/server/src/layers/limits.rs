//! Limits on concurrent requests, memory and time.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    answer::ApiError,
    connections::{ConnectionUse, guarded},
    large_workers::LARGE_BYTES,
    permit::Permit,
    process::Process,
    request::{BodyContents, Received},
    route_class::RouteClass,
};

/// Rejects requests beyond the limit of concurrent ones.
pub(crate) async fn limit_requests(
    State(process): State<Arc<Process>>,
    mut request: Request,
    next: Next,
) -> Response {
    if !RouteClass::of(&request).is_limited() {
        return next.run(request).await;
    }
    let Ok(permit) = Arc::clone(&process.permits).try_acquire_owned() else {
        return ApiError::Busy { limit: process.config.max_requests }.into_response();
    };
    let permit = Permit::new(permit, request.extensions().get().cloned());
    request.extensions_mut().insert(permit.clone());
    let response = next.run(request).await;
    drop(permit);
    response
}

/// Reserves memory for a response until its client has read it, or rejects the request.
pub(crate) async fn limit_memory(
    State(process): State<Arc<Process>>,
    request: Request,
    next: Next,
) -> Response {
    let used = request.extensions().get().cloned();
    let response = next.run(request).await;
    // Streams have their own limit.
    let Some(bytes) = response.body().size_hint().exact() else { return response };
    match process.bodies.reserve_for_reader(usize::try_from(bytes).unwrap_or(usize::MAX), used).await {
        Ok(held) => response.map(|body| guarded(body, held)),
        Err(error) => error.into_response(),
    }
}

/// Reads the body before anything else: a body that does not arrive takes no request permit. A connection that waits
/// for a body may be closed in favour of new ones.
pub(crate) async fn arrived(
    State(process): State<Arc<Process>>,
    mut request: Request,
    next: Next,
) -> Response {
    // Requests without a route read no body.
    if request.body().is_end_stream() || request.extensions().get::<MatchedPath>().is_none() {
        return next.run(request).await;
    }
    let waiting = request.extensions().get().map(ConnectionUse::waiting);
    let body = std::mem::take(request.body_mut());
    let contents = match RouteClass::of(&request).is_chroma() {
        true => BodyContents::Vectors,
        false => BodyContents::Values,
    };
    let Received { bytes, held } = match process.bodies.receive(body, contents).await {
        Ok(received) => received,
        Err(error) => return error.into_response(),
    };
    drop(waiting);
    *request.body_mut() = Body::from(bytes);
    // Held until the end of the request, as long as values parsed from the body exist.
    let response = next.run(request).await;
    drop(held);
    response
}

/// Processes requests with a large body on separate threads.
pub(crate) async fn on_large_workers(
    State(process): State<Arc<Process>>,
    request: Request,
    next: Next,
) -> Response {
    let is_small = request.body().size_hint().exact().is_some_and(|bytes| bytes <= LARGE_BYTES as u64);
    let response = next.run(request);
    if is_small { response.await } else { process.large_workers.run(response).await }
}

/// Aborts requests whose response does not begin in time.
pub(crate) async fn within_time(
    State(process): State<Arc<Process>>,
    request: Request,
    next: Next,
) -> Response {
    let limit = RouteClass::of(&request).time_limit(&process.config);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout { limit }.into_response(),
    }
}
