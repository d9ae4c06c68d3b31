//! All routes under one address, where the services run apart: requests are passed on as they are.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, header},
    response::Response,
    routing::any,
};
use futures_util::StreamExt as _;
use records::Service;

use crate::{answer::ApiError, handlers::operation::Probe, layers, process::Process, routes, trace};

/// A service, and where it runs.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The service.
    pub service: Service,
    /// Its URL, without a slash at the end.
    pub url: String,
}

/// Where requests are passed on to.
#[derive(Clone, Debug)]
pub(crate) struct Passage {
    pub(crate) upstream: Upstream,
    pub(crate) client: reqwest::Client,
    process: Arc<Process>,
}

/// Headers that concern one connection and no other (RFC 9110, 7.6.1), and the host, which is another's.
const OWN: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The routes of all `upstreams`. `client` must not follow redirects.
pub fn gateway(upstreams: &[Upstream], client: &reqwest::Client, process: &Arc<Process>) -> Router {
    let passages: Vec<Passage> = upstreams
        .iter()
        .map(|upstream| Passage {
            upstream: upstream.clone(),
            client: client.clone(),
            process: process.clone(),
        })
        .collect();
    let probes = passages.iter().cloned().map(Probe::Passage).collect();
    let mut router = routes::described(
        &upstreams.iter().map(|upstream| upstream.service).collect::<Vec<_>>(),
        probes,
        process,
    );
    for passage in passages {
        for prefix in routes::prefixes(passage.upstream.service) {
            for path in [prefix.clone(), format!("{prefix}/{{*rest}}")] {
                router = router.merge(Router::new().route(&path, any(pass_on)).with_state(passage.clone()));
            }
        }
    }
    layers::around(router, process)
}

/// Passes a request on, and its answer back, both as they come in.
async fn pass_on(State(passage): State<Passage>, request: Request) -> Result<Response, ApiError> {
    let Passage { upstream: Upstream { service, url }, client, process } = passage;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = passed(parts.headers);
    trace::pass_on(&mut headers);
    let mut outgoing = client.request(parts.method, format!("{url}{path}")).headers(headers);
    if !body.is_end_stream() {
        outgoing = outgoing.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let incoming = outgoing.send().await.map_err(|source| ApiError::Gateway { service, source })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = incoming.status();
    *response.headers_mut() = passed(incoming.headers().clone());
    let is_events =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    *response.body_mut() = if is_events {
        // As the service does with its own.
        let permit = process.stream_begins()?;
        let stopping = async move {
            let _held = permit;
            process.stopping().await;
        };
        Body::from_stream(incoming.bytes_stream().take_until(Box::pin(stopping)))
    } else {
        Body::from_stream(incoming.bytes_stream())
    };
    Ok(response)
}

/// The headers that concern both ends.
fn passed(mut headers: HeaderMap) -> HeaderMap {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in OWN.iter().chain(&named) {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn headers_of_a_connection_are_not_passed_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("host", "a"),
            ("x-api-key", "k"),
            ("content-length", "3"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let passed = passed(headers);
        let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-api-key"]);
    }
}
