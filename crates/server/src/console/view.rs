//! How a request's page is shown.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderName, request::Parts},
};
use maud::{Markup, html};
use records::Service;

use super::{Console, section::Section};
use crate::{process::Process, session::Session};

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
    pub(super) wants_json: bool,
    /// Path and query of the request.
    pub(super) target: String,
}

impl View {
    /// That of a request.
    pub(super) fn new(console: &Console, parts: &Parts) -> Self {
        let named = parts.headers.get(&SERVICES_HEADER).and_then(|names| names.to_str().ok());
        let services = match named {
            Some(names) => names.split(',').filter_map(|name| name.parse().ok()).collect(),
            None => console.services.to_vec(),
        };
        let sessions = &console.process.sessions;
        let known = sessions.of(&parts.headers);
        let query = parts.uri.query().unwrap_or_default();
        let wants_json =
            form_urlencoded::parse(query.as_bytes()).any(|(name, value)| name == "format" && value == "json");
        Self {
            process: console.process.clone(),
            services,
            is_new: known.is_none(),
            session: known.unwrap_or_else(|| sessions.begin()),
            wants_json,
            target: parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        }
    }

    /// Whether the address shows the section.
    pub(super) fn has(&self, section: Section) -> bool {
        section.service().is_none_or(|service| self.services.contains(&service))
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
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let console: &Console = parts.extensions.get().expect("all pages know the console");
        Ok(Self::new(console, parts))
    }
}
