//! The routes of Chroma's API v2.

use std::sync::Arc;

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::{Router, routing::any};

use super::{ChromaApi, Served, collections, databases, records, server};
use crate::{openapi::summary, process::Process};

/// Open to everyone: they say nothing but that the server is there, and clients ask before they send a key.
pub(crate) const OPEN: [&str; 4] = ["/api/v2", "/api/v2/heartbeat", "/api/v2/healthcheck", "/api/v2/version"];

/// The routes.
pub(crate) fn router(api: &ChromaApi, process: &Arc<Process>) -> ApiRouter {
    let served = Served { api: api.clone(), process: process.clone() };
    of_server().merge(of_databases()).merge(of_collections()).merge(of_records()).with_state(served)
}

fn of_server() -> ApiRouter<Served> {
    ApiRouter::new()
        .api_route("/api/v2", get_with(server::heartbeat, summary("Returns the time of the server")))
        .api_route(
            "/api/v2/heartbeat",
            get_with(server::heartbeat, summary("Returns the time of the server")),
        )
        .api_route(
            "/api/v2/healthcheck",
            get_with(server::healthcheck, summary("Reports whether requests can be served")),
        )
        .api_route("/api/v2/version", get_with(server::version, summary("Returns the version of the API")))
        .api_route(
            "/api/v2/pre-flight-checks",
            get_with(server::pre_flight_checks, summary("Returns the limits of requests")),
        )
        .api_route(
            "/api/v2/auth/identity",
            get_with(server::identity, summary("Returns who sends the request")),
        )
        .api_route(
            "/api/v2/reset",
            post_with(server::reset, summary("Deletes everything, if that is allowed")),
        )
}

const DATABASES: &str = "/api/v2/tenants/{tenant}/databases";

/// The path `rest` of a database.
fn database(rest: &str) -> String {
    format!("{DATABASES}/{{database}}{rest}")
}

/// The path `rest` of a collection.
fn collection(rest: &str) -> String {
    database(&format!("/collections/{{collection}}{rest}"))
}

fn of_databases() -> ApiRouter<Served> {
    ApiRouter::new()
        .api_route("/api/v2/tenants", post_with(databases::create_tenant, summary("Creates a tenant")))
        .api_route(
            "/api/v2/tenants/{tenant}",
            get_with(databases::get_tenant, summary("Returns a tenant"))
                .patch_with(databases::update_tenant, summary("Sets the resource name of a tenant")),
        )
        .api_route(
            DATABASES,
            get_with(databases::list_databases, summary("Lists the databases of a tenant"))
                .post_with(databases::create_database, summary("Creates a database")),
        )
        .api_route(
            &database(""),
            get_with(databases::get_database, summary("Returns a database"))
                .delete_with(databases::delete_database, summary("Deletes a database with its collections")),
        )
}

fn of_collections() -> ApiRouter<Served> {
    ApiRouter::new()
        .api_route(
            "/api/v2/collections/{crn}",
            get_with(
                collections::get_by_resource_name,
                summary("Returns the collection `resource name of the tenant:database:name`"),
            ),
        )
        .api_route(
            &database("/collections"),
            get_with(collections::list, summary("Lists collections"))
                .post_with(collections::create, summary("Creates a collection, or returns that of the name")),
        )
        .api_route(
            &database("/collections_count"),
            get_with(collections::count, summary("Counts collections")),
        )
        .api_route(
            &database("/collections/by-id/{collection}"),
            get_with(collections::get_by_id, summary("Returns the collection with an id")),
        )
        .api_route(
            &collection(""),
            get_with(collections::get, summary("Returns the collection with a name"))
                .put_with(collections::update, summary("Changes the collection with an id"))
                .delete_with(collections::delete, summary("Deletes the collection with a name")),
        )
        .api_route(&collection("/fork"), post_with(collections::fork, summary("Not implemented")))
        .api_route(&collection("/fork_count"), get_with(collections::count_forks, summary("Not implemented")))
        .api_route(
            &collection("/indexing_status"),
            get_with(collections::indexing_status, summary("Not implemented")),
        )
        .api_route(
            &collection("/functions/attach"),
            post_with(collections::functions, summary("Not implemented")),
        )
        .api_route(
            &collection("/functions/{function}"),
            get_with(collections::functions, summary("Not implemented")),
        )
        .api_route(
            &collection("/attached_functions/{name}/detach"),
            post_with(collections::functions, summary("Not implemented")),
        )
}

fn of_records() -> ApiRouter<Served> {
    ApiRouter::new()
        .api_route(
            &collection("/add"),
            post_with(records::add, summary("Adds records, and skips those that exist")),
        )
        .api_route(
            &collection("/update"),
            post_with(records::update, summary("Changes records, and skips those that do not exist")),
        )
        .api_route(&collection("/upsert"), post_with(records::upsert, summary("Adds or changes records")))
        .api_route(
            &collection("/get"),
            post_with(records::get, summary("Returns records in the order of insertion")),
        )
        .api_route(
            &collection("/query"),
            post_with(records::query, summary("Finds the records nearest to vectors")),
        )
        .api_route(&collection("/delete"), post_with(records::delete, summary("Deletes records")))
        .api_route(&collection("/count"), get_with(records::count, summary("Counts records")))
        .api_route(&collection("/search"), post_with(records::search, summary("Not implemented")))
}

/// The routes of the API v1, which Chroma has dropped.
pub(crate) fn first_version() -> Router {
    Router::new().route("/api/v1/{*rest}", any(server::first_version))
}
