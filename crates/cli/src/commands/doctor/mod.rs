//! `panopticon doctor`: problems of the database and their fixes, as text or as JSON.

mod text;

use std::sync::Arc;

use anyhow::anyhow;
use upkeep::doctor::{Embed, Remedy, Severity, diagnose, examine, to_json};

use super::search::open_present_model;
use crate::{
    configuration::Configuration,
    connection::{Connection, has_embedded_cluster},
    exit::{ExitCode, Failure},
    output::{print, print_json},
    screen::width,
    settings::table::DATABASE_URL,
};

pub(crate) async fn run(configuration: &Configuration, as_json: bool) -> Result<ExitCode, Failure> {
    let policy = configuration.index_policy()?;
    if configuration.text(&DATABASE_URL)?.is_none() && !has_embedded_cluster(configuration)? {
        return Err(Failure::usage(anyhow!(
            "there is no database to examine yet: set {DATABASE_URL}, or create the embedded one with `panopticon migrate` or `panopticon serve`"
        )));
    }
    let embed = open_present_model(configuration)
        .await?
        .map(|model| -> Embed { Arc::new(move |texts: &[&str]| Ok(model.embed(texts)?)) });
    let connection = Connection::open_as_it_is(configuration).await?;
    let is_embedded = connection.server().is_some();
    let examined = examine(&connection.database, embed.as_ref()).await;
    connection.close().await?;
    let examination = examined?;
    let mut findings = diagnose(&examination, &policy);
    if is_embedded {
        // Its pgvector is ours: there is no package to upgrade.
        let is_about_package =
            |code| matches!(code, "pgvector_absent" | "pgvector_too_old" | "pgvector_outdated");
        for finding in findings.iter_mut().filter(|finding| is_about_package(finding.code)) {
            finding.remedy = Remedy::Advice(
                "upgrade panopticon, which brings the pgvector of its embedded server".to_owned(),
            );
        }
    }
    if as_json {
        print_json(&to_json(&examination, &findings))?;
    } else {
        print(&text::screen(&examination, &findings, width()))?;
    }
    let is_healthy = findings.iter().all(|finding| finding.severity == Severity::Note);
    Ok(if is_healthy { ExitCode::Complete } else { ExitCode::Unhealthy })
}
