//! What is in force, and from where.

use axum::{extract::State, response::Response};
use maud::{Markup, html};
use serde::Serialize;

use super::{Console, Section, page::Page, text, view::View};
use crate::metrics::ShownSetting;

/// The settings of the process, and its versions.
#[derive(Debug, Serialize)]
struct SettingsPage {
    version: &'static str,
    services: Vec<&'static str>,
    settings: Vec<ShownSetting>,
}

/// Shows the settings.
pub(super) async fn show(view: View, State(console): State<Console>) -> Response {
    view.show(&SettingsPage {
        version: env!("CARGO_PKG_VERSION"),
        services: console.services.iter().map(|service| service.as_str()).collect(),
        settings: console.process.settings.clone(),
    })
}

impl Page for SettingsPage {
    fn title(&self) -> String {
        Section::Settings.title().to_owned()
    }

    fn section(&self) -> Section {
        Section::Settings
    }

    fn body(&self, _: &View) -> Markup {
        html! {
            dl {
                dt { "version" } dd { (self.version) }
                dt { "services" } dd { (self.services.join(", ")) }
            }
            @if self.settings.is_empty() { p.note { "The settings of this process are not known." } }
            @else {
                div.scroll { table data-sortable {
                    thead { tr { th scope="col" { "setting" } th scope="col" { "value" } th scope="col" { "from" } } }
                    tbody { @for ShownSetting { name, value, origin } in &self.settings { tr {
                        td { code { (name) } }
                        td { @match value { Some(value) => (text::text(value)), None => span.note { "not set" } } }
                        td { @if let Some(origin) = origin { (text::text(origin)) } }
                    } } }
                } }
                p.note { "Of the process that shows this page; secrets are masked. " code { "panopticon config" } " prints the same." }
            }
        }
    }
}
