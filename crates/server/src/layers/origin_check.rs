//! Access control where no API key is set: programs and pages of this machine's user are admitted, pages of other
//! origins are not.
//!
//! A browser sends requests to 127.0.0.1 on behalf of any page, and treats a name that an attacker resolves to
//! 127.0.0.1 (DNS rebinding) as the page's own origin. So the host must be a name of this machine; the request must
//! not come from a page of another origin, even if it only reads; and a body must declare itself as JSON, which a
//! page cannot send to another origin without a preflight request. (Chroma's older clients declare nothing; on its
//! routes, the origin alone decides, which browsers send with every such body.) Links that the user follows are
//! admitted, and `/docs` from any origin.
//!
//! With a key none of this is needed: pages of other origins do not know it.

use std::sync::Arc;

use axum::{
    body::HttpBody as _,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, uri::Authority},
    middleware::Next,
    response::Response,
};

use super::refused;
use crate::{
    answer::ApiError,
    config::{AllowedHosts, ServerConfig},
    process::Process,
    request::check_media_type,
    route_class::RouteClass,
};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");

/// Admits requests of this machine's user.
pub(crate) async fn checked(State(process): State<Arc<Process>>, request: Request, next: Next) -> Response {
    if process.config.api_key.is_some() || !RouteClass::of(&request).checks_origin() {
        return next.run(request).await;
    }
    match check(&process.config, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => refused(error, &request),
    }
}

fn check(config: &ServerConfig, request: &Request) -> Result<(), ApiError> {
    let setting = config.setting_names.allowed_hosts;
    let host = host(request, setting)?;
    if let AllowedHosts::Local(names) = &config.allowed_hosts {
        let named = [host.as_ref(), request.uri().authority()];
        if let Some(other) = named.into_iter().flatten().find(|authority| !names.have(authority.host())) {
            return Err(ApiError::Host { host: other.as_str().to_owned(), setting });
        }
    }
    check_origin(config, request, host.as_ref())?;
    // The forms of the console have a token instead, which pages of other origins do not know.
    if request.body().is_end_stream() || RouteClass::of(request).is_console() {
        return Ok(());
    }
    match request.headers().contains_key(header::CONTENT_TYPE) {
        true => check_media_type(request),
        false if RouteClass::of(request).is_chroma() => Ok(()),
        false => Err(ApiError::MediaType { found: "none".to_owned() }),
    }
}

/// The header `Host` of the request, of which the allowed ones are a `setting`. HTTP/1.0 has none.
fn host(request: &Request, setting: &'static str) -> Result<Option<Authority>, ApiError> {
    let wrong = |found: &str| ApiError::Host { host: found.to_owned(), setting };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_10 => Ok(None),
        (None, _) => Err(wrong("")),
        (Some(host), None) => {
            let text = host.to_str().map_err(|_| wrong("not ASCII"))?;
            let authority = Authority::try_from(text).ok().filter(|_| !text.contains('@'));
            authority.map(Some).ok_or_else(|| wrong(text))
        }
        (Some(_), Some(_)) => Err(wrong("two of them")),
    }
}

/// Rejects requests of pages of other origins.
fn check_origin(config: &ServerConfig, request: &Request, host: Option<&Authority>) -> Result<(), ApiError> {
    let (headers, setting) = (request.headers(), config.setting_names.cors_origins);
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (Some(origin), None) if config.cors_origins.0.contains(origin) => return Ok(()),
        (Some(origin), None) if is_own(origin, host) => {}
        (None, _) => {}
        (Some(origin), _) => {
            let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
            return Err(ApiError::Origin { origin, setting });
        }
    }
    let is = |name: HeaderName, value: &str| headers.get(name).is_some_and(|found| found == value);
    let is_foreign =
        headers.get_all(FETCH_SITE).iter().any(|site| !["same-origin", "none"].iter().any(|own| site == own));
    let is_link = matches!(*request.method(), Method::GET | Method::HEAD)
        && is(FETCH_MODE, "navigate")
        && (is(FETCH_USER, "?1") || RouteClass::of(request).may_be_linked());
    if is_foreign && !is_link {
        return Err(ApiError::Origin { origin: "unknown".to_owned(), setting });
    }
    Ok(())
}

