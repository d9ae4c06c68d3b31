//! The HTTP services (query storage, evaluation storage and judge) and the gateway in front of them.
//!
//! Entry points: [`Process`] is the state that all services of a process share; [`services`] builds the router of a
//! set of services, [`gateway`] the router of the reverse proxy; [`Listener`] serves a router until shutdown.
//! `routes` lists all routes, `handlers` implements them, and `records` connects them to the stores. The engine of
//! evaluations and runs is [`judge`].
//!
//! This crate reads no environment variables and contains no SQL; the caller configures models and databases.

mod answer;
mod chroma_api;
mod config;
mod connections;
mod console;
mod embedding;
mod export;
mod gateway;
mod handlers;
mod jobs;
mod large_workers;
mod layers;
mod listener;
mod metrics;
mod migration_sources;
mod minimum_rate;
mod openapi;
mod permit;
mod process;
mod readers;
mod records;
mod remote;
mod request;
mod results;
mod route_class;
mod routes;
mod searches;
mod session;
mod supervisor;
mod trace;
mod upstream;
mod wire;

pub use chroma_api::{ChromaApi, Reset};
pub use config::{
    AllowedHosts, ApiKey, Hosts, InvalidHost, InvalidOrigin, Origins, ServerConfig, SettingNames,
    UpkeepConfig,
};
pub use embedding::EmbeddingModel;
pub use gateway::gateway;
pub use listener::{ConnectionLimits, Listener, ListenerError};
pub use metrics::{MaintenanceMetrics, ObservedTable, PoolProbe, PoolState, Probes, ShownSetting};
pub use migration_sources::{InvalidSource, MigrationSources};
pub use process::Process;
pub use remote::RemoteService;
pub use routes::{chroma, services};
pub use searches::{SearchAlert, SearchProbe, SearchReport};
pub use supervisor::{Need, Pulse, Supervisor, TaskState};
pub use upstream::Upstream;
