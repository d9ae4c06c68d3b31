//! The HTTP services: query storage, evaluation storage and judge, and the gateway before them.
//!
//! Entry points: [`Process`] is what everything that a process serves has in common; [`services`] makes the router of some of
//! them, [`gateway`] one that passes requests on; [`Listener`] serves a router until it is told to stop. `routes` is
//! the list of all routes, `handlers` what they do, `records` what they do it with. The engine of evaluations and runs is [`judge`].
//!
//! No environment is read here and no SQL spoken; where models and databases are is the caller's affair.

mod answer;
mod apart;
mod config;
mod connections;
mod embedding;
mod export;
mod gateway;
mod handlers;
mod layers;
mod listener;
mod metrics;
mod openapi;
mod permit;
mod process;
mod query_key;
mod records;
mod remote;
mod request;
mod results;
mod route_class;
mod routes;
mod searches;
mod supervisor;
mod trace;
mod upstream;
mod wire;

pub use config::{AllowedHosts, ApiKey, Hosts, InvalidHost, InvalidOrigin, Origins, ServerConfig};
pub use embedding::EmbeddingModel;
pub use gateway::gateway;
pub use listener::{ConnectionLimits, Listener, ListenerError};
pub use metrics::{MaintenanceMetrics, PoolProbe, PoolState, Probes, TableSeen};
pub use process::Process;
pub use remote::RemoteService;
pub use routes::services;
pub use searches::{SearchAlert, SearchProbe, SearchReport};
pub use supervisor::{Need, Pulse, Supervisor, TaskState};
pub use upstream::Upstream;
