//! The routes of Chroma's API v2.

use std::sync::Arc;

use axum::{
    Router,
    routing::{any, get, patch, post},
};

use super::{ChromaApi, Served, collections, databases, records, server};
use crate::process::Process;

/// Open to everyone: they say nothing but that the server is there, and clients ask before they send a key.
pub(crate) const OPEN: [&str; 4] = ["/api/v2", "/api/v2/heartbeat", "/api/v2/healthcheck", "/api/v2/version"];

/// The routes.
pub(crate) fn router(api: &ChromaApi, process: &Arc<Process>) -> Router {
    let databases = "/api/v2/tenants/{tenant}/databases";
    let database = |rest: &str| format!("{databases}/{{database}}{rest}");
    let collection = |rest: &str| database(&format!("/collections/{{collection}}{rest}"));
    Router::new()
        .route("/api/v2", get(server::heartbeat))
        .route("/api/v2/heartbeat", get(server::heartbeat))
        .route("/api/v2/healthcheck", get(server::healthcheck))
        .route("/api/v2/version", get(server::version))
        .route("/api/v2/pre-flight-checks", get(server::pre_flight_checks))
        .route("/api/v2/auth/identity", get(server::identity))
        .route("/api/v2/reset", post(server::reset))
        .route("/api/v2/tenants", post(databases::create_tenant))
        .route("/api/v2/tenants/{tenant}", get(databases::get_tenant).merge(patch(databases::update_tenant)))
        .route(databases, get(databases::list_databases).post(databases::create_database))
        .route(&database(""), get(databases::get_database).delete(databases::delete_database))
        .route(&database("/collections"), get(collections::list).post(collections::create))
        .route(&database("/collections_count"), get(collections::count))
        .route(&database("/collections/by-id/{collection}"), get(collections::get_by_id))
        .route(&collection(""), get(collections::get).put(collections::update).delete(collections::delete))
        .route(&collection("/add"), post(records::add))
        .route(&collection("/update"), post(records::update))
        .route(&collection("/upsert"), post(records::upsert))
        .route(&collection("/get"), post(records::get))
        .route(&collection("/query"), post(records::query))
        .route(&collection("/delete"), post(records::delete))
        .route(&collection("/count"), get(records::count))
        .route(&collection("/search"), post(records::search))
        .route(&collection("/fork"), post(collections::fork))
        .route(&collection("/fork_count"), get(collections::count_forks))
        .route(&collection("/indexing_status"), get(collections::indexing_status))
        .route(&collection("/functions/attach"), post(collections::functions))
        .route(&collection("/functions/{function}"), get(collections::functions))
        .route(&collection("/attached_functions/{name}/detach"), post(collections::functions))
        .with_state(Served { api: api.clone(), process: process.clone() })
}

/// The routes of the API v1, which Chroma has dropped.
pub(crate) fn first_version() -> Router {
    Router::new().route("/api/v1/{*rest}", any(server::first_version))
}
