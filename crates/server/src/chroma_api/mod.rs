//! Chroma's HTTP API v2, served from PostgreSQL: a program that talks to a Chroma server talks to this one instead.
//!
//! `routes` lists the routes; `server`, `databases`, `collections` and `records` implement them; `conditions` reads
//! `where` and `where_document`, `configuration` what collections are configured with, `payload` the bodies of
//! requests. Everything that is stored is in `store::postgres`.

mod collections;
mod conditions;
mod configuration;
mod databases;
mod error;
mod extract;
mod json;
mod metadata;
mod payload;
mod records;
mod routes;
mod server;
mod service_records;

use std::sync::Arc;

use serde_json::Value;
use store::{postgres::collection_records::Collections, storage::RecordFilter};

use self::error::Refusal;
pub(crate) use self::routes::{OPEN, first_version, router};
use crate::{answer::ApiError, process::Process};

/// Whether clients may delete everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// `POST /api/v2/reset` is rejected.
    Refused,
    /// It deletes all collections with their tables.
    Allowed,
}

/// Chroma's API for the collections of a database.
#[derive(Clone, Debug)]
pub struct ChromaApi {
    collections: Collections,
    reset: Reset,
}

impl ChromaApi {
    /// The API for `collections`.
    pub fn new(collections: Collections, reset: Reset) -> Self {
        Self { collections, reset }
    }

    /// The collections that are served.
    pub(crate) fn collections(&self) -> &Collections {
        &self.collections
    }
}

/// The condition of `where` and `where_document`; `None` without both.
///
/// # Errors
/// When it is not one that Chroma takes.
pub(crate) fn condition(
    metadata: Option<&Value>,
    document: Option<&Value>,
) -> Result<Option<RecordFilter>, ApiError> {
    conditions::read(metadata, document).map_err(|refusal| match refusal {
        Refusal::Chroma(_, reason) => ApiError::invalid("where", reason),
        Refusal::Other(error) => error,
    })
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Served {
    api: ChromaApi,
    process: Arc<Process>,
}
