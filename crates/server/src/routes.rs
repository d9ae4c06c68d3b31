//! All routes.

use std::sync::Arc;

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::Router;
use judge::{engine::Judging, runs::Runs};
use records::Service;
use store::{postgres::collection_records::Collections, storage::Storage};

use crate::{
    answer::{Enveloped, Form, Unwrapped},
    chroma_api::{self, ChromaApi},
    console::{self, CollectionPages, Console, Labelling, Quality, RunPages},
    embedding::EmbeddingModel,
    handlers::{
        contract::{get, list_category, search, search_by_parameters, store},
        evaluations::{evaluate_query, evaluate_theme, list_models, register_model},
        extended::{categories, count, delete, export, fetch, list, search_batch, store_batch, update},
        labels,
        operation::{Operated, Probe, document, health, metrics, ready},
        results as result_handlers,
        runs::{self, ServedRuns},
        summaries,
    },
    layers,
    openapi::{self, Description, Key, summary},
    process::Process,
    records::Records,
    results::Results,
    route_class::RouteClass,
    wire::{EvaluationMetrics, Outputs, Queries, Resource},
};

const HEALTH: &str = "/health";
const READY: &str = "/ready";
const METRICS: &str = "/metrics";
const DESCRIPTION: &str = "/openapi.json";
const PAGE: &str = "/docs";
/// The prefix of Chroma's API.
pub(crate) const CHROMA: &str = "/api/v2";
const LABELS: &str = "/api/v1/labels";
const EVALUATE_QUERY: [&str; 2] = ["/evaluate/query", "/api/v1/evaluate/query"];
const EVALUATE_THEME: [&str; 2] = ["/evaluate/theme", "/api/v1/evaluate/theme"];

/// The class of the route at `path`.
pub(crate) fn class_of(path: &str) -> RouteClass {
    match path {
        HEALTH => RouteClass::Health,
        READY => RouteClass::Ready,
        METRICS => RouteClass::Metrics,
        DESCRIPTION => RouteClass::Description,
        PAGE => RouteClass::Page,
        _ if console::is_open(path) => RouteClass::OpenConsole,
        _ if console::is_page(path) => RouteClass::Console,
        _ if EVALUATE_QUERY.contains(&path) || EVALUATE_THEME.contains(&path) => RouteClass::Evaluation,
        _ => RouteClass::Records,
    }
}

/// The class of the route at `path` of an address that also serves Chroma's API.
pub(crate) fn class_of_all(path: &str) -> RouteClass {
    match path.strip_prefix(CHROMA) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => class_of_chroma(path),
        _ => class_of(path),
    }
}

/// The class of the route at `path` of an address that only serves Chroma's API.
fn class_of_chroma(path: &str) -> RouteClass {
    match class_of(path) {
        _ if chroma_api::OPEN.contains(&path) => RouteClass::OpenChroma,
        RouteClass::Records | RouteClass::Evaluation | RouteClass::Console | RouteClass::OpenConsole => {
            RouteClass::Chroma
        }
        class => class,
    }
}

/// Chroma's API at an address of its own.
pub fn chroma(api: &ChromaApi, process: &Arc<Process>) -> Router {
    let mut description = Description::of_chroma(key(process), class_of_chroma);
    let probes = vec![Probe::Collections(api.collections().clone())];
    let operated = description.add(operation()).with_state(Operated::new(probes, process));
    let router =
        description.add(chroma_api::router(api, process)).merge(operated).layer(description.finish());
    let router = router.merge(chroma_api::first_version());
    layers::around(router, layers::Bodies::Read, class_of_chroma, process)
}

