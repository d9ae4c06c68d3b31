//! Our own PostgreSQL server: binaries with pgvector, a cluster in the data folder, and its life from the first
//! user's start to the last user's stop.

mod account;
mod binaries;
mod cluster;
mod running;
mod server;
mod settings;
mod unserved;

pub use binaries::Binaries;
pub use server::{Server, ServerOptions};
pub use settings::Durability;
pub use unserved::UnservedCluster;
