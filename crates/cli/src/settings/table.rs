//! The table of settings, with a row for each variable. Parsing, `panopticon config`, `--help` and
//! docs/reference/settings.md are derived from it.

use std::{
    net::IpAddr,
    num::{NonZero, NonZeroU32},
    str::FromStr,
    time::Duration,
};

use judge::provider::ProviderConfig;
use provision::DataDir;
use records::Service;
use server::ServerConfig;
use store::{postgres::DatabaseOptions, storage::StorageKind};
use tracing_subscriber::filter::LevelFilter;
use upkeep::{
    IndexType, Policy,
    maintenance::{Limits, QuietHours},
    monitor::MonitorConfig,
};

use super::variable::{AnyVariable, Kind, Mask, Optional, Row, Variable, variable};

/// Variables of one subject.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    variables: &'static [&'static dyn AnyVariable],
}

impl Section {
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Row> {
        self.variables.iter().map(|variable| variable.row())
    }
}

/// All variables, in the order in which `panopticon config` prints them.
pub(crate) fn variables() -> impl Iterator<Item = &'static dyn AnyVariable> {
    SECTIONS.iter().flat_map(|section| section.variables).copied()
}

/// All rows, in the order in which `panopticon config` prints them.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    SECTIONS.iter().flat_map(Section::rows)
}

