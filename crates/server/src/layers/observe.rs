//! The request's id, its span, metrics and log line, and the body of an error.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    answer::{ApiError, Failed},
    process::Process,
    route_class::{ClassOf, RouteClass},
    trace,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header in which Chroma's clients look for the id.
const TRACE_ID: HeaderName = HeaderName::from_static("chroma-trace-id");
const MAX_REQUEST_ID_BYTES: usize = 128;

/// The label of requests without a route: clients choose their paths, and labels must be few.
const NO_ROUTE: &str = "none";

/// Adds the route class to the request.
pub(crate) async fn classed(State(class_of): State<ClassOf>, mut request: Request, next: Next) -> Response {
    let class = class_of(request.uri().path());
    request.extensions_mut().insert(class);
    next.run(request).await
}

/// Assigns the request id, records span and metrics, and writes the body of an error.
pub(crate) async fn observed(
    State(process): State<Arc<Process>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let _in_flight = process.metrics.request_begins();
    let id = request_id(request.headers());
    let header = HeaderValue::from_str(&id).expect("an id is visible ASCII");
    // A gateway forwards it to the service.
    request.headers_mut().insert(REQUEST_ID, header.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let span = tracing::info_span!(
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        request.id = %id,
        http.request.method = %method,
        http.route = %route,
        http.response.status_code = tracing::field::Empty,
    );
    let class = RouteClass::of(&request);
    trace::join(&span, request.headers());
    let response = async {
        let mut response = next.run(request).await;
        if let Some(Failed(error)) = response.extensions_mut().remove::<Failed>() {
            log(&error, &id);
            response = with_body(response, (&error, class), &id);
            if class.is_console() {
                // The console makes a page of it.
                response.extensions_mut().insert(Failed(error));
            }
        }
        let (status, took) = (response.status().as_u16(), began.elapsed());
        tracing::Span::current().record("http.response.status_code", status);
        process.metrics.request_ended(&route, &method, status, took);
        tracing::info!(
            http.response.status_code = status,
            duration_ms = took.as_secs_f64() * 1_000.0,
            "answered {method} {route} with {status}"
        );
        response
    };
    let mut response = response.instrument(span).await;
    if class.is_chroma() {
        response.headers_mut().insert(TRACE_ID, header.clone());
    }
    response.headers_mut().insert(REQUEST_ID, header);
    response
}

/// Adds security headers.
pub(crate) async fn protected(request: Request, next: Next) -> Response {
    let class = RouteClass::of(&request);
    let mut response = next.run(request).await;
    // The page of the API's description has inline scripts and styles.
    let policy = if class == RouteClass::Page {
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    } else if class.is_console() {
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    // With `no-referrer`, browsers would not name the origin of the console's own forms.
    let referrer = if class.is_console() { "same-origin" } else { "no-referrer" };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, referrer),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, policy),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The client's id if it is safe to log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_fit = |id: &&str| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(is_fit);
    given.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// Includes the id, since the log level may exclude the span.
fn log(error: &ApiError, id: &str) {
    let status = error.status();
    if status.is_server_error() {
        tracing::error!(request.id = id, error = %error.chain(), "failed with {status}");
    } else {
        tracing::debug!(request.id = id, error = %error.chain(), "refused with {status}");
    }
}

fn with_body(response: Response, (error, class): (&ApiError, RouteClass), request_id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    let body = match class.is_chroma() {
        true => error.chroma().map(|body| serde_json::to_vec(&body)),
        false => Some(serde_json::to_vec(&error.envelope(request_id))),
    };
    let body = body.transpose().expect("wire types are JSON");
    parts.headers.remove(header::CONTENT_LENGTH);
    if body.is_some() {
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if let Some(wait) = error.retry_after() {
        parts.headers.insert(header::RETRY_AFTER, wait.as_secs().into());
    }
    if matches!(error, ApiError::Unauthorized) {
        parts.headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey"));
    }
    Response::from_parts(parts, body.map_or_else(Body::empty, Body::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_ids_are_kept_and_others_replaced() {
        let id_of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(text).expect("a header's value"));
            request_id(&headers)
        };
        assert_eq!(id_of("trace-1.a_b:c"), "trace-1.a_b:c");
        for text in ["", "two words", "<script>", &"x".repeat(129)] {
            let id = id_of(text);
            assert_eq!(Uuid::try_parse(&id).map(|id| id.get_version_num()), Ok(4), "{text}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
