//! Shared test tools: real PostgreSQL databases and servers, real Chroma servers, and Chroma directories.
//!
//! Only a development dependency. Entry points: [`TestDatabase`], or [`PostgresServer`] if a test needs its own server, or
//! [`PostgresCluster`] if it needs a primary with standbys, or [`CitusDatabase`] if its tables are distributed, with
//! [`PgBouncer`] or [`CuttingProxy`], which also records statements, in front of it or a [`SmallTablespace`] in it; [`ChromaServer`], [`fixture`], [`sample`], [`three_services`], [`ChromaWriter`];
//! [`model_dir`]; [`HttpStub`] for scripted answers; [`Llmock`], a model provider with scripted failures; [`SmallModel`], a
//! provider with a real model; [`Chromium`], a browser; [`shared_lines`] for real texts and judgements; [`Shape`] for golden
//! files of names.

mod chroma_directory;
mod chroma_server;
pub mod chroma_writer;
mod chromium;
mod citus;
mod cutting_proxy;
mod database;
mod dripping;
mod http;
mod llmock;
pub mod odd_rows;
mod pg_bouncer;
mod postgres_cluster;
mod postgres_server;
mod process;
mod python;
mod recording;
mod run_mode;
mod shape;
mod shared_data;
mod small_model;
mod small_tablespace;
mod three_services;

pub use chroma_directory::{fixture, folder_digest, sample};
pub use chroma_server::{ChromaServer, chroma_program};
pub use chroma_writer::{ChromaCollection, ChromaForm, ChromaRecord, ChromaWriter, generated_records};
pub use chromium::{Chromium, PageScripts, Tab, axe_core};
pub use citus::CitusDatabase;
pub use cutting_proxy::{CuttingProxy, ProxyCounters};
pub use database::{Template, TestDatabase};
pub use dripping::DrippingServer;
pub use http::{HttpAnswer, HttpRequest, HttpStub};
pub use llmock::Llmock;
pub use pg_bouncer::PgBouncer;
pub use postgres_cluster::{PostgresCluster, Replication};
pub use postgres_server::{PostgresServer, PostgresVariant};
pub use process::write_script;
pub use python::python_packages;
pub use run_mode::{count, not_permitted, skip};
pub use shape::Shape;
pub use shared_data::shared_lines;
pub use small_model::SmallModel;
pub use small_tablespace::SmallTablespace;
pub use three_services::{ResultRow, ServiceDirectory, ServiceRecord, ThreeServices, three_services};

use std::path::PathBuf;

use provision::DataDir;

/// The folder of binaries and model: the product's data folder, so that both are downloaded once.
pub fn data_dir() -> DataDir {
    match std::env::var_os("PANOPTICON_DATA_DIR") {
        Some(path) => DataDir::new(path),
        None => {
            DataDir::platform_default().expect("the user has a home folder or PANOPTICON_DATA_DIR is set")
        }
    }
}

/// The embedding model's folder, downloaded at the first call on a machine.
pub fn model_dir() -> PathBuf {
    match std::env::var_os("PANOPTICON_MODEL_DIR") {
        Some(path) => path.into(),
        None => {
            provision::ensure_model(&data_dir(), &|line| println!("{line}")).expect("the model downloads")
        }
    }
}
