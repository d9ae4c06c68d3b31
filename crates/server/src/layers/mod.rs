//! The layers of every route, from the outside in: route class; request id, span, metrics and error body; CORS; the
//! origin check, if no key is set; the key; reading the body; the limit of concurrent requests; the time limit;
//! separate threads for large bodies; what reads on replicas must see; and catching panics.

mod key;
mod limits;
mod observe;
mod origin_check;
mod replicas;
mod slash;

use std::sync::Arc;

use axum::{
    Router,
    body::HttpBody as _,
    extract::Request,
    http::{HeaderName, HeaderValue, Method, Version, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use records::panic_message;
use tower_http::{catch_panic::CatchPanicLayer, cors::CorsLayer};

use crate::{answer::ApiError, process::Process, route_class::ClassOf};

pub(crate) use key::has_key;
pub(crate) use origin_check::remove_origin;
pub(crate) use replicas::LSN;
pub(crate) use slash::without_slash;

/// How the bodies of requests are handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// The layer reads them.
    Read,
    /// They are streamed to another service.
    PassedOn,
}

/// Adds the layers and the fallbacks to `router`.
pub(crate) fn around(router: Router, bodies: Bodies, class_of: ClassOf, process: &Arc<Process>) -> Router {
    let mut router = router
        .fallback(no_route)
        .method_not_allowed_fallback(other_method)
        .layer(CatchPanicLayer::custom(panicked));
    if process.replicated.is_some() {
        router = router.layer(from_fn_with_state(process.clone(), replicas::after_writes));
    }
    if bodies == Bodies::Read {
        router = router.layer(from_fn_with_state(process.clone(), limits::on_large_workers));
    }
    router = router
        .layer(from_fn_with_state(process.clone(), limits::within_time))
        .layer(from_fn_with_state(process.clone(), limits::limit_memory))
        .layer(from_fn_with_state(process.clone(), limits::limit_requests));
    if bodies == Bodies::Read {
        router = router.layer(from_fn_with_state(process.clone(), limits::arrived));
    }
    let router = router
        .layer(from_fn_with_state(process.clone(), key::with_key))
        .layer(from_fn_with_state(process.clone(), origin_check::checked));
    let router = if process.config.cors_origins.0.is_empty() { router } else { router.layer(cors(process)) };
    router
        .layer(from_fn_with_state(process.clone(), observe::observed))
        .layer(from_fn(observe::protected))
        .layer(from_fn_with_state(class_of, observe::classed))
}

/// The response to a request whose body is not read: an HTTP/1 client must not reuse the connection.
fn refused(error: ApiError, request: &Request) -> Response {
    let mut response = error.into_response();
    if request.version() < Version::HTTP_2 && !request.body().is_end_stream() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn cors(process: &Process) -> CorsLayer {
    let name = HeaderName::from_static;
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let sent = [
        header::CONTENT_TYPE,
        header::AUTHORIZATION,
        name("x-api-key"),
        name("x-chroma-token"),
        name("x-request-id"),
        name("idempotency-key"),
        name("traceparent"),
        replicas::LSN,
    ];
    let shown = [
        header::RETRY_AFTER,
        name("x-request-id"),
        name("idempotency-replayed"),
        name("x-panopticon-ignored-fields"),
        name("x-panopticon-registered-models"),
        replicas::LSN,
    ];
    CorsLayer::new()
        .allow_origin(process.config.cors_origins.0.clone())
        .allow_methods(methods)
        .allow_headers(sent)
        .expose_headers(shown)
}

async fn no_route(request: Request) -> Response {
    without_slash(request.uri())
        .unwrap_or_else(|| ApiError::NoRoute { path: request.uri().path().to_owned() }.into_response())
}

async fn other_method(request: Request) -> ApiError {
    ApiError::Method { method: request.method().clone(), path: request.uri().path().to_owned() }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let message = panic_message(panic);
    ApiError::Panic { message }.into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode, routing::get};
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{config::ServerConfig, metrics::Probes, route_class::RouteClass};

    #[tokio::test]
    async fn panic_is_answered_as_an_internal_error_without_its_message() {
        let router = Router::new().route("/panic", get(async || -> () { panic!("a secret of ours") }));
        let class_of = |_: &str| RouteClass::default();
        let router =
            around(router, Bodies::Read, class_of, &Process::new(ServerConfig::default(), Probes::default()));
        let request = Request::get("/panic")
            .header("host", "localhost")
            .header("x-request-id", "mine")
            .body(Body::empty());
        let response = router.oneshot(request.expect("a request")).await.expect("it answers");
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["message"], "internal error: contact the server operator with this request id");
        assert_eq!((&body["status"], &body["data"]["request_id"]), (&"error".into(), &"mine".into()));
    }
}
