//! Reverse proxy that serves all routes at one address where the services run as separate processes.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header},
    middleware::map_request_with_state,
    response::Response,
    routing::any,
};
use futures_util::StreamExt as _;
use records::Service;

use crate::{
    answer::ApiError,
    connections::{ConnectionUse, guarded},
    console::{self, Console, Source},
    handlers::operation::Probe,
    layers,
    process::Process,
    routes, trace,
    upstream::{GatewayTarget, Passage, Upstream},
};

/// Hop-by-hop headers (RFC 9110, 7.6.1), and the host, which differs upstream.
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

/// The routes of all `upstreams`, and Chroma's API if its server has a URL. `client` must not follow redirects.
pub fn gateway(
    upstreams: &[Upstream],
    chroma: Option<&str>,
    client: &reqwest::Client,
    process: &Arc<Process>,
) -> Router {
    let passage = |name, url: &str| Passage {
        name,
        url: url.to_owned(),
        client: client.clone(),
        process: process.clone(),
    };
    let served: Vec<Service> = upstreams.iter().map(|upstream| upstream.service).collect();
    let of_service = |of: &Upstream| {
        let own = routes::prefixes(of.service).into_iter().map(|prefix| (prefix, Kind::Routes));
        let pages = console::prefixes(of.service, &served).map(|prefix| (prefix, Kind::Pages));
        (passage(of.service.as_str(), &of.url), own.chain(pages).collect::<Vec<_>>())
    };
    let of_chroma = |url| (passage("chroma", url), vec![(routes::CHROMA.to_owned(), Kind::Routes)]);
    let passages: Vec<_> = upstreams.iter().map(of_service).chain(chroma.map(of_chroma)).collect();
    let probes = passages.iter().map(|(passage, _)| Probe::Passage(passage.clone())).collect();
    let mut router = routes::described(&served, probes, process);
    let target = |upstream: &Upstream| GatewayTarget { upstream: upstream.clone(), client: client.clone() };
    let console = Console::new(Source::Upstreams(upstreams.iter().map(target).collect()), process);
    router = router.merge(console.known_to(console.router()));
    let services: Vec<&str> = served.iter().map(|service| service.as_str()).collect();
    let services = HeaderValue::from_str(&services.join(",")).expect("names of services are ASCII");
    for (passage, prefixes) in passages {
        for (prefix, kind) in prefixes {
            for path in [prefix.clone(), format!("{prefix}/{{*rest}}")] {
                let routes = Router::new().route(&path, any(pass_on)).with_state(passage.clone());
                router = router.merge(match kind {
                    Kind::Routes => routes,
                    Kind::Pages => routes.layer(map_request_with_state(services.clone(), name_services)),
                });
            }
        }
    }
    let class_of = if chroma.is_some() { routes::class_of_all } else { routes::class_of };
    console.around(layers::around(router, layers::Bodies::PassedOn, class_of, process))
}

/// What is behind a prefix.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Routes of an API.
    Routes,
    /// Pages of the console.
    Pages,
}

/// Tells a service which others there are: its pages link to theirs.
async fn name_services(State(services): State<HeaderValue>, mut request: Request) -> Request {
    request.headers_mut().insert(console::SERVICES_HEADER, services);
    request
}

