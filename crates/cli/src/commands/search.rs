//! `panopticon search`: the stored texts nearest in meaning to a text.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use embed::Model;
use records::Service;
use serde_json::{Value, json};
use store::{
    Problem,
    postgres::{Database, PostgresStorage, Table},
    storage::{Effort, Hit, Scan, Search, SearchMode, Selection, StorageKind},
};

use crate::{
    arguments::SearchArguments,
    configuration::Configuration,
    connection::{Connection, blocking},
    exit::{ExitCode, Failure},
    output::{excerpt, print, print_json},
    progress::setup_line,
    settings::table::storage_type,
};

/// Characters of a text that fit next to its distance on most terminals.
const EXCERPT_WIDTH: usize = 96;

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: &SearchArguments,
) -> Result<ExitCode, Failure> {
    let category = category(arguments).map_err(Failure::usage)?;
    let explicit = arguments.demo || configuration.names_database();
    let name = storage_type(arguments.service);
    let kind = configuration.get(name).map_err(Failure::usage)?;
    if kind == StorageKind::Chroma && !explicit {
        return Err(Failure::usage(anyhow!(
            "{name} is `chroma`, and search reads PostgreSQL: run `panopticon migrate {}` and set {name}=postgres, or name the database with --database-url",
            arguments.service
        )));
    }
    let connection = if arguments.demo {
        Connection::open_demo(configuration).await?
    } else {
        Connection::open(configuration).await?
    };
    // Before the model, which may have to be downloaded: a search that cannot succeed should fail at once.
    connection.database.check_table(&Table::of(arguments.service)).await?;
    let model = open_model(configuration).await?;
    let question = Question {
        service: arguments.service,
        text: &arguments.text,
        limit: arguments.limit,
        category,
        model_id: arguments.model_id.as_deref(),
        effort: if arguments.exact { Effort::Exact } else { Effort::Fast },
    };
    let (hits, scan) = find(&connection.database, model, question).await?;
    connection.close().await?;
    if arguments.json {
        print_json(&to_json(arguments.service, &hits, scan))?;
    } else {
        print(&to_text(arguments.service, &hits))?;
        say_problems(&hits);
    }
    Ok(ExitCode::Complete)
}

/// A search by text.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) service: Service,
    pub(crate) text: &'a str,
    pub(crate) limit: u32,
    pub(crate) category: Option<&'a str>,
    pub(crate) model_id: Option<&'a str>,
    pub(crate) effort: Effort,
}

/// The model, downloaded unless the user has a copy.
pub(crate) async fn open_model(configuration: &Configuration) -> Result<Model, Failure> {
    let folder = match configuration.model_dir()? {
        Some(folder) => given(folder)?,
        None => {
            let data_dir = configuration.data_dir()?;
            blocking(move || provision::ensure_model(&data_dir, &setup_line)).await?
        }
    };
    load_model(folder).await
}

/// The model, if its files are on this machine.
pub(crate) async fn open_present_model(configuration: &Configuration) -> Result<Option<Model>, Failure> {
    let folder = match configuration.model_dir()? {
        Some(folder) => Some(given(folder)?),
        None => provision::present_model(&configuration.data_dir()?)?,
    };
    match folder {
        Some(folder) => load_model(folder).await.map(Some),
        None => Ok(None),
    }
}

/// The folder of the user's copy, if others cannot have changed its files.
fn given(folder: PathBuf) -> Result<PathBuf, Failure> {
    provision::check_given_model(&folder)?;
    Ok(folder)
}

async fn load_model(folder: PathBuf) -> Result<Model, Failure> {
    let loaded = tokio::task::spawn_blocking(move || Model::load(&folder)).await;
    loaded.context("failed to load the model")?.map_err(Failure::usage)
}

