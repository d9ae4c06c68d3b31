//! Listing of a server's databases and collections.

use std::time::Duration;

use chroma::{Collection, Configured, DEFAULT_DATABASE, EmptyDatabase};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    api::{Api, Scope},
    error::Error,
    record::collection_metadata,
    server::ChromaServer,
    space,
    wire::CollectionEntry,
};

/// Databases or collections per request; Chroma Cloud's maximum for collections.
const LISTING_PAGE: usize = 100;

/// How often a listing of several pages is repeated until two consecutive ones agree.
const LISTING_ATTEMPTS: u32 = 5;

/// Maximum databases and collections of a listing: far more than servers have.
const LISTED: usize = 200_000;
/// Maximum total bytes of the responses of a listing.
const LISTED_BYTES: usize = 256 << 20;
/// Time limit of a listing. Each response has its own limit.
const LISTING_TIME: Duration = Duration::from_secs(600);

/// The remaining limits of a listing.
struct ListingLimits {
    left: usize,
    left_bytes: usize,
    until: Instant,
}

impl ListingLimits {
    fn new() -> Self {
        Self { left: LISTED, left_bytes: LISTED_BYTES, until: Instant::now() + LISTING_TIME }
    }

    /// Counts a page with this many entries and bytes.
    fn take(&mut self, entries: usize, bytes: usize) -> Result<(), String> {
        let left = (self.left.checked_sub(entries), self.left_bytes.checked_sub(bytes));
        let (Some(left), Some(left_bytes)) = left else {
            return Err(match left.0 {
                None => format!("{LISTED} databases and collections"),
                Some(_) => format!("{LISTED_BYTES} bytes of databases and collections"),
            });
        };
        (self.left, self.left_bytes) = (left, left_bytes);
        if Instant::now() > self.until {
            return Err(format!("it can in {} s", LISTING_TIME.as_secs()));
        }
        Ok(())
    }
}

impl ChromaServer {
    /// All collections, ordered by tenant, database, name and id: of the configured database, or of all databases of
    /// the tenant that the server lists. No server lists tenants, so collections of tenants other than
    /// [`tenant`](Self::tenant) are never included. Servers before 0.6 do not list databases either: only
    /// `default_database` is read, with a [warning](Self::warnings).
    ///
    /// # Errors
    /// When a request fails; [`Error::Endless`] when the listing exceeds its limits; [`Error::Unstable`] when
    /// collections keep changing while they are listed.
    pub async fn collections(&self) -> Result<Vec<Collection>, Error> {
        Ok(self.collections_and_databases().await?.0)
    }

    /// [All collections](Self::collections), and the databases without any.
    ///
    /// # Errors
    /// As there.
    pub async fn collections_and_databases(&self) -> Result<(Vec<Collection>, Vec<EmptyDatabase>), Error> {
        let databases = match &self.database {
            Some(database) => vec![database.clone()],
            None => match self.databases().await? {
                Some(databases) => databases,
                None => vec![DEFAULT_DATABASE.to_owned()],
            },
        };
        let mut limits = ListingLimits::new();
        let mut collections = Vec::new();
        for database in &databases {
            let scope = Scope { tenant: self.tenant.clone(), database: database.clone() };
            for entry in self.entries(&scope, &mut limits).await? {
                collections.push(self.collection(&scope, entry)?);
            }
        }
        collections.sort_by(Collection::cmp_names);
        let tenant = self.tenant.as_str();
        let databases = databases.iter().map(|database| (tenant, database.as_str()));
        let empty_databases = EmptyDatabase::of([tenant], databases, &collections);
        Ok((collections, empty_databases))
    }