/// The services of `storages` at one address, and Chroma's API, if given. Without `runs`, the judge serves its storage and
/// runs no evaluations.
pub fn services(
    storages: &[Arc<dyn Storage>],
    runs: Option<&Runs>,
    model: &EmbeddingModel,
    chroma: Option<&ChromaApi>,
    process: &Arc<Process>,
) -> Router {
    let probes = storages.iter().cloned().map(Probe::Storage).chain([Probe::Model]).collect();
    let services: Vec<Service> = storages.iter().map(|storage| storage.service()).collect();
    let source = console::Source::Own { storages: storages.to_vec(), runs: runs.cloned().map(Box::new) };
    let console = Console::new(source, process);
    let mut router = described(&services, probes, process);
    let mut pages = console.router();
    for storage in storages {
        let (storage, model, process) = (storage.clone(), model.clone(), process.clone());
        match storage.service() {
            Service::Query => {
                let records = Records::new(storage, model, process);
                pages = pages.merge(console::records_router::<Queries>().with_state(records.clone()));
                router = router.merge(Router::from(queries()).with_state(records));
            }
            Service::Evaluation => {
                let records = Records::new(storage, model, process);
                pages =
                    pages.merge(console::records_router::<EvaluationMetrics>().with_state(records.clone()));
                router = router.merge(Router::from(evaluation_metrics()).with_state(records));
            }
            Service::Judge => {
                let records = Records::new(storage, model, process.clone());
                pages = pages.merge(console::records_router::<Outputs>().with_state(records.clone()));
                router = router.merge(Router::from(outputs()).with_state(records));
                match runs {
                    Some(runs) => {
                        pages = pages.merge(judge_pages(runs, &process));
                        router = router.merge(judge(runs, process));
                    }
                    None => pages = pages.merge(console::without_runs()),
                }
            }
        }
    }
    let quality = Quality { process: process.clone(), model: model.clone() };
    pages = pages.merge(console::quality_router().with_state(quality));
    pages = pages.merge(console::migrations_router().with_state(process.clone()));
    // Those of Chroma's API, if it is served here, know collections already.
    let served = chroma.map(|api| api.collections().clone());
    let own = || process.database.clone().map(Collections::new);
    let collections = CollectionPages { process: process.clone(), collections: served.or_else(own) };
    pages = pages.merge(console::collections_router().with_state(collections));
    let router = router.merge(console.known_to(pages));
    let router = match chroma {
        Some(api) => {
            let router = router.merge(Router::from(chroma_api::router(api, process)));
            layers::around(router, layers::Bodies::Read, class_of_all, process)
        }
        None => layers::around(router, layers::Bodies::Read, class_of, process),
    };
    console.around(router)
}

fn key(process: &Process) -> Key {
    if process.config.api_key.is_some() { Key::Needed } else { Key::None }
}

/// The routes of every address, with a document that also describes those of `services`.
pub(crate) fn described(services: &[Service], probes: Vec<Probe>, process: &Arc<Process>) -> Router {
    let mut description = Description::begin(key(process), class_of);
    let router = description.add(operation()).with_state(Operated::new(probes, process));
    for service in services {
        match service {
            Service::Query => drop(description.add(queries())),
            Service::Evaluation => drop(description.add(evaluation_metrics())),
            Service::Judge => {
                drop(description.add(outputs()));
                drop(description.add(judged()));
                drop(description.add(evaluations()));
                drop(description.add(run_routes()));
            }
        }
    }
    router.layer(description.finish())
}

/// The path prefixes of a service.
pub(crate) fn prefixes(service: Service) -> Vec<String> {
    match service {
        Service::Query => both::<Queries>(),
        Service::Evaluation => both::<EvaluationMetrics>(),
        Service::Judge => {
            let both = ["results", "evaluate", "models", "runs"];
            let both = both.into_iter().flat_map(|path| [format!("/{path}"), format!("/api/v1/{path}")]);
            both.chain([format!("/api/v1/{}", Outputs::PATH), LABELS.to_owned()]).collect()
        }
    }
}

fn both<R: Resource>() -> Vec<String> {
    vec![format!("/{}", R::PATH), format!("/api/v1/{}", R::PATH)]
}

fn queries() -> ApiRouter<Records<Queries>> {
    let legacy = contract::<Queries, Unwrapped>("").api_route(
        "/queries/search",
        post_with(search::<Queries, Unwrapped>, summary("Finds the best-matching queries")),
    );
    let current = contract::<Queries, Enveloped>("/api/v1").merge(extended::<Queries>()).api_route(
        "/api/v1/queries/search",
        post_with(search::<Queries, Enveloped>, summary("Finds the best-matching queries")),
    );
    legacy.merge(current)
}

