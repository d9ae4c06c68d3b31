//! What `panopticon doctor` finds.

use std::sync::Arc;

use axum::extract::State;
use maud::{Markup, html};
use serde::{Serialize, Serializer};
use upkeep::doctor::{Embed, Examination, Finding, Remedy, diagnose, examine, to_json};

use super::{Page, Quality, Unavailable, table_link, unavailable, without_database};
use crate::{
    config::UpkeepConfig,
    console::{Section, page, text, view::View},
};

/// The findings.
#[derive(Debug, Serialize)]
struct FindingsPage {
    has_database: bool,
    /// As `panopticon doctor --json` prints it; null without a database.
    #[serde(serialize_with = "as_doctor")]
    examined: Option<(Examination, Vec<Finding>)>,
    unavailable: Vec<Unavailable>,
}

fn as_doctor<S: Serializer>(
    examined: &Option<(Examination, Vec<Finding>)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    examined.as_ref().map(|(examination, findings)| to_json(examination, findings)).serialize(serializer)
}

/// Examines the database, which takes seconds.
pub(super) async fn show(view: View, State(quality): State<Quality>) -> Page {
    let mut shown = FindingsPage { has_database: false, examined: None, unavailable: Vec::new() };
    if let Some((database, UpkeepConfig { policy, origin, .. })) = quality.database() {
        shown.has_database = true;
        let model = quality.model.clone();
        let embed: Embed = Arc::new(move |texts: &[&str]| model.embed_now(texts));
        match examine(database, Some(&embed)).await {
            Ok(examination) => {
                let mut findings = diagnose(&examination, &policy);
                origin.adapt(&mut findings);
                shown.examined = Some((examination, findings));
            }
            Err(error) => shown.unavailable.push(Unavailable::new("the examination", &error)),
        }
    }
    Ok(view.show(&shown))
}

fn remedy(remedy: &Remedy) -> Markup {
    html! {
        @match remedy {
            Remedy::Command(command) => pre { (text::text(command)) },
            Remedy::Sql(statements) => pre { (text::text(&statements.iter().map(|one| format!("{one};")).collect::<Vec<_>>().join("\n"))) },
            Remedy::Advice(advice) => (text::text(advice)),
            Remedy::ForRows { advice, select } => { (text::text(advice)) pre { (text::text(select)) } },
        }
    }
}

impl page::Page for FindingsPage {
    fn title(&self) -> String {
        "Findings".to_owned()
    }

    fn section(&self) -> Section {
        Section::Quality
    }

    fn body(&self, _: &View) -> Markup {
        if !self.has_database {
            return without_database();
        }
        html! {
            (unavailable(&self.unavailable))
            @if let Some((examination, findings)) = &self.examined {
                p.note {
                    (text::counted(examination.tables.len() as u64, "table")) " examined"
                    @if !examination.absent.is_empty() { "; absent: " (text::text(&examination.absent.join(", "))) }
                    ". Parts that could not be examined are findings, too."
                }
                @if findings.is_empty() { p.good { "Nothing is wrong." } }
                @else {
                    div.scroll { table data-sortable {
                        thead { tr { th scope="col" { "severity" } th scope="col" { "table" } th scope="col" { "finding" } th scope="col" { "fix" } } }
                        tbody { @for finding in findings { tr {
                            td { (finding.severity.as_str()) }
                            td { @match &finding.table {
                                Some(table) if examination.tables.iter().any(|examined| examined.table.name == *table) => a href=(table_link(table)) { (text::text(table)) },
                                Some(table) => (text::text(table)),
                                None => "server",
                            } }
                            td.text { (text::text(&finding.what)) " " span.note { "[" (finding.code) "]" } }
                            td.text { (remedy(&finding.remedy)) }
                        } } }
                    } }
                }
            }
            p { a.button.quiet href=(Section::Quality.path()) { "Tables" } }
        }
    }
}