    /// The databases of the tenant, or those of the token if it may not list; `None` if the server cannot list
    /// databases.
    pub(crate) async fn databases(&self) -> Result<Option<Vec<String>>, Error> {
        if self.api() == Api::V1 {
            return Ok(None);
        }
        let mut names = Vec::new();
        let mut limits = ListingLimits::new();
        loop {
            match self.connection.databases(&self.tenant, names.len(), LISTING_PAGE).await {
                // A server that ignores the offset returns the first page endlessly.
                Ok((page, _)) if page.first().is_none_or(|first| names.contains(&first.name)) => {
                    return Ok(Some(names));
                }
                Ok((page, bytes)) => {
                    limits.take(page.len(), bytes).map_err(|limit| Error::Endless {
                        operation: format!("list the databases of tenant `{}`", self.tenant),
                        address: self.address().to_owned(),
                        limit,
                    })?;
                    names.extend(page.into_iter().map(|database| database.name));
                }
                Err(Error::Status { status: 404 | 405, .. }) => return Ok(None),
                Err(Error::Refused { status: 403, .. }) => {
                    let own = self.connection.identity().await?.databases;
                    let own: Vec<String> = own.into_iter().filter(|name| name != "*").collect();
                    return Ok(Some(own).filter(|own| !own.is_empty()));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The entries of one database. If they exceed one page, they are listed until two listings agree.
    async fn entries(
        &self,
        scope: &Scope,
        limits: &mut ListingLimits,
    ) -> Result<Vec<CollectionEntry>, Error> {
        let mut entries = self.entries_once(scope, limits).await?;
        for _ in 0..LISTING_ATTEMPTS {
            if entries.len() < LISTING_PAGE {
                return Ok(entries);
            }
            let again = self.entries_once(scope, limits).await?;
            if again.iter().map(|entry| &entry.id).eq(entries.iter().map(|entry| &entry.id)) {
                return Ok(again);
            }
            entries = again;
        }
        let operation = format!("list the collections of database `{}`", scope.database);
        Err(Error::Unstable { operation, address: self.address().to_owned(), attempts: LISTING_ATTEMPTS })
    }

    async fn entries_once(
        &self,
        scope: &Scope,
        limits: &mut ListingLimits,
    ) -> Result<Vec<CollectionEntry>, Error> {
        let mut entries: Vec<CollectionEntry> = Vec::new();
        loop {
            let (page, bytes) = self.connection.collections(scope, entries.len(), LISTING_PAGE).await?;
            limits.take(page.len(), bytes).map_err(|limit| Error::Endless {
                operation: format!("list the collections of database `{}`", scope.database),
                address: self.address().to_owned(),
                limit,
            })?;
            let before = entries.len();
            entries.extend(page);
            // Before 0.4.15 limit and offset are ignored: each page is the first.
            let repeats = entries[before..]
                .first()
                .is_some_and(|first| entries[..before].iter().any(|entry| entry.id == first.id));
            if repeats {
                entries.truncate(before);
            }
            if entries.len() == before {
                return Ok(entries);
            }
        }
    }

    fn collection(&self, scope: &Scope, entry: CollectionEntry) -> Result<Collection, Error> {
        let Some(id) = entry.uuid() else {
            return Err(Error::NotChroma {
                address: self.address().to_owned(),
                found: format!("a collection with the id `{}`, which is not a UUID", entry.id),
            });
        };
        let mut warnings = Vec::new();
        let metadata = entry.metadata.map(collection_metadata).unwrap_or_default();
        let declarations = space::Declarations {
            schema: entry.schema.as_ref(),
            configuration: entry.configuration_json.as_ref(),
            metadata: Some(&metadata),
        };
        let space = space::resolve(declarations, &mut warnings);
        let Scope { tenant, database } = scope.clone();
        Ok(Collection {
            id,
            tenant,
            database,
            name: entry.name,
            space,
            dimension: entry.dimension,
            metadata,
            configured: Some(configured(entry.configuration_json, entry.schema)),
            warnings,
        })
    }
}

/// The JSON texts that Chroma would store: a server since 1.0 lists the configuration in another form.
fn configured(configuration: Option<Value>, schema: Option<Value>) -> Configured {
    let stored = |mut configuration: Value| {
        let index = ["hnsw", "spann"].into_iter().find(|name| configuration[*name].is_object());
        let Some(index) = index else { return configuration.to_string() };
        let (settings, function) = (configuration[index].take(), configuration["embedding_function"].take());
        json!({"vector_index": {index: settings}, "embedding_function": function}).to_string()
    };
    let is_there = |value: &Value| !value.is_null();
    Configured {
        configuration: configuration.filter(is_there).map(stored),
        schema: schema.filter(is_there).map(|schema| schema.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_is_limited_in_entries_bytes_and_time() {
        let mut limits = ListingLimits::new();
        limits.take(LISTED, LISTED_BYTES).expect("it is within the limits");
        limits.take(0, 0).expect("an empty page is within the limits");
        let limit = limits.take(1, 0).expect_err("one entry too many");
        assert_eq!(limit, format!("{LISTED} databases and collections"));
        let limit = limits.take(0, 1).expect_err("one byte too many");
        assert_eq!(limit, format!("{LISTED_BYTES} bytes of databases and collections"));
        let mut late = ListingLimits { until: Instant::now(), ..ListingLimits::new() };
        late.until -= Duration::from_millis(1);
        assert_eq!(late.take(1, 1).expect_err("the time has expired"), "it can in 600 s");
    }
}
