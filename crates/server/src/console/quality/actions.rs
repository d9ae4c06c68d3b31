//! Jobs on tables: what `panopticon index tune`, `index apply` and `maintain` do.

use std::fmt::Write as _;

use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use maud::{Markup, html};
use schemars::JsonSchema;
use serde::Deserialize;
use store::postgres::{Database, Table};
use upkeep::maintenance::{Event, Maintenance, Outcome, Round, watched_tables};

use super::{Page, Quality, table_link};
use crate::{
    answer::ApiError,
    config::UpkeepConfig,
    console::{Section, form::Form, view::View},
    jobs::{Progress, Subject, TooManyJobs},
};

/// The jobs of these pages.
pub(super) const AREA: &str = "quality";

type Result<T> = std::result::Result<T, ApiError>;

/// The table of a form.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct OneTable {
    table: String,
}

/// The table of a form, or all.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct AnyTable {
    table: Option<String>,
}

/// The form that starts `name`.
pub(super) fn action(view: &View, name: &str, table: Option<&str>) -> Markup {
    let title = match name {
        "tune" => "Measure search parameters",
        "apply" => "Apply plan",
        _ => "Run maintenance",
    };
    html! {
        form method="post" action={ (Section::Quality.path()) "/" (name) } {
            (view.token())
            @if let Some(table) = table { input type="hidden" name="table" value=(table); }
            button.quiet type="submit" { (title) }
        }
    }
}

pub(super) async fn tune(State(quality): State<Quality>, Form(OneTable { table }): Form<OneTable>) -> Page {
    let (database, UpkeepConfig { policy, .. }, table) = of_table(&quality, &table).await?;
    let name = table.name.clone();
    start(&quality, ("tune", &name), move |progress| async move {
        let measured = upkeep::retune(&database, &table, &policy, &|event| report(&progress, event)).await?;
        let worst = measured.iter().min_by(|one, other| one.recall.total_cmp(&other.recall));
        Ok(match worst {
            None => "no vector index, or no vectors: searches use an exact scan".to_owned(),
            Some(worst) => format!(
                "{} search parameters were measured; the lowest recall is {:.3} (at least {:.3}), its target {}",
                measured.len(),
                worst.recall,
                worst.recall_low,
                worst.target
            ),
        })
    })
}

pub(super) async fn apply(State(quality): State<Quality>, Form(OneTable { table }): Form<OneTable>) -> Page {
    let (database, UpkeepConfig { policy, .. }, table) = of_table(&quality, &table).await?;
    let name = table.name.clone();
    start(&quality, ("apply", &name), move |progress| async move {
        let applied = upkeep::apply(&database, &table, &policy, &|event| report(&progress, event)).await?;
        Ok(match applied.plan.is_empty() {
            true => "nothing was to do".to_owned(),
            false => format!(
                "{} changes of indexes, {} search parameters measured",
                applied.plan.changes.len(),
                applied.measured.len()
            ),
        })
    })
}

pub(super) async fn maintain(
    State(quality): State<Quality>,
    Form(AnyTable { table }): Form<AnyTable>,
) -> Page {
    let (database, upkeep) = quality.database().ok_or_else(no_database)?;
    if let Some(name) = &table {
        let known = watched_tables(database).await.map_err(failed)?;
        if !known.contains(name) {
            return Err(no_table(name));
        }
    }
    let (database, process) = (database.clone(), quality.process.clone());
    // Empty for all tables.
    let name = table.clone().unwrap_or_default();
    start(&quality, ("maintain", &name), move |progress| async move {
        let observer = |event: Event<'_>| match event {
            Event::Observed(_) => {}
            Event::Begins(planned) => progress.line(&planned.to_string()),
            Event::Index(event) => report(&progress, event),
            Event::Ended(done) => {
                progress.line(&format!("{}: {}", done.planned.table, done.outcome.as_str()))
            }
        };
        let UpkeepConfig { policy, limits, .. } = &upkeep;
        let maintenance =
            Maintenance { database: &database, policy, limits, only: table.as_deref(), observer: &observer };
        match Box::pin(upkeep::maintenance::maintain(maintenance, process.stopping())).await? {
            Round::Busy => Err("another process is maintaining this database".into()),
            Round::Made { plan, done, .. } => {
                let failures: Vec<String> = done
                    .iter()
                    .filter_map(|done| match &done.outcome {
                        Outcome::Failed { error } => Some(format!("{}: {error}", done.planned)),
                        Outcome::Done | Outcome::Interrupted(_) => None,
                    })
                    .collect();
                if !failures.is_empty() {
                    return Err(failures.join("; ").into());
                }
                let mut said = format!("{} of {} actions done", done.len(), plan.actions.len());
                for skipped in &plan.left_alone {
                    // Writing to a string does not fail.
                    let _ = write!(said, "; {} skipped: {}", skipped.table, skipped.reason);
                }
                Ok(said)
            }
        }
    })
}

fn report(progress: &Progress, event: upkeep::Event<'_>) {
    match event {
        upkeep::Event::Building { done, total } | upkeep::Event::Measuring { done, total } => {
            progress.at(done, total);
        }
        step => step.step().iter().for_each(|line| progress.line(line)),
    }
}

fn start<F>(
    quality: &Quality,
    (action, table): (&'static str, &str),
    work: impl FnOnce(Progress) -> F,
) -> Page
where
    F: Future<Output = std::result::Result<String, Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    let subject = Subject { area: AREA, action, of: table.to_owned() };
    let full = |TooManyJobs(limit)| ApiError::Busy { limit };
    quality.process.jobs.start(subject, work).map_err(full)?;
    let place = if table.is_empty() { Section::Quality.path() } else { table_link(table) };
    Ok(Redirect::to(&place).into_response())
}

/// The table `name`, which has vectors.
pub(super) async fn of_table(quality: &Quality, name: &str) -> Result<(Database, UpkeepConfig, Table)> {
    let (database, upkeep) = quality.database().ok_or_else(no_database)?;
    let tables = upkeep::tables_and(database, &[name.to_owned()]).await.map_err(failed)?;
    let table = tables.into_iter().find(|table| table.name == name).ok_or_else(|| no_table(name))?;
    Ok((database.clone(), upkeep, table))
}

fn no_table(name: &str) -> ApiError {
    ApiError::NoRecord { noun: "table with vectors", id: name.to_owned() }
}

fn no_database() -> ApiError {
    ApiError::NoRecord { noun: "PostgreSQL database", id: "of this process".to_owned() }
}

fn failed(error: store::Error) -> ApiError {
    let source = error.into();
    ApiError::Storage(store::storage::StorageError::Failed { operation: "read the tables", source })
}
