//! What holds where a setting of `serve` is not set, for `panopticon config`.

use server::ServerConfig;
use store::postgres::DatabaseOptions;
use upkeep::monitor::MonitorConfig;

use super::{
    LIMITS,
    judging::{DEFAULT_CALLS_AT_ONCE, DEFAULT_TEMPERATURE, PROVIDERS},
    monitor::{DAY_SECONDS, SAMPLE_RATE},
    settings::{DEFAULT_BIND, GRACE, Role},
};

/// The default of the setting `name`; `None` for those that have none.
pub(crate) fn default_of(name: &str) -> Option<String> {
    let server = ServerConfig::default();
    let monitor = MonitorConfig::default();
    if let Some((_, default)) = Role::PORTS.into_iter().find(|(port, _)| *port == name) {
        return Some(default.to_string());
    }
    if let Some((provider, ..)) = PROVIDERS.into_iter().find(|(_, _, base_url)| *base_url == name) {
        return Some(provider(None).base_url);
    }
    let text = match name {
        "PANOPTICON_BIND" => DEFAULT_BIND.to_string(),
        "PANOPTICON_ALLOW_OPEN" | "PANOPTICON_CHROMA_UPGRADE" => "0".to_owned(),
        // One is for checks alone.
        "PANOPTICON_DATABASE_CONNECTIONS" => (DatabaseOptions::default().max_connections + 1).to_string(),
        "PANOPTICON_MAX_BODY_BYTES" => server.max_body_bytes.to_string(),
        "PANOPTICON_REQUEST_TIMEOUT_SECONDS" => server.request_timeout.as_secs().to_string(),
        "PANOPTICON_EVALUATION_TIMEOUT_SECONDS" => server.evaluation_timeout.as_secs().to_string(),
        "PANOPTICON_MAX_REQUESTS" => server.max_requests.to_string(),
        "PANOPTICON_MAX_STREAMS" => server.max_streams.to_string(),
        "PANOPTICON_MAX_CONNECTIONS" => LIMITS.connections.to_string(),
        "PANOPTICON_SHUTDOWN_SECONDS" => GRACE.as_secs().to_string(),
        "MODEL_DEFAULT_TEMPERATURE" => DEFAULT_TEMPERATURE.to_string(),
        "MODEL_MAX_CONCURRENCY" => DEFAULT_CALLS_AT_ONCE.to_string(),
        "VECTOR_SAMPLE_RATE" => SAMPLE_RATE.to_string(),
        "VECTOR_SAMPLE_RETENTION_DAYS" => (monitor.sample_retention.as_secs() / DAY_SECONDS).to_string(),
        "VECTOR_MONITOR_INTERVAL_SECONDS" => monitor.interval.as_secs().to_string(),
        "VECTOR_MONITOR_REPLAYS" => monitor.replays.to_string(),
        "VECTOR_HISTORY_RETENTION_DAYS" => (monitor.history_retention.as_secs() / DAY_SECONDS).to_string(),
        _ => return None,
    };
    Some(text)
}