fn evaluation_metrics() -> ApiRouter<Records<EvaluationMetrics>> {
    let search_summary =
        "Finds the best-matching evaluation metrics; the search may be given in the query string";
    let legacy = contract::<EvaluationMetrics, Unwrapped>("").api_route(
        "/evaluation-metrics/search",
        post_with(search_by_parameters::<EvaluationMetrics, Unwrapped>, summary(search_summary)),
    );
    let current =
        contract::<EvaluationMetrics, Enveloped>("/api/v1").merge(extended::<EvaluationMetrics>()).api_route(
            "/api/v1/evaluation-metrics/search",
            post_with(search_by_parameters::<EvaluationMetrics, Enveloped>, summary(search_summary)),
        );
    legacy.merge(current)
}

fn outputs() -> ApiRouter<Records<Outputs>> {
    contract::<Outputs, Enveloped>("/api/v1").merge(extended::<Outputs>()).api_route(
        "/api/v1/outputs/search",
        post_with(search::<Outputs, Enveloped>, summary("Finds the best-matching outputs")),
    )
}

fn judged() -> ApiRouter<Results> {
    let summary_of_list = "Lists evaluation results, newest first";
    ApiRouter::new()
        .api_route("/results", get_with(result_handlers::list_bare, summary(summary_of_list)))
        .api_route("/api/v1/results", get_with(result_handlers::list, summary(summary_of_list)))
        .api_route(
            "/api/v1/results/export",
            get_with(result_handlers::export, summary("Exports evaluation results to a file, newest first")),
        )
        .api_route(
            "/api/v1/results/summary",
            get_with(
                summaries::summarize,
                summary("Summarizes evaluation results by metric, theme and model"),
            ),
        )
        .api_route(
            "/api/v1/results/agreement",
            post_with(summaries::agree, summary("Compares the judges' verdicts with human labels")),
        )
        .api_route(
            LABELS,
            get_with(labels::list, summary("Lists people's labels, newest first"))
                .post_with(labels::store, summary("Stores up to 1,000 labels")),
        )
        .api_route(
            &format!("{LABELS}/export"),
            get_with(labels::export, summary("Exports people's labels to a file, newest first")),
        )
        .api_route(
            &format!("{LABELS}/{{id}}"),
            aide::axum::routing::delete_with(
                labels::withdraw,
                summary("Withdraws a label; the annotator's earlier one of the same outputs counts again"),
            ),
        )
        .api_route(
            "/api/v1/runs/{id}/compare/{other}",
            get_with(
                summaries::compare_runs,
                summary(
                    "Compares two runs on the queries that they have in \
                common",
                ),
            ),
        )
}

fn evaluations() -> ApiRouter<Judging> {
    let of_query = "Has a model answer a query and a judge score the answer";
    let of_theme = "Has a model answer the queries of a theme and a judge score the answers";
    let of_models = "Lists the registered models";
    ApiRouter::new()
        .api_route(EVALUATE_QUERY[0], post_with(evaluate_query::<Unwrapped>, summary(of_query)))
        .api_route(EVALUATE_THEME[0], post_with(evaluate_theme::<Unwrapped>, summary(of_theme)))
        .api_route("/models", get_with(list_models::<Unwrapped>, summary(of_models)))
        .api_route(EVALUATE_QUERY[1], post_with(evaluate_query::<Enveloped>, summary(of_query)))
        .api_route(EVALUATE_THEME[1], post_with(evaluate_theme::<Enveloped>, summary(of_theme)))
        .api_route(
            "/api/v1/models",
            get_with(list_models::<Enveloped>, summary(of_models))
                .post_with(register_model, summary("Registers a model or changes one")),
        )
}

