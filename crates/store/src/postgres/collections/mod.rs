//! The registry of the collections that Chroma clients see: tenants, databases and collections. Their records are in
//! tables of their own, which `collection_records` reads and writes.

mod collection;
mod database;
mod deletions;
mod error;
mod migrated;
mod registering;
mod registration;
mod tenant;

pub use collection::{Collection, CollectionChange, Existing, NewCollection};
pub(crate) use collection::{find_for_update, set_table};
pub use database::CollectionDatabase;
pub(crate) use deletions::forget_records;
pub use error::CollectionError;
pub(crate) use error::{MAX_RECORDS_BYTES, failing};
pub(crate) use migrated::{unregister, unregister_empty};
pub use registering::Unregistered;
pub use registration::{ChangedHere, Registered, Registration};

/// The tenant that every server has.
pub const DEFAULT_TENANT: &str = "default_tenant";
/// The database that every server has.
pub const DEFAULT_DATABASE: &str = "default_database";
