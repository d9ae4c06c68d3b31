//! Chroma servers: the HTTP client, and collections as a source of records.
//!
//! Entry point: [`ChromaServer::connect`], then [`ChromaServer::read`] for each of its
//! [`collections`](ChromaServer::collections). The records are those of the crate `chroma`, which reads directories.
//!
//! [`ChromaStorage`] stores a service's records on a server. Nothing else here writes to a server.

mod api;
mod client;
mod error;
mod fetch;
mod listing;
mod options;
mod position;
mod reader;
mod record;
mod requests;
mod retry;
mod server;
mod source;
mod space;
mod storage;
mod wire;

pub use api::Api;
pub use error::Error;
pub use options::{ServerOptions, Token, TokenHeader};
pub use reader::Reader;
pub use server::ChromaServer;
pub use source::{Source, SourceError};
pub use storage::ChromaStorage;
