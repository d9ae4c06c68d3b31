//! A collection as every kind of source lists it.

use std::cmp::Ordering;

use records::{DistanceSpace, Metadata};
use uuid::Uuid;

use crate::warning::Warning;

/// What directories and servers without tenants (< 0.4.15) have: one tenant and one database.
pub const DEFAULT_TENANT: &str = "default_tenant";
/// The one database of that tenant.
pub const DEFAULT_DATABASE: &str = "default_database";

/// One collection. Names are unique neither among tenants nor databases; the id is.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// The collection's id.
    pub id: Uuid,
    /// The tenant that owns its database.
    pub tenant: String,
    /// The database it is in.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The distance space that its index was built for.
    pub space: DistanceSpace,
    /// Components of its vectors; `None` before the first write.
    pub dimension: Option<usize>,
    /// What its creator noted, Chroma's `hnsw:` settings included.
    pub metadata: Metadata,
    /// What is odd about it, known without reading it.
    pub warnings: Vec<Warning>,
}

impl Collection {
    /// The order in which collections are listed: tenant, database, name, id.
    pub fn cmp_names(&self, other: &Self) -> Ordering {
        let own = (&self.tenant, &self.database, &self.name, self.id);
        own.cmp(&(&other.tenant, &other.database, &other.name, other.id))
    }
}
