//! What every page has: its frame, and its data as JSON at the same path.

use axum::{
    http::{Method, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use form_urlencoded::byte_serialize;
use maud::Markup;
use records::shortened;
use serde::Serialize;

use super::{SIGN_IN, filters::Format, layout, section::Section, view::View};
use crate::{answer::ApiError, session::Transport};

const NOTE_CHARACTERS: usize = 2_000;

/// A page: everything that it shows, and how.
pub(crate) trait Page: Serialize {
    /// Its title.
    fn title(&self) -> String;

    /// The section to which it belongs.
    fn section(&self) -> Section;

    /// What is below its title.
    fn body(&self, view: &View) -> Markup;
}

impl View {
    /// The page, or its data.
    pub(super) fn show<P: Page>(self, page: &P) -> Response {
        if self.given.format == Format::Json {
            return json(page);
        }
        let body = page.body(&self);
        self.html(StatusCode::OK, page.section(), (&page.title(), body))
    }

    pub(super) fn html(
        self,
        status: StatusCode,
        section: Section,
        (title, body): (&str, Markup),
    ) -> Response {
        let markup = layout::frame(&self, section, (title, body)).into_string();
        let headers =
            [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, markup).into_response();
        // With a key, only signing in begins a session.
        if self.is_new && !self.needs_key() {
            let cookie = self.process.sessions.set_cookie(&self.session, Transport::Plain);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }

    /// A page about an error; `response` is that of the API.
    pub(super) fn error(self, error: &ApiError, method: &Method, response: Response) -> Response {
        if self.given.format == Format::Json {
            return response;
        }
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        if matches!(error, ApiError::Unauthorized) && is_read {
            let next: String = byte_serialize(self.target.as_bytes()).collect();
            return Redirect::to(&format!("{SIGN_IN}?next={next}")).into_response();
        }
        let request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let message = error.public_message();
        let message = shortened(&message, NOTE_CHARACTERS);
        let body = layout::error(error.status(), &message, request_id);
        let title = error.status().canonical_reason().unwrap_or("Error");
        let status = error.status();
        // Those of the layers: the request's id, the security policies, when to retry.
        let mut kept = response.headers().clone();
        kept.remove(header::CONTENT_TYPE);
        kept.remove(header::CONTENT_LENGTH);
        let mut page = self.html(status, Section::Home, (title, body));
        page.headers_mut().extend(kept);
        page
    }
}

fn json(page: &impl Serialize) -> Response {
    let body = serde_json::to_vec(page).expect("pages are JSON");
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
