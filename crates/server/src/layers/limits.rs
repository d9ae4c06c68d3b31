//! How many requests at once, and how long each.

use std::sync::Arc;

use axum::{
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    answer::ApiError,
    apart::LARGE_BYTES,
    connections::{Use, holding},
    permit::Permit,
    process::Process,
    request::Received,
    route_class::RouteClass,
};

/// Turns requests away while there are as many as may be.
pub(crate) async fn within_room(
    State(process): State<Arc<Process>>,
    mut request: Request,
    next: Next,
) -> Response {
    if !RouteClass::of(&request).is_limited() {
        return next.run(request).await;
    }
    let Ok(permit) = Arc::clone(&process.room).try_acquire_owned() else {
        return ApiError::Busy { limit: process.config.max_requests }.into_response();
    };
    let permit = Permit::new(permit);
    request.extensions_mut().insert(permit.clone());
    let response = next.run(request).await;
    drop(permit);
    response
}

/// Holds room for an answer until its client has read it, or answers that there is none.
pub(crate) async fn within_memory(
    State(process): State<Arc<Process>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    // Streams count by themselves.
    let Some(bytes) = response.body().size_hint().exact() else { return response };
    match process.bodies.hold(usize::try_from(bytes).unwrap_or(usize::MAX)) {
        Ok(held) => response.map(|body| holding(body, held)),
        Err(error) => error.into_response(),
    }
}

/// Waits for the body before anything else is begun: one that stays away takes no place of requests that are there. A
/// connection that waits for one is closed when others need its place.
pub(crate) async fn arrived(
    State(process): State<Arc<Process>>,
    mut request: Request,
    next: Next,
) -> Response {
    // What is no route reads none.
    if request.body().is_end_stream() || request.extensions().get::<MatchedPath>().is_none() {
        return next.run(request).await;
    }
    let waiting = request.extensions().get().map(Use::waiting);
    let body = std::mem::take(request.body_mut());
    let Received { bytes, held } = match process.bodies.receive(body).await {
        Ok(received) => received,
        Err(error) => return error.into_response(),
    };
    drop(waiting);
    *request.body_mut() = Body::from(bytes);
    // Until the end of the request: what was made of the body is there as long.
    let response = next.run(request).await;
    drop(held);
    response
}

/// Has requests with a large body worked on apart from others.
pub(crate) async fn apart(State(process): State<Arc<Process>>, request: Request, next: Next) -> Response {
    let is_small = request.body().size_hint().exact().is_some_and(|bytes| bytes <= LARGE_BYTES as u64);
    let response = next.run(request);
    if is_small { response.await } else { process.apart.run(response).await }
}

/// Gives requests up that take too long to begin their answer.
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
