//! The console: pages for people, next to the API and from the same functions.
//!
//! To add a page:
//! 1. Make a module here with a struct that is `Serialize` and holds everything that the page shows; `?format=json`
//!    returns it.
//! 2. Implement [`Page`] for it: its title, its [`Section`], and its body, by maud's `html!`. Use `text` for what comes
//!    from records, `layout` for empty states, and `plot` for plots.
//! 3. Write a handler that takes a [`View`], a [`Filters`] of the query string or a [`Form`], calls the functions that the
//!    API's handler calls, and ends with `Ok(view.show(page))`. Errors are [`ApiError`](crate::answer::ApiError)s.
//! 4. Add its route in `routes` below, and its section, if it is a new one, in `section`: the gateway forwards all paths
//!    below `Section::path` to the section's service.
//! 5. Add it to the tests in `tests/console`: its HTML as a golden file, and its numbers against those of the API.

mod assets;
mod collections;
mod compare;
mod diff;
mod filters;
mod first_steps;
mod form;
mod home;
mod jobs;
mod judges;
mod label;
mod layout;
mod map;
mod measured;
mod migrations;
mod page;
mod plot;
mod projection;
mod quality;
mod records;
mod runs;
mod section;
mod settings;
mod sign_in;
mod text;
mod verdict;
mod view;

use std::sync::Arc;

use ::records::Service;
use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::{get, post},
};
use judge::runs::Runs;
use store::storage::Storage;

use crate::{
    answer::Failed,
    process::Process,
    upstream::{GatewayTarget, Upstream},
};

pub(crate) use self::{
    collections::{CollectionPages, router as collections_router},
    compare::router as compare_router,
    judges::router as judges_router,
    label::{Labelling, router as label_router},
    migrations::router as migrations_router,
    quality::{Quality, router as quality_router},
    records::router as records_router,
    runs::{RunPages, router as runs_router, without_runs},
    section::{Section, prefixes},
    view::SERVICES_HEADER,
};
use self::{
    filters::{Format, Given},
    form::Form,
    view::View,
};

const SIGN_IN: &str = "/console/sign-in";
const SIGN_OUT: &str = "/console/sign-out";
const ASSETS: &str = "/console/assets/";

/// Whether a page needs no key.
pub(crate) fn is_open(path: &str) -> bool {
    path == SIGN_IN || path.starts_with(ASSETS)
}

/// Whether the console serves the path.
pub(crate) fn is_page(path: &str) -> bool {
    path == "/" || path == "/console" || path.starts_with("/console/")
}

/// Where the console of a process gets its data.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The process's own storages.
    Own {
        /// The storages, one a service.
        storages: Vec<Arc<dyn Storage>>,
        /// The runs, if the process has the judge.
        runs: Option<Box<Runs>>,
    },
    /// Services behind the gateway.
    Upstreams(Vec<GatewayTarget>),
}

/// The console of an address.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    process: Arc<Process>,
    services: Arc<[Service]>,
    source: Arc<Source>,
}

impl Console {
    /// The console of the services of `source`.
    pub(crate) fn new(source: Source, process: &Arc<Process>) -> Self {
        let services = match &source {
            Source::Own { storages, .. } => storages.iter().map(|storage| storage.service()).collect(),
            Source::Upstreams(targets) => targets
                .iter()
                .map(|GatewayTarget { upstream: Upstream { service, .. }, .. }| *service)
                .collect(),
        };
        Self { process: process.clone(), services, source: Arc::new(source) }
    }

    /// The pages of every address.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/", get(home::show))
            .route("/console", get(home::moved))
            .route(&Section::Settings.path(), get(settings::show))
            .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
            .route(SIGN_OUT, post(sign_in::sign_out))
            .route(&format!("{ASSETS}{{name}}"), get(assets::asset))
            .with_state(self.clone())
    }

    /// Adds the console to what all pages of `router` can use.
    pub(crate) fn known_to(&self, router: Router) -> Router {
        router.layer(Extension(self.clone()))
    }

    /// Makes pages of errors: the outermost layer.
    pub(crate) fn around(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, with_error_page))
    }
}

async fn with_error_page(State(console): State<Console>, request: Request, next: Next) -> Response {
    if !is_page(request.uri().path()) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    // An error about the query string is shown as a page.
    let html = Given { format: Format::Html, parameters: Vec::new() };
    let view = View::new(&console, &parts, Given::of(&parts.uri).unwrap_or(html));
    let method = parts.method.clone();
    let mut response = next.run(Request::from_parts(parts, body)).await;
    match response.extensions_mut().remove::<Failed>() {
        Some(Failed(error)) => view.error(&error, &method, response),
        None => response,
    }
}
