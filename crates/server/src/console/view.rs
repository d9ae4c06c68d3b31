//! How a request's page is shown.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts, uri::Authority},
};
use maud::{Markup, html};
use records::Service;

use super::{Console, filters::Given, section::Section};
use crate::{answer::ApiError, process::Process, session::Session};

/// The services of the address that the client uses; set by the gateway.
pub(crate) const SERVICES_HEADER: HeaderName = HeaderName::from_static("x-panopticon-services");

/// The field of a form with the token.
pub(super) const TOKEN: &str = "_token";

/// How a request's page is shown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(super) process: Arc<Process>,
    services: Vec<Service>,
    pub(super) session: Session,
    /// Whether the client does not have the session yet.
    pub(super) is_new: bool,
    /// The query string.
    pub(super) given: Given,
    /// Path and query of the request.
    pub(super) target: String,
    /// Host and port to which the request was sent, if they are those of a URL.
    pub(super) address: Option<String>,
}

impl View {
    /// That of a request with the query string `given`.
    pub(super) fn new(console: &Console, parts: &Parts, given: Given) -> Self {
        let named = parts.headers.get(&SERVICES_HEADER).and_then(|names| names.to_str().ok());
        let services = match named {
            Some(names) => names.split(',').filter_map(|name| name.parse().ok()).collect(),
            None => console.services.to_vec(),
        };
        let sessions = &console.process.sessions;
        let known = sessions.of(&parts.headers);
        Self {
            process: console.process.clone(),
            services,
            is_new: known.is_none(),
            session: known.unwrap_or_else(|| sessions.begin()),
            given,
            target: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            address: address(&parts.headers),
        }
    }

    /// Whether the address shows the section.
    pub(super) fn has(&self, section: Section) -> bool {
        let able = section.services();
        able.is_empty() || able.iter().any(|service| self.services.contains(service))
    }

    /// Whether the client has a session.
    pub(super) fn is_signed_in(&self) -> bool {
        !self.is_new
    }

    /// Whether people sign in.
    pub(super) fn needs_key(&self) -> bool {
        self.process.config.api_key.is_some()
    }

    /// The hidden field that each form needs.
    pub(super) fn token(&self) -> Markup {
        let token = self.process.sessions.form_token(&self.session);
        html! { input type="hidden" name=(TOKEN) value=(token); }
    }

    /// The session of the client.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl<S: Send + Sync> FromRequestParts<S> for View {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let console: &Console = parts.extensions.get().expect("all pages know the console");
        Ok(Self::new(console, parts, Given::of(&parts.uri)?))
    }
}

/// Host and port of the header `Host`. With a key, no layer has checked the header, and pages show it in commands: only
/// the characters of names and addresses are let through.
fn address(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let is_address = host.bytes().all(is_plain) && Authority::try_from(host).is_ok();
    is_address.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn address_is_that_of_a_url() {
        let of = |host: &'static str| {
            let headers = [(header::HOST, HeaderValue::from_static(host))].into_iter().collect();
            address(&headers)
        };
        for host in ["localhost:8000", "127.0.0.1:18931", "[::1]:1", "evals.example.org"] {
            assert_eq!(of(host).as_deref(), Some(host));
        }
        for host in ["", "a;rm", "a b", "$(id)", "a'b", "a/b", "user@a"] {
            assert_eq!(of(host), None, "{host}");
        }
        assert_eq!(address(&HeaderMap::new()), None);
    }
}