/// Forwards a request and its response, both streamed.
async fn pass_on(State(passage): State<Passage>, request: Request) -> Result<Response, ApiError> {
    if let Some(response) = layers::without_slash(request.uri()) {
        return Ok(response);
    }
    let Passage { name, url, client, process } = passage;
    let (parts, body) = request.into_parts();
    let target = target(&url, &parts.uri)?;
    let mut headers = passed(parts.headers);
    layers::remove_origin(&mut headers);
    trace::pass_on(&mut headers);
    let mut outgoing = client.request(parts.method, target).headers(headers);
    if !body.is_end_stream() {
        let waiting = parts.extensions.get().map(ConnectionUse::waiting);
        outgoing = outgoing.body(reqwest::Body::wrap_stream(guarded(body, waiting).into_data_stream()));
    }
    let incoming = outgoing.send().await.map_err(|source| ApiError::Gateway { service: name, source })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = incoming.status();
    *response.headers_mut() = passed(incoming.headers().clone());
    let is_events =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    *response.body_mut() = if is_events {
        // The service treats its own streams alike.
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

/// The upstream URL of a request for `uri`. The route was chosen by the path as sent: a path that a URL parser or the
/// service normalizes differently could reach beyond the service's routes.
fn target(url: &str, uri: &Uri) -> Result<reqwest::Url, ApiError> {
    let path = uri.path();
    if has_dot_segment(path) {
        return Err(ApiError::Path);
    }
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    let base = reqwest::Url::parse(url).map_err(|_| ApiError::Path)?;
    let target = reqwest::Url::parse(&format!("{url}{path}{query}")).map_err(|_| ApiError::Path)?;
    let is_as_written = target.path().strip_prefix(base.path().trim_end_matches('/')) == Some(path);
    if is_as_written && target.origin() == base.origin() { Ok(target) } else { Err(ApiError::Path) }
}

/// Whether a segment is `.` or `..`, percent-encoded up to three times, after a slash or a backslash. No server
/// decodes more often, and the work must be bounded. Servers of Java drop what follows a `;` in a segment, and lenient
/// ones decode dots and slashes from more bytes than UTF-8 allows.
fn has_dot_segment(path: &str) -> bool {
    let is_slash = |byte: &u8| matches!(byte, b'/' | b'\\');
    let mut forms = std::iter::successors(Some(path.as_bytes().to_vec()), |path| Some(decoded(path))).take(4);
    let is_dots = |segment: &[u8]| {
        // `split` always returns a first part, possibly empty.
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        matches!(name, b"." | b"..")
    };
    // `.`, `/` and `\` in two, three and four bytes, of which one would be enough.
    let is_overlong = |path: &[u8]| {
        path.windows(2)
            .any(|bytes| matches!(bytes, [0xc0 | 0xc1, _] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]))
    };
    forms.any(|path| is_overlong(&path) || path.split(is_slash).any(is_dots))
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&first, after)) = rest.split_first() {
        match after {
            [high, low, after @ ..] if first == b'%' && digit(*high).zip(digit(*low)).is_some() => {
                let (high, low) = digit(*high).zip(digit(*low)).expect("both are digits");
                decoded.push(high * 16 + low);
                rest = after;
            }
            _ => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    decoded
}

/// The end-to-end headers. Invalid names in `Connection` are skipped.
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
    use super::*;

    #[test]
    fn dot_segments_are_rejected_in_every_encoding() {
        let target = |path: &str| target("http://upstream:1/base", &path.parse().expect("a URI"));
        for path in [
            "/queries/a%2Fb%3Fc?x=../%2e",
            "/queries/...",
            "/queries/a..b",
            "/queries/%252F",
            "/queries/%zz",
            "/queries/a%5Cb",
            "/queries/a;b=..",
            "/queries/a..;b",
            "/queries/%C3%A9%E2%82%AC%F0%9F%98%80",
        ] {
            let target = target(path).expect("it is passed on");
            assert_eq!(target.as_str(), format!("http://upstream:1/base{path}"));
        }
        for path in [
            "/queries/..",
            "/queries/../admin",
            "/queries/%2e%2e/admin",
            "/queries/%2E./admin",
            "/queries/.%2e",
            "/queries/%2e",
            "/queries/./x",
            "/queries/x%2f..%2fadmin",
            "/queries/x%2F%2e%2E",
            "/queries/..%5cadmin",
            "/queries/x%5C..",
            "/queries/..\\admin",
            "/queries/a\\b",
            "/queries/%252e%252e/admin",
            "/queries/%25252E%25252e%25252fadmin",
            "/queries/..;/admin",
            "/queries/%2e%2e;x=1/admin",
            "/queries/..%3B/admin",
            "/queries/.;",
            "/queries/%252e%252e%253Bx%252fadmin",
            "/queries/..%c0%afadmin",
            "/queries/%c0%ae%c0%ae/admin",
            "/queries/%e0%80%ae./admin",
            "/queries/%f0%80%80%af",
        ] {
            assert!(matches!(target(path), Err(ApiError::Path)), "{path}");
        }
    }

    #[test]
    fn hop_by_hop_headers_are_not_forwarded() {
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