/// Defines a static for each row, and lists them.
macro_rules! table {
    ($($title:literal { $($(#[$reason:meta])* $name:ident: $type:ty = $row:expr;)* })*) => {
        $($($(#[$reason])* pub(crate) static $name: $type = $row.named(stringify!($name));)*)*

        /// The whole table, in the order in which `panopticon config` prints it.
        pub(crate) static SECTIONS: &[Section] = &[$(Section { title: $title, variables: &[$(&$name),*] }),*];
    };
}

table! {
    "Storage" {
        DATABASE_URL: Optional<String> =
            variable(TEXT, "PostgreSQL database to use: `postgresql://user:password@host:5432/database`.")
                .flag("--database-url").mask(Mask::DatabaseUrl).otherwise("the embedded PostgreSQL").checked();
        DATABASE_REPLICA_URLS: Optional<String> =
            variable(TEXT, "URLs of the database's standbys, separated by commas, which answer the reads of `serve`.")
                .flag("--database-replica-urls").mask(Mask::DatabaseUrls).checked();
        /// Long enough for a burst of writes, and short enough that clients of other processes see what was written.
        DATABASE_REPLICA_MAX_LAG_SECONDS: Variable<Duration> =
            variable(POSITIVE_SECONDS, "Seconds by which a standby may be behind and still answer reads.").or("10");
        /// With fewer than four, maintenance would wait for a connection that it uses itself.
        PANOPTICON_DATABASE_CONNECTIONS: Variable<u32> =
            variable(CONNECTIONS, "Connections of `serve` and `judge run`, at least 4, one of which is reserved for \
                `/ready`; fewer if the role has a lower connection limit.")
                .or_else(|| (DatabaseOptions::default().max_connections + 1).to_string());
        QUERY_STORAGE_TYPE: Variable<StorageKind> =
            variable(STORAGE, "Where queries are stored: `postgres`, or `chroma`, which only `serve` accepts.")
                .or("postgres").checked();
        EVALUATION_STORAGE_TYPE: Variable<StorageKind> =
            variable(STORAGE, "The same for evaluation metrics.").or("postgres").checked();
        JUDGE_STORAGE_TYPE: Variable<StorageKind> =
            variable(STORAGE, "The same for outputs of models.").or("postgres").checked();
        CHROMA_PERSIST_DIRECTORY: Optional<String> =
            variable(TEXT, "Chroma directory of the queries, or the URL of a Chroma server.")
                .flag("--from").mask(Mask::UrlOrPath).checked();
        EVALUATION_PERSIST_DIRECTORY: Optional<String> =
            variable(TEXT, "The same for evaluation metrics.").flag("--from").mask(Mask::UrlOrPath).checked();
        JUDGE_PERSIST_DIRECTORY: Optional<String> =
            variable(TEXT, "The same for outputs of models.").flag("--from").mask(Mask::UrlOrPath).checked();
        CHROMA_TOKEN: Optional<String> =
            variable(TEXT, "Token for a Chroma server that requires one.").flag("--token").mask(Mask::All).checked();
        PANOPTICON_CHROMA_UPGRADE: Variable<bool> =
            variable(ONE_OR_ZERO, "`1` allows Chroma to rewrite directories of other versions.").or("0");
    }
    "Vector search" {
        VECTOR_INDEX_TYPE: Variable<IndexType> =
            variable(INDEX_TYPE, "Index of tables with vectors: `auto`, `hnsw`, `ivfflat` or `none`.")
                .or_else(|| Policy::default().index_type.as_str().to_owned());
        VECTOR_RECALL_TARGET: Variable<f64> =
            variable(RECALL, "Recall@10 that searches by an index must reach: above 0, up to 1.")
                .or_else(|| Policy::default().recall_target.to_string()).harmless();
        VECTOR_SAMPLE_RATE: Variable<f64> =
            variable(SHARE, "Share of searches whose vectors are sampled to measure recall; `0` samples none.")
                .or("0.01");
        VECTOR_SAMPLE_RETENTION_DAYS: Variable<Duration> =
            variable(DAYS, "Days for which sampled vectors are kept.")
                .or_else(|| days(MonitorConfig::default().sample_retention));
        VECTOR_MONITOR_INTERVAL_SECONDS: Variable<Duration> =
            variable(SECONDS, "Seconds from one monitoring pass to the next; `0` turns monitoring off.")
                .or_else(|| seconds(MonitorConfig::default().interval));
        VECTOR_MONITOR_REPLAYS: Variable<u32> =
            variable(COUNT, "Searches of each table and filter class that are replayed in each pass.")
                .or_else(|| MonitorConfig::default().replays.to_string());
        VECTOR_HISTORY_RETENTION_DAYS: Variable<Duration> =
            variable(DAYS, "Days for which the history of searches is kept.")
                .or_else(|| days(MonitorConfig::default().history_retention));
        VECTOR_ALERT_WEBHOOK_URL: Optional<String> =
            variable(TEXT, "URL that receives alerts.").mask(Mask::All);
    }
    "Maintenance" {
        MAINTENANCE: Variable<bool> =
            variable(ON_OR_OFF, "`on` lets `serve` maintain its tables; or `off`.").or("on");
        /// Rare enough to cost little, frequent enough that a table that was filled within an hour soon has its index.
        MAINTENANCE_INTERVAL_SECONDS: Variable<Duration> =
            variable(POSITIVE_SECONDS, "Seconds from the end of one round to the start of the next.").or("300");
        MAINTENANCE_BUDGET_SECONDS: Variable<Duration> =
            variable(POSITIVE_SECONDS, "Seconds after the start of a round from which on no action starts.")
                .or_else(|| seconds(Limits::default().budget));
        MAINTENANCE_QUIET_HOURS: Optional<QuietHours> =
            variable(HOURS, "Hours (UTC) to which heavy actions are restricted, such as `22:00-06:00`.");
    }
    "Files and logs" {
        PANOPTICON_DATA_DIR: Variable<String> =
            variable(TEXT, "Folder of the embedded server, its programs and the model.")
                .or_found("the platform's data folder; /var/lib/panopticon for root", data_dir)
                .flag("--data-dir");
        PANOPTICON_MODEL_DIR: Optional<String> =
            variable(TEXT, "Folder with your own copy of all-MiniLM-L6-v2 (model.safetensors, tokenizer.json, vocab.txt).")
                .otherwise("downloaded into the data folder").flag("--model-dir");
        LOG_LEVEL: Variable<LevelFilter> =
            variable(LEVEL, "`ERROR`, `WARNING`, `INFO`, `DEBUG` or `TRACE`; `INFO` logs one line for each request.")
                .or("WARNING").harmless().generic();
        LOG_FORMAT: Variable<Format> = variable(FORMAT, "`text` or `json`.").or("text").harmless().generic();
    }
    "serve" {
        API_KEY: Optional<String> =
            variable(TEXT, "Key that clients must send as `X-API-Key`; Chroma clients also as `X-Chroma-Token` or `Authorization: Bearer`.").mask(Mask::All);
        PANOPTICON_BIND: Variable<IpAddr> =
            variable(ADDRESS, "Address to listen on.").or("127.0.0.1").flag("--bind");
        PANOPTICON_ALLOW_OPEN: Variable<bool> =
            variable(ONE_OR_ZERO, "`1` allows a non-loopback address without `API_KEY`.")
                .or("0").flag("--allow-open");
        ALLOW_RESET: Variable<bool> =
            variable(TRUE_OR_FALSE, "`TRUE` lets Chroma clients delete all collections at once, as Chroma names it.")
                .or("FALSE");
        GATEWAY_PORT: Variable<u16> =
            variable(PORT, "Port of the gateway and of `serve chroma`; `0` chooses a free port.").or("8000").flag("--port");
        QUERY_PORT: Variable<u16> = variable(PORT, "Port of the query storage.").or("8001").flag("--port");
        EVALUATION_PORT: Variable<u16> =
            variable(PORT, "Port of the evaluation storage.").or("8002").flag("--port");
        JUDGE_PORT: Variable<u16> = variable(PORT, "Port of the judge service.").or("8003").flag("--port");
        QUERY_STORAGE_URL: Optional<String> =
            variable(TEXT, "URL of a query storage that runs separately. `serve gateway` requires it; `serve judge` reads \
                queries from it if it is set, else from its own storage.")
                .mask(Mask::UrlOrPath);
        EVALUATION_STORAGE_URL: Optional<String> =
            variable(TEXT, "The same for an evaluation storage and its metrics.").mask(Mask::UrlOrPath);
        JUDGE_SERVICE_URL: Optional<String> =
            variable(TEXT, "URL of a judge service that runs separately. `serve gateway` requires it.")
                .mask(Mask::UrlOrPath);
        PANOPTICON_CHROMA_API_URL: Optional<String> =
            variable(TEXT, "URL of a `serve chroma` that runs separately, to which `serve gateway` forwards `/api/v2` if it \
                is set.")
                .mask(Mask::UrlOrPath);
        PANOPTICON_MAX_BODY_BYTES: Variable<usize> =
            variable(POSITIVE, "Bytes of a request's body; for Chroma clients 41943040 unless it is set.")
                .or_else(|| ServerConfig::default().max_body_bytes.to_string());
        PANOPTICON_REQUEST_TIMEOUT_SECONDS: Variable<Duration> =
            variable(POSITIVE_SECONDS, "Seconds that a request may take. Its body must arrive within half of them, else the \
                answer is 408.")
                .or_else(|| seconds(ServerConfig::default().request_timeout));
        PANOPTICON_EVALUATION_TIMEOUT_SECONDS: Variable<Duration> =
            variable(POSITIVE_SECONDS, "Seconds that an evaluation request may take.")
                .or_else(|| seconds(ServerConfig::default().evaluation_timeout));
        PANOPTICON_MAX_REQUESTS: Variable<usize> =
            variable(POSITIVE, "Concurrent requests; further requests receive 503.")
                .or_else(|| ServerConfig::default().max_requests.to_string());
        PANOPTICON_MAX_STREAMS: Variable<usize> =
            variable(POSITIVE, "Concurrent event streams, which do not count as requests. Keep it below \
                `PANOPTICON_MAX_CONNECTIONS`, which includes them.")
                .or_else(|| ServerConfig::default().max_streams.to_string());
        /// Below Kubernetes' 30 s. Shorter aborts requests; longer than the supervisor waits has no effect.
        PANOPTICON_SHUTDOWN_SECONDS: Variable<Duration> =
            variable(GRACE, "Seconds that requests and model calls in progress may take to finish after SIGTERM.")
                .or("25");
        PANOPTICON_CORS_ORIGINS: Optional<String> =
            variable(TEXT, "Origins whose pages may call the services, such as `https://a.example,https://b.example`.")
                .mask(Mask::UrlList);
        PANOPTICON_ALLOWED_HOSTS: Optional<String> =
            variable(TEXT, "Values of the `Host` header that are accepted without a key in addition to `localhost`, \
                `127.0.0.1` and `[::1]`, such as `evals.example.org`.");
        PANOPTICON_MIGRATION_SOURCES: Optional<String> =
            variable(TEXT, "Folders with Chroma directories, and URLs of Chroma servers, from which the console may start \
                migrations, separated by commas, such as `/var/lib/chroma,http://chroma:8000`. None without it.")
                .otherwise("the console starts no migrations").checked();
        /// With four addresses, as many as the file descriptors that Linux gives a process by default.
        PANOPTICON_MAX_CONNECTIONS: Variable<usize> =
            variable(POSITIVE, "Client connections at each address; beyond that, idle ones are closed.").or("256");
    }
    "Models" {
        OPENAI_API_KEY: Optional<String> =
            variable(TEXT, "Key for OpenAI, whose models are refused without one.").mask(Mask::All);
        OPENAI_BASE_URL: Variable<String> =
            variable(TEXT, "URL of OpenAI's API, or of another server with this API, which needs no key.")
                .or_else(|| ProviderConfig::openai(None).base_url).mask(Mask::UrlOrPath);
        ANTHROPIC_API_KEY: Optional<String> =
            variable(TEXT, "Key for Anthropic, whose models are refused without one.").mask(Mask::All);
        ANTHROPIC_BASE_URL: Variable<String> =
            variable(TEXT, "URL of Anthropic's API, or of another server with this API, which needs no key.")
                .or_else(|| ProviderConfig::anthropic(None).base_url).mask(Mask::UrlOrPath);
        GOOGLE_API_KEY: Optional<String> =
            variable(TEXT, "Key for Google, whose models are refused without one.").mask(Mask::All);
        GOOGLE_BASE_URL: Variable<String> =
            variable(TEXT, "URL of Google's API, or of another server with this API, which needs no key.")
                .or_else(|| ProviderConfig::google(None).base_url).mask(Mask::UrlOrPath);
        MODEL_DEFAULT_TEMPERATURE: Variable<f64> =
            variable(TEMPERATURE, "Temperature with which models answer, from 0 to 2.").or("0.7").harmless();
        /// As many as hosted providers accept from small customers. A model that rate-limits gets fewer.
        MODEL_MAX_CONCURRENCY: Variable<NonZeroU32> =
            variable(CALLS, "Concurrent calls to one model; fewer while its provider rate-limits.").or("32");
    }
    "Traces" {
        OTEL_EXPORTER_OTLP_ENDPOINT: Optional<String> =
            variable(TEXT, "URL that receives the traces of `serve`, such as `http://localhost:4318`.")
                .mask(Mask::UrlOrPath);
    }
}

/// The variable that chooses the storage of `service`.
pub(crate) fn storage_type(service: Service) -> &'static Variable<StorageKind> {
    match service {
        Service::Query => &QUERY_STORAGE_TYPE,
        Service::Evaluation => &EVALUATION_STORAGE_TYPE,
        Service::Judge => &JUDGE_STORAGE_TYPE,
    }
}

/// The variable that names the Chroma directory of `service`.
pub(crate) fn persist_directory(service: Service) -> &'static Optional<String> {
    match service {
        Service::Query => &CHROMA_PERSIST_DIRECTORY,
        Service::Evaluation => &EVALUATION_PERSIST_DIRECTORY,
        Service::Judge => &JUDGE_PERSIST_DIRECTORY,
    }
}

/// The variable with the URL of `service`, if it runs separately.
pub(crate) fn service_url(service: Service) -> &'static Optional<String> {
    match service {
        Service::Query => &QUERY_STORAGE_URL,
        Service::Evaluation => &EVALUATION_STORAGE_URL,
        Service::Judge => &JUDGE_SERVICE_URL,
    }
}

/// The variables that say where records are.
pub(crate) fn places_of_records() -> impl Iterator<Item = &'static str> {
    let of_services = Service::ALL.into_iter().flat_map(|service| {
        [storage_type(service).name(), persist_directory(service).name(), service_url(service).name()]
    });
    of_services.chain([DATABASE_URL.name()])
}

const TEXT: Kind<String> = Kind::new("text", |text| Some(text.to_owned()));
const STORAGE: Kind<StorageKind> = Kind::new("`postgres` or `chroma`", |text| match text {
    "postgres" => Some(StorageKind::Postgres),
    "chroma" => Some(StorageKind::Chroma),
    _ => None,
});
const ON_OR_OFF: Kind<bool> = Kind::new("`on` or `off`", |text| one_of(text, "on", "off"));
const ONE_OR_ZERO: Kind<bool> = Kind::new("1 or 0", |text| one_of(text, "1", "0"));
const TRUE_OR_FALSE: Kind<bool> = Kind::new("`TRUE` or `FALSE`", |text| {
    one_of(&text.to_ascii_uppercase(), "TRUE", "FALSE").or_else(|| one_of(text, "1", "0"))
});
const INDEX_TYPE: Kind<IndexType> = Kind::new("`auto`, `ivfflat`, `hnsw` or `none`", parsed);
const RECALL: Kind<f64> = Kind::new("a number above 0 and up to 1, such as 0.98", |text| {
    parsed(text).filter(|target| *target > 0.0 && *target <= 1.0)
});
const SHARE: Kind<f64> = Kind::new("a number from 0 to 1, such as 0.01", |text| within(text, 1.0));
const TEMPERATURE: Kind<f64> = Kind::new("a number from 0 to 2", |text| within(text, 2.0));
const COUNT: Kind<u32> = Kind::new("a whole number", parsed);
const POSITIVE: Kind<usize> = Kind::new("a whole number from 1", |text| parsed(text).map(NonZero::get));
const CALLS: Kind<NonZeroU32> = Kind::new("a whole number above 0", parsed);
const CONNECTIONS: Kind<u32> =
    Kind::new("a whole number from 4", |text| parsed(text).filter(|number| *number >= 4));
const SECONDS: Kind<Duration> = Kind::new("a whole number", |text| parsed(text).map(Duration::from_secs));
const GRACE: Kind<Duration> = Kind::new("a whole number of seconds", SECONDS.parse);
const POSITIVE_SECONDS: Kind<Duration> =
    Kind::new("a whole number from 1", |text| (SECONDS.parse)(text).filter(|time| !time.is_zero()));
const DAYS: Kind<Duration> =
    Kind::new("a whole number of days, such as 7", |text| parsed::<u32>(text).map(|days| DAY * days));
const HOURS: Kind<QuietHours> = Kind::new("hours in UTC such as 22:00-06:00", parsed);
const ADDRESS: Kind<IpAddr> = Kind::new("an IP address", parsed);
const PORT: Kind<u16> = Kind::new("a port, 0 to 65535", parsed);
const LEVEL: Kind<LevelFilter> = Kind::new("ERROR, WARNING, INFO, DEBUG or TRACE", level);
const FORMAT: Kind<Format> = Kind::new("text or json", format);

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn within(text: &str, most: f64) -> Option<f64> {
    parsed(text).filter(|number| (0.0..=most).contains(number))
}

fn one_of(text: &str, yes: &str, no: &str) -> Option<bool> {
    if text == yes { Some(true) } else { (text == no).then_some(false) }
}

fn seconds(duration: Duration) -> String {
    duration.as_secs().to_string()
}

fn days(duration: Duration) -> String {
    (duration.as_secs() / DAY.as_secs()).to_string()
}

fn data_dir() -> Result<String, provision::Error> {
    Ok(DataDir::platform_default()?.path().to_string_lossy().into_owned())
}

/// The format that `LOG_FORMAT` names.
fn format(name: &str) -> Option<Format> {
    match name {
        "text" => Some(Format::Text),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// The level that `LOG_LEVEL` names; Python's names, which the old services used, are accepted too.
fn level(name: &str) -> Option<LevelFilter> {
    match name.to_ascii_uppercase().as_str() {
        "CRITICAL" | "ERROR" => Some(LevelFilter::ERROR),
        "WARNING" | "WARN" => Some(LevelFilter::WARN),
        "INFO" => Some(LevelFilter::INFO),
        "DEBUG" => Some(LevelFilter::DEBUG),
        "TRACE" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_documented() {
        for variable in variables() {
            let row = variable.row();
            let default = row.default().expect("this machine has a home folder");
            assert!(default.is_none_or(|text| variable.accepts(&text)), "{}", row.name);
            assert!(row.doc.ends_with('.') && !row.doc.contains('|'), "{}: {}", row.name, row.doc);
        }
    }
}
