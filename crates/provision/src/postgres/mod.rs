//! Our own PostgreSQL server: binaries with pgvector, a cluster in the data folder, and its lifecycle from the first user
//! that starts it to the last one that stops it.

mod account;
mod binaries;
mod cluster;
mod environment;
mod running;
mod server;
mod settings;
mod single_user;
mod socket;
mod unserved;

pub use binaries::{Binaries, PACKAGED, Packaged};
pub use cluster::{Access, DATABASE};
pub(crate) use environment::without_libpq;
pub use environment::{LIBPQ_HANDED_ON, LIBPQ_VARIABLES};
pub use server::{ExchangeLock, Role, Server, ServerOptions};
pub use settings::Durability;
pub use unserved::UnservedCluster;