/// Whether a page loaded from `host` has this origin. A proxy in front may have added TLS.
fn is_own(origin: &HeaderValue, host: Option<&Authority>) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let of_http = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    of_http.zip(host).is_some_and(|(origin, host)| origin.eq_ignore_ascii_case(host.as_str()))
}

/// Removes the headers about the page that sent a request, which the gateway has checked: to the service behind it,
/// the gateway's own pages would be of another origin.
pub(crate) fn remove_origin(headers: &mut HeaderMap) {
    for name in
        [header::ORIGIN, FETCH_SITE, FETCH_MODE, FETCH_USER, HeaderName::from_static("sec-fetch-dest")]
    {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::StatusCode};

    use super::*;
    use crate::{
        config::{Hosts, Origins, SettingNames},
        routes::class_of,
    };

    /// The status of the rejection, if the request is rejected.
    fn refusal(config: &ServerConfig, request: &str, body: &str) -> Option<StatusCode> {
        refusal_of(config, |request| request, request, body)
    }

    /// The same, of the request after `change`.
    fn refusal_of(
        config: &ServerConfig,
        change: impl Fn(Request) -> Request,
        request: &str,
        body: &str,
    ) -> Option<StatusCode> {
        let mut lines = request.lines();
        let (method, uri) = lines.next().and_then(|line| line.split_once(' ')).expect("a first line");
        let mut builder = Request::builder().method(method).uri(uri).extension(class_of(uri));
        for (name, value) in lines.filter_map(|line| line.trim().split_once(": ")) {
            builder = builder.header(name, value);
        }
        let body = if body.is_empty() { Body::empty() } else { Body::from(body.to_owned()) };
        check(config, &change(builder.body(body).expect("a request"))).err().map(|error| error.status())
    }

    #[test]
    fn host_must_be_a_name_of_this_machine() {
        let hosts = Hosts::parse("evals.example.org, Other").expect("they are names");
        let named = ServerConfig { allowed_hosts: AllowedHosts::Local(hosts), ..ServerConfig::default() };
        let any = ServerConfig { allowed_hosts: AllowedHosts::Any, ..ServerConfig::default() };
        let default = ServerConfig::default();
        let with = |host: &str| format!("GET /api/v1/queries\nhost: {host}");
        for host in ["localhost", "LocalHost:8000", "127.0.0.1:1", "[::1]:8000", "[::1]", "localhost."] {
            assert_eq!(refusal(&default, &with(host), ""), None, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8000",
            "127.0.0.1.nip.io",
            "user@localhost",
            "localhost@evil.example",
            "127.0.0.2.evil",
            "[::2]",
            "0.0.0.0:8000",
            "x",
            "localhost, evil.example",
        ] {
            assert_eq!(refusal(&default, &with(host), ""), Some(StatusCode::MISDIRECTED_REQUEST), "{host}");
        }
        assert_eq!(refusal(&any, &with("evil.example"), ""), None);
        assert_eq!(refusal(&named, &with("Evals.example.org:80"), ""), None);
        assert_eq!(refusal(&named, &with("other"), ""), None);
        assert!(refusal(&named, &with("example.org"), "").is_some());
        assert!(refusal(&default, "GET /metrics", "").is_some(), "no host");
        assert!(refusal(&default, "GET /metrics\nhost: localhost\nhost: evil.example", "").is_some());
        assert!(refusal(&default, "GET http://evil.example/metrics\nhost: localhost", "").is_some());
    }

    #[test]
    fn messages_name_the_setting_that_allows_the_request() {
        let setting_names =
            SettingNames { allowed_hosts: "HOSTS", cors_origins: "ORIGINS", ..SettingNames::default() };
        let config = ServerConfig { setting_names, ..ServerConfig::default() };
        let message = |host: &str, origin: &str| {
            let request = Request::get("/api/v1/queries").header("host", host).header("origin", origin);
            let request = request.body(Body::empty()).expect("a request");
            check(&config, &request).expect_err("it is rejected").to_string()
        };
        assert!(message("evil.example", "null").ends_with("or add the name to the server's HOSTS"));
        assert!(message("", "null").ends_with("HOSTS"));
        assert!(message("localhost", "http://evil.example").ends_with("to the server's ORIGINS"));
    }

    #[test]
    fn pages_of_other_origins_are_rejected_but_links_from_them_are_followed() {
        let cors_origins = Origins::parse("http://localhost:3000").expect("an origin");
        let config = ServerConfig { cors_origins, ..ServerConfig::default() };
        let with = |first: &str, headers: &[&str]| {
            refusal(&config, &format!("{first}\nhost: localhost:8000\n{}", headers.join("\n")), "")
        };
        let get = "GET /api/v1/queries";
        let post = "POST /api/v1/runs/x/cancel";
        for first in [get, post, "DELETE /api/v1/queries/x", "OPTIONS /api/v1/queries"] {
            for headers in [
                &["origin: http://localhost:8001"][..],
                &["origin: http://127.0.0.1:8000"],
                &["origin: null"],
                &["origin: https://evil.example"],
                &["origin: http://localhost:8000", "origin: http://localhost:3000"],
                &["origin: http://localhost:8000.evil.example"],
                &["sec-fetch-site: cross-site"],
                &["sec-fetch-site: same-site", "sec-fetch-mode: no-cors"],
                &["sec-fetch-site: same-site", "origin: http://localhost:8000"],
                &["sec-fetch-site: same-origin", "sec-fetch-site: cross-site"],
                // A frame or window that the page opens without a click.
                &["sec-fetch-site: cross-site", "sec-fetch-mode: navigate"],
            ] {
                assert_eq!(with(first, headers), Some(StatusCode::FORBIDDEN), "{first} {headers:?}");
            }
            for headers in [
                &[][..],
                &["origin: http://localhost:8000", "sec-fetch-site: same-origin"],
                &["origin: https://LOCALHOST:8000"],
                &["origin: http://localhost:3000", "sec-fetch-site: same-site"],
                &["sec-fetch-site: none"],
            ] {
                assert_eq!(with(first, headers), None, "{first} {headers:?}");
            }
        }
        let link = ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate", "sec-fetch-user: ?1"];
        assert_eq!(with(get, &link), None);
        assert_eq!(with(post, &link), Some(StatusCode::FORBIDDEN), "a form is not a link");
        assert_eq!(with("GET /docs", &link[..2]), None);
    }

    #[test]
    fn body_must_be_declared_as_json() {
        let config = ServerConfig::default();
        let with = |headers: &str, body: &str| {
            refusal(&config, &format!("POST /api/v1/runs/x/cancel\nhost: localhost\n{headers}"), body)
        };
        for headers in [
            "",
            "content-type: text/plain",
            "content-type: text/plain; a=application/json",
            "content-type: application/json\ncontent-type: text/plain",
        ] {
            assert_eq!(with(headers, "{}"), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{headers}");
        }
        let chroma = |headers: &str| {
            let request = format!("POST /api/v2/tenants\nhost: localhost\n{headers}");
            let class = |mut request: Request| {
                request.extensions_mut().insert(RouteClass::Chroma);
                request
            };
            refusal_of(&config, class, &request, "{}")
        };
        // Chroma's older clients declare nothing; a page of another origin cannot hide that it is one.
        assert_eq!(chroma(""), None);
        assert_eq!(chroma("content-type: text/plain"), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        assert_eq!(chroma("origin: https://evil.example"), Some(StatusCode::FORBIDDEN));
        assert_eq!(chroma("sec-fetch-site: cross-site"), Some(StatusCode::FORBIDDEN));
        assert_eq!(with("content-type: application/json; charset=utf-8", "{}"), None);
        assert_eq!(with("", ""), None);
    }
}
