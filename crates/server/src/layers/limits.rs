//! How many requests at once, and how long each.

use std::{future::poll_fn, pin::pin, sync::Arc};

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

use crate::{answer::ApiError, connections::holding, permit::Permit, process::Process, request::LARGE_BYTES};

/// Operators want to look into a busy process above all.
const UNCOUNTED: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Turns requests away while there are as many as may be.
pub(crate) async fn within_room(
    State(process): State<Arc<Process>>,
    mut request: Request,
    next: Next,
) -> Response {
    if UNCOUNTED.contains(&request.uri().path()) {
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

/// Lets others of the thread go on elsewhere while a request with a large body is worked on: what becomes of such a
/// body is checked, converted and written in an answer without a pause.
pub(crate) async fn apart(request: Request, next: Next) -> Response {
    let is_small = request.body().size_hint().exact().is_some_and(|bytes| bytes <= LARGE_BYTES as u64);
    let response = next.run(request);
    // A runtime of one thread, as in tests, has nowhere else to go.
    if is_small || Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return response.await;
    }
    let mut response = pin!(response);
    poll_fn(|context| block_in_place(|| response.as_mut().poll(context))).await
}

/// Requests that wait for models.
const EVALUATIONS: [&str; 4] =
    ["/evaluate/query", "/evaluate/theme", "/api/v1/evaluate/query", "/api/v1/evaluate/theme"];

/// Gives requests up that take too long to begin their answer.
pub(crate) async fn within_time(
    State(process): State<Arc<Process>>,
    request: Request,
    next: Next,
) -> Response {
    let is_evaluation = EVALUATIONS.contains(&request.uri().path());
    let limit =
        if is_evaluation { process.config.evaluation_timeout } else { process.config.request_timeout };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout { limit }.into_response(),
    }
}
