//! Routes about the server.

use axum::{extract::State, http::StatusCode};
use serde_json::{Value, json};
use store::postgres::collections::{DEFAULT_DATABASE, DEFAULT_TENANT};
use time::OffsetDateTime;

use super::{
    Reset, Served,
    error::{Answered, Refusal},
    json::Json,
};

/// The version of the API, as Chroma 1.5 tells it.
const VERSION: &str = "1.0.0";
/// Records of a batch that clients send at once.
const MAX_BATCH_SIZE: u32 = 5_461;

pub(super) async fn heartbeat() -> Json<Value> {
    Json(json!({"nanosecond heartbeat": OffsetDateTime::now_utc().unix_timestamp_nanos() as u64}))
}

pub(super) async fn healthcheck(State(served): State<Served>) -> (StatusCode, Json<Value>) {
    let is_ready = served.api.collections.database().check_session().is_ok() && !served.process.is_stopping();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"is_executor_ready": is_ready, "is_log_client_ready": is_ready})))
}

pub(super) async fn version() -> Json<&'static str> {
    Json(VERSION)
}

pub(super) async fn pre_flight_checks() -> Json<Value> {
    Json(json!({"max_batch_size": MAX_BATCH_SIZE, "supports_base64_encoding": true}))
}

pub(super) async fn identity() -> Json<Value> {
    Json(json!({"user_id": "", "tenant": DEFAULT_TENANT, "databases": [DEFAULT_DATABASE]}))
}

pub(super) async fn reset(State(served): State<Served>) -> Answered<Json<bool>> {
    if served.api.reset == Reset::Refused {
        let message = "Reset is disabled by config".to_owned();
        return Err(Refusal::Chroma(StatusCode::FORBIDDEN, message));
    }
    served.api.collections.database().reset_collections().await?;
    Ok(Json(true))
}

pub(super) async fn first_version() -> Refusal {
    Refusal::Chroma(StatusCode::GONE, "The v1 API is deprecated. Please use /v2 apis".to_owned())
}