/// Embeds the question and searches the service's table, which must exist. Also returns the scan that answered.
pub(crate) async fn find(
    database: &Database,
    model: Model,
    question: Question<'_>,
) -> Result<(Vec<Hit>, Option<Scan>), Failure> {
    let text = question.text.to_owned();
    let embedded = tokio::task::spawn_blocking(move || model.embed(&[&text])).await;
    let mut embeddings = embedded.context("failed to embed the text")?.context("failed to embed the text")?;
    let search = Search {
        selection: Selection {
            category: question.category.map(str::to_owned),
            model_id: question.model_id.map(str::to_owned),
            ..Selection::default()
        },
        mode: SearchMode::Vector(embeddings.remove(0)),
        limit: question.limit,
        min_similarity: None,
        effort: question.effort,
    };
    Ok(PostgresStorage::new(database.clone(), question.service).search_and_scan(&search).await?)
}

/// The category to filter by. A filter that the service does not have is an error.
fn category(arguments: &SearchArguments) -> anyhow::Result<Option<&str>> {
    let service = arguments.service;
    let refuse = |flag: &str, has: &str| Err(anyhow!("{flag} does not apply to {service}, which has {has}"));
    match service {
        Service::Query if arguments.model_id.is_some() => refuse("--model-id", "--theme"),
        Service::Query | Service::Judge if arguments.metric_type.is_some() => {
            refuse("--metric-type", "--theme")
        }
        Service::Evaluation if arguments.theme.is_some() => refuse("--theme", "--metric-type"),
        Service::Evaluation if arguments.model_id.is_some() => refuse("--model-id", "--metric-type"),
        Service::Query | Service::Judge => Ok(arguments.theme.as_deref()),
        Service::Evaluation => Ok(arguments.metric_type.as_deref()),
    }
}

/// The same as the HTTP services' `data`, and the scan that answered.
fn to_json(service: Service, hits: &[Hit], scan: Option<Scan>) -> Value {
    let text_name = match service {
        Service::Query => "query",
        Service::Evaluation => "prompt",
        Service::Judge => "output",
    };
    hits.iter()
        .map(|Hit { record, distance, .. }| {
            let mut shown = json!({
                "id": record.id, text_name: record.text, "metadata": record.metadata, "distance": distance,
                "scan": scan.map(Scan::as_str),
            });
            if !record.problems.is_empty() {
                shown["problems"] =
                    record.problems.iter().map(|problem| to_json_problem(problem, text_name)).collect();
            }
            shown
        })
        .collect()
}

/// As in answers of the HTTP services.
fn to_json_problem(problem: &Problem, text_name: &str) -> Value {
    let Problem { field, key, kind, original } = problem;
    let field = if field == "text" { text_name } else { field };
    let mut shown = json!({"field": field, "kind": kind.as_str(), "original": original});
    if let Some(key) = key {
        shown["key"] = json!(key);
    }
    shown
}

/// Reports how many hits are not shown exactly as stored.
fn say_problems(hits: &[Hit]) {
    let inexact = hits.iter().filter(|hit| !hit.record.problems.is_empty()).count();
    if inexact > 0 {
        eprintln!("not exactly as stored, see the `problems` of --json: {inexact} of {} records", hits.len());
    }
}

/// One line per hit: distance, category, text.
pub(crate) fn to_text(service: Service, hits: &[Hit]) -> String {
    if hits.is_empty() {
        return "nothing found".to_owned();
    }
    let table = Table::of(service);
    let category_column = table.category_column().expect("each service's table has a category");
    let category = |hit: &Hit| match hit.record.metadata.get(category_column) {
        Some(Value::String(category)) => excerpt(category, 20),
        Some(other) => excerpt(&other.to_string(), 20),
        None => String::new(),
    };
    let width = hits.iter().map(|hit| category(hit).chars().count()).max().unwrap_or_default();
    let lines: Vec<String> = hits
        .iter()
        .map(|hit| {
            let distance =
                hit.distance.map_or_else(|| "   -  ".to_owned(), |distance| format!("{distance:.4}"));
            format!("{distance}  {:width$}  {}", category(hit), excerpt(&hit.record.text, EXCERPT_WIDTH))
        })
        .collect();
    lines.join("\n")
}
