//! Signing in, where the server has a key.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Console, SIGN_IN,
    filters::{Filters, link},
    page::Page,
    section::Section,
    view::View,
};
use crate::{answer::ApiError, session::Transport};

/// Most bytes of the form.
const MAX_FORM_BYTES: usize = 16 << 10;

/// The form.
#[derive(Debug, Serialize)]
struct SignIn {
    /// Where to go afterwards.
    next: String,
    /// Whether a wrong key was given.
    is_refused: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Next {
    next: Option<String>,
    #[serde(default)]
    refused: bool,
}

impl Page for SignIn {
    fn title(&self) -> String {
        "Sign in".to_owned()
    }

    fn section(&self) -> Section {
        Section::Home
    }

    fn body(&self, _: &View) -> Markup {
        html! {
            form.panel.narrow method="post" action=(SIGN_IN) {
                p { "This server has an API key. Signing in stores a session in this browser, not the key." }
                @if self.is_refused {
                    p.problem role="alert" { "That is not the server's API key." }
                }
                input type="hidden" name="next" value=(self.next);
                label for="key" { "API key" }
                input #key type="password" name="key" required autofocus autocomplete="current-password";
                button type="submit" { "Sign in" }
            }
        }
    }
}

/// Shows the form.
pub(super) async fn show(view: View, Filters(Next { next, refused }): Filters<Next>) -> Response {
    let page = SignIn { next: own(next), is_refused: refused };
    view.show(&page)
}

/// Begins a session for a client that knows the key. The key replaces the token of other forms.
pub(super) async fn sign_in(
    State(console): State<Console>,
    headers: HeaderMap,
    body: axum::body::Body,
) -> Result<Response, ApiError> {
    let bytes = axum::body::to_bytes(body, MAX_FORM_BYTES).await;
    let bytes = bytes.map_err(|_| ApiError::TooLarge { limit_bytes: MAX_FORM_BYTES })?;
    let field = |name: &str| {
        form_urlencoded::parse(&bytes).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    };
    let next = own(field("next"));
    let process = &console.process;
    // A form without the field counts as one with an empty key.
    let given = field("key").unwrap_or_default();
    if process.config.api_key.as_ref().is_some_and(|key| !key.is(given.as_bytes())) {
        let place = link(SIGN_IN, [("next", Some(next.as_str())), ("refused", Some("true"))]);
        return Ok(Redirect::to(&place).into_response());
    }
    let cookie = process.sessions.set_cookie(&process.sessions.begin(), Transport::of(&headers));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response())
}

/// Ends the session of this browser.
pub(super) async fn sign_out(
    State(console): State<Console>,
    headers: HeaderMap,
    _: super::Form<Nothing>,
) -> Response {
    let cookie = console.process.sessions.end_cookie(Transport::of(&headers));
    ([(header::SET_COOKIE, cookie)], Redirect::to(SIGN_IN)).into_response()
}

/// A form without fields.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Nothing {}

/// A path of the console; its first page for anything else, such as a URL of another host.
fn own(next: Option<String>) -> String {
    let is_own = |next: &String| {
        let path = next.split(['?', '#']).next().unwrap_or_default();
        super::is_page(path)
            && path != SIGN_IN
            && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(is_own).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_page_is_one_of_the_console() {
        for next in ["/", "/console/queries?q=a%20b", "/console/outputs"] {
            assert_eq!(own(Some(next.to_owned())), next);
        }
        for next in [
            "",
            "//evil.example",
            "https://evil.example/",
            "/\\evil.example",
            "/api/v1/queries",
            SIGN_IN,
            "/console/a\r\nb: c",
        ] {
            assert_eq!(own(Some(next.to_owned())), "/", "{next}");
        }
        assert_eq!(own(None), "/");
    }
}
