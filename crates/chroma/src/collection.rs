//! Collections, as all kinds of sources list them.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
};

use records::{DistanceSpace, Metadata};
use uuid::Uuid;

use crate::warning::Warning;

/// The only tenant of directories and servers without tenants (< 0.4.15).
pub const DEFAULT_TENANT: &str = "default_tenant";
/// The only database of that tenant.
pub const DEFAULT_DATABASE: &str = "default_database";

/// One collection. Names are not unique across tenants and databases; the id is.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// The collection's id.
    pub id: Uuid,
    /// The tenant of its database.
    pub tenant: String,
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The distance space for which its index was built.
    pub space: DistanceSpace,
    /// Dimension of its vectors; `None` before the first write.
    pub dimension: Option<usize>,
    /// Its metadata, including Chroma's `hnsw:` settings.
    pub metadata: Metadata,
    /// What its index and its embedding function are configured with; `None` in Chroma 0.3, where only metadata say it.
    pub configured: Option<Configured>,
    /// Problems that are known without reading it.
    pub warnings: Vec<Warning>,
}

/// A database without collections, or a tenant without databases. The default ones, which every server has, are none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EmptyDatabase {
    /// The tenant.
    pub tenant: String,
    /// The database; `None` if the tenant has none.
    pub database: Option<String>,
}

impl EmptyDatabase {
    /// Those of `databases`, pairs of a tenant and its database, that none of `collections` is in, and those of
    /// `tenants` that have no database, in order.
    pub fn of<'a>(
        tenants: impl IntoIterator<Item = &'a str>,
        databases: impl IntoIterator<Item = (&'a str, &'a str)>,
        collections: impl IntoIterator<Item = &'a Collection>,
    ) -> Vec<Self> {
        let used: HashSet<(&str, &str)> =
            collections.into_iter().map(|one| (one.tenant.as_str(), one.database.as_str())).collect();
        let mut with_databases: HashSet<&str> = used.iter().map(|(tenant, _)| *tenant).collect();
        with_databases.insert(DEFAULT_TENANT);
        let mut empty = BTreeSet::new();
        for (tenant, database) in databases {
            with_databases.insert(tenant);
            if !used.contains(&(tenant, database)) && (tenant, database) != (DEFAULT_TENANT, DEFAULT_DATABASE)
            {
                empty.insert(Self { tenant: tenant.to_owned(), database: Some(database.to_owned()) });
            }
        }
        let alone = tenants.into_iter().filter(|tenant| !with_databases.contains(tenant));
        empty.extend(alone.map(|tenant| Self { tenant: tenant.to_owned(), database: None }));
        empty.into_iter().collect()
    }
}

/// JSON texts with which Chroma describes a collection; each `None` if it has not written one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// Since 0.5.4, `{"hnsw_configuration": …}`, which has no effect; since 1.0, `{"vector_index": …,
    /// "embedding_function": …}`.
    pub configuration: Option<String>,
    /// Since 1.3; the configuration is empty then.
    pub schema: Option<String>,
}

impl Collection {
    /// The order in which collections are listed: tenant, database, name, id.
    pub fn cmp_names(&self, other: &Self) -> Ordering {
        let own = (&self.tenant, &self.database, &self.name, self.id);
        own.cmp(&(&other.tenant, &other.database, &other.name, other.id))
    }
}
