//! What a server lists: databases and collections.

use chroma::{Collection, DEFAULT_DATABASE};

use super::{
    api::{Api, Scope},
    error::Error,
    record::collection_metadata,
    server::ChromaServer,
    space,
    wire::CollectionEntry,
};

/// Databases and collections to ask for at once; Chroma Cloud allows no more collections.
const LISTING_PAGE: usize = 100;

/// How often a listing of several pages is tried until two in a row agree.
const LISTING_ATTEMPTS: u32 = 5;

impl ChromaServer {
    /// All collections, ordered by tenant, database, name and id: of the database that was named, else of all
    /// databases of the tenant that the server lists. No server lists tenants, so those of others than
    /// [`tenant`](Self::tenant) are never among them. Servers before 0.6 do not list databases either: of them it is
    /// `default_database` alone, which [`warnings`](Self::warnings) say.
    ///
    /// # Errors
    /// What the server fails with; [`Error::Unstable`] when collections keep coming or going while they are listed.
    pub async fn collections(&self) -> Result<Vec<Collection>, Error> {
        let databases = match &self.database {
            Some(database) => vec![database.clone()],
            None => match self.databases().await? {
                Some(databases) => databases,
                None => vec![DEFAULT_DATABASE.to_owned()],
            },
        };
        let mut collections = Vec::new();
        for database in databases {
            let scope = Scope { tenant: self.tenant.clone(), database };
            for entry in self.entries(&scope).await? {
                collections.push(self.collection(&scope, entry)?);
            }
        }
        collections.sort_by(Collection::cmp_names);
        Ok(collections)
    }

    /// The databases of the tenant, or those of the token where it may not list; `None` if the server cannot list.
    pub(crate) async fn databases(&self) -> Result<Option<Vec<String>>, Error> {
        if self.api() == Api::V1 {
            return Ok(None);
        }
        let mut names = Vec::new();
        loop {
            match self.connection.databases(&self.tenant, names.len(), LISTING_PAGE).await {
                // One that ignores the offset gives the first page for ever.
                Ok(page) if page.first().is_none_or(|first| names.contains(&first.name)) => {
                    return Ok(Some(names));
                }
                Ok(page) => names.extend(page.into_iter().map(|database| database.name)),
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

    /// The entries of one database: listed until two listings agree, where one page does not hold them.
    async fn entries(&self, scope: &Scope) -> Result<Vec<CollectionEntry>, Error> {
        let mut entries = self.entries_once(scope).await?;
        for _ in 0..LISTING_ATTEMPTS {
            if entries.len() < LISTING_PAGE {
                return Ok(entries);
            }
            let again = self.entries_once(scope).await?;
            if again.iter().map(|entry| &entry.id).eq(entries.iter().map(|entry| &entry.id)) {
                return Ok(again);
            }
            entries = again;
        }
        let operation = format!("list the collections of database `{}`", scope.database);
        Err(Error::Unstable { operation, address: self.address().to_owned(), attempts: LISTING_ATTEMPTS })
    }

    async fn entries_once(&self, scope: &Scope) -> Result<Vec<CollectionEntry>, Error> {
        let mut entries: Vec<CollectionEntry> = Vec::new();
        loop {
            let page = self.connection.collections(scope, entries.len(), LISTING_PAGE).await?;
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
                found: format!("a collection with the id `{}`, which is no UUID", entry.id),
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
            warnings,
        })
    }
}
