//! What surrounds the pages.

use axum::http::StatusCode;
use maud::{DOCTYPE, Markup, html};

use super::{SIGN_OUT, assets, section::Section, view::View};

/// What a page says that shows the progress of something.
pub(super) const RELOAD: &str = "Without JavaScript, reload the page to see the progress.";

/// The page around `body`.
pub(super) fn frame(view: &View, current: Section, (title, body): (&str, Markup)) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Panopticon" }
                link rel="icon" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script type="module" src=(assets::script()) {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.brand href="/" { "Panopticon" }
                    nav aria-label="Sections" {
                        @for section in Section::ALL.into_iter().filter(|section| view.has(*section)) {
                            a href=(section.path()) aria-current=[(section == current).then_some("page")] {
                                (section.title())
                            }
                        }
                        a href="/docs" { "API" }
                    }
                    @if view.needs_key() && view.is_signed_in() {
                        form method="post" action=(SIGN_OUT) { (view.token()) button.quiet type="submit" { "Sign out" } }
                    }
                }
                main #main tabindex="-1" {
                    @if let Some(notice) = view.process.notice { p.notice role="note" { (notice) } }
                    h1 { (title) }
                    (body)
                }
            }
        }
    }
}

/// What a list shows that has nothing to show.
pub(super) fn empty(what: &str, advice: Markup) -> Markup {
    html! { div.empty { p { strong { (what) } } (advice) } }
}

/// An error.
pub(super) fn error(status: StatusCode, message: &str, request_id: Option<&str>) -> Markup {
    html! {
        div.panel.problem role="alert" {
            p { (super::text::text(message)) }
            p.note {
                "Status " (status.as_u16())
                @if let Some(id) = request_id { ", request " (super::text::id(id)) }
                ". " a href="/" { "Home" }
            }
        }
    }
}
