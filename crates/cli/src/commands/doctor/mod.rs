//! `panopticon doctor`: problems of the database and their fixes, as text or as JSON.

mod text;

use std::sync::Arc;

use anyhow::anyhow;
use store::postgres::DatabaseOptions;
use upkeep::doctor::{Embed, ServerOrigin, Severity, diagnose, examine, to_json};

use super::search::open_present_model;
use crate::{
    arguments::ReplicaFlags,
    configuration::Configuration,
    connection::{Connection, has_embedded_cluster},
    exit::{ExitCode, Failure},
    output::{print, print_json},
    screen::width,
    settings::table::DATABASE_URL,
};

pub(crate) async fn run(
    configuration: &Configuration,
    as_json: bool,
    replicas: &ReplicaFlags,
) -> Result<ExitCode, Failure> {
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
    let connection = connection.with_replicas(configuration, replicas, &DatabaseOptions::default()).await?;
    let origin = match connection.server() {
        Some(_) => ServerOrigin::Embedded,
        None => ServerOrigin::External,
    };
    let examined = examine(&connection.database, embed.as_ref()).await;
    connection.close().await?;
    let examination = examined?;
    let mut findings = diagnose(&examination, &policy);
    origin.adapt(&mut findings);
    if as_json {
        print_json(&to_json(&examination, &findings))?;
    } else {
        print(&text::screen(&examination, &findings, width()))?;
    }
    let is_healthy = findings.iter().all(|finding| finding.severity == Severity::Note);
    Ok(if is_healthy { ExitCode::Complete } else { ExitCode::Unhealthy })
}