fn run_routes() -> ApiRouter<ServedRuns> {
    ApiRouter::new()
        .api_route(
            "/api/v1/runs",
            get_with(runs::list, summary("Lists runs, newest first"))
                .post_with(runs::create, summary("Starts a run in the background")),
        )
        .api_route(
            "/api/v1/runs/{id}",
            get_with(runs::get, summary("Shows a run and its progress"))
                .delete_with(runs::delete, summary("Deletes a run and its results, but not its outputs")),
        )
        .api_route(
            "/api/v1/runs/{id}/events",
            get_with(runs::events, summary("Streams the progress of a run")),
        )
        .api_route(
            "/api/v1/runs/{id}/cancel",
            post_with(runs::cancel, summary("Cancels a run; calls in progress are completed and stored")),
        )
        .api_route("/api/v1/runs/{id}/resume", post_with(runs::resume, summary("Resumes a run")))
}

/// The judge's routes other than those of its storage.
fn judge(runs: &Runs, process: Arc<Process>) -> Router {
    let (runs, judging) = (runs.clone(), runs.judging());
    Router::from(judged())
        .with_state(Results::new(judging.database().clone(), Arc::clone(&process)))
        .merge(Router::from(evaluations()).with_state(judging.clone()))
        .merge(Router::from(run_routes()).with_state(ServedRuns { runs, process }))
}

/// The judge's pages other than those of its storage.
fn judge_pages(runs: &Runs, process: &Arc<Process>) -> Router {
    let results = Results::new(runs.judging().database().clone(), process.clone());
    let pages = RunPages { runs: runs.clone(), results: results.clone() };
    let labelling = Labelling { results: results.clone(), judging: runs.judging().clone() };
    console::runs_router()
        .with_state(pages)
        .merge(console::label_router().with_state(labelling))
        .merge(console::compare_router().merge(console::judges_router()).with_state(results))
}

/// The contract's routes that all resources share, below `prefix`. Searches differ.
fn contract<R: Resource, F: Form>(prefix: &str) -> ApiRouter<Records<R>> {
    let path = |rest: &str| format!("{prefix}/{}{rest}", R::PATH);
    // `extended` adds further methods to these paths; the routers are merged.
    ApiRouter::new()
        .api_route(&path(""), post_with(store::<R, F>, summary("Stores a record")))
        .api_route(&path("/{id}"), get_with(get::<R, F>, summary("Shows a record")))
        .api_route(
            &path(&format!("/{}", R::BY_CATEGORY)),
            get_with(list_category::<R, F>, summary("Lists the records of a category, newest first")),
        )
}

/// The routes of every resource beyond the contract.
fn extended<R: Resource>() -> ApiRouter<Records<R>> {
    let path = |rest: &str| format!("/api/v1/{}{rest}", R::PATH);
    ApiRouter::new()
        .api_route(&path(""), get_with(list::<R>, summary("Lists records, newest first")))
        .api_route(
            &path("/{id}"),
            aide::axum::routing::patch_with(update::<R>, summary("Changes a record"))
                .delete_with(delete::<R>, summary("Deletes a record")),
        )
        .api_route(&path("/batch"), post_with(store_batch::<R>, summary("Stores up to 1,000 records")))
        .api_route(
            &path("/search/batch"),
            post_with(search_batch::<R>, summary("Carries out up to 100 searches")),
        )
        .api_route(&path("/fetch"), post_with(fetch::<R>, summary("Returns the records with these ids")))
        .api_route(&path("/count"), get_with(count::<R>, summary("Counts records")))
        .api_route(
            &path(&format!("/{}", R::CATEGORIES)),
            get_with(categories::<R>, summary("Lists the categories, each with its count")),
        )
        .api_route(
            &path("/export"),
            get_with(export::<R>, summary("Exports records as JSON lines, newest first")),
        )
}

fn operation() -> ApiRouter<Operated> {
    ApiRouter::new()
        .api_route(HEALTH, get_with(health, summary("Reports whether the process is alive")))
        .api_route(READY, get_with(ready, summary("Reports whether requests can be served")))
        .api_route(METRICS, get_with(metrics, summary("Returns the metrics for Prometheus")))
        .api_route(DESCRIPTION, get_with(document, summary("Returns this OpenAPI document")))
        .api_route(
            PAGE,
            get_with(openapi::page(DESCRIPTION), summary("Renders this OpenAPI document as a page")),
        )
}
