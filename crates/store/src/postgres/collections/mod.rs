//! The registry of the collections that Chroma clients see: tenants, databases and collections. Their records are in
//! tables of their own, which `collection_records` reads and writes.

use std::fmt;

mod changes;
mod collection;
mod database;
mod deletions;
mod error;
mod migrated;
mod registering;
mod registration;
mod replacements;
mod tenant;

pub use collection::{Collection, CollectionChange, Existing, NewCollection};
pub(crate) use collection::{find_for_update, set_table};
pub use database::CollectionDatabase;
pub(crate) use deletions::{forget_records, is_deleted};
pub use error::CollectionError;
pub(crate) use error::{MAX_RECORDS_BYTES, failing};
pub(crate) use migrated::{unregister, unregister_empty};
pub use registering::{Compared, Unregistered};
pub use registration::{ChangedHere, Registered, Registration};
pub use replacements::{DescriptionKept, RestoredDescriptions};

/// A collection as clients name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionName {
    /// Its tenant.
    pub tenant: String,
    /// The name of its database.
    pub database: String,
    /// Its name in the database.
    pub name: String,
}

impl fmt::Display for CollectionName {
    /// The name, after tenant and database unless they are the defaults.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, database, name } = self;
        if (tenant.as_str(), database.as_str()) != (DEFAULT_TENANT, DEFAULT_DATABASE) {
            write!(f, "{tenant}/{database}/")?;
        }
        f.write_str(name)
    }
}

/// The tenant that every server has.
pub const DEFAULT_TENANT: &str = "default_tenant";
/// The database that every server has.
pub const DEFAULT_DATABASE: &str = "default_database";
