//! A Chroma server: connecting, collections, and reading records.

use std::ops::ControlFlow;

use chroma::{Collection, DEFAULT_DATABASE, DEFAULT_TENANT, ReadReport, Record, Warning, WarningCode};

use super::{
    api::{self, Api, Connection, Scope, Selection},
    client::Client,
    error::Error,
    fetch::LIMIT_BYTES,
    options::ServerOptions,
    reader::Reader,
    wire::Column,
};

/// A connected Chroma server.
#[derive(Clone, Debug)]
pub struct ChromaServer {
    pub(crate) connection: Connection,
    version: String,
    page_records: u32,
    pub(crate) tenant: String,
    /// `None` for all databases of the tenant.
    pub(crate) database: Option<String>,
    warnings: Vec<Warning>,
}

impl ChromaServer {
    /// Connects to the server, detects its API version, and checks that the tenant and the database exist, since
    /// Chroma itself treats unknown ones as empty. Does not wait for an unavailable server.
    ///
    /// # Errors
    /// When the URL or token is invalid, the server is unavailable, is not a Chroma server or rejects the token, or
    /// the tenant or database does not exist.
    pub async fn connect(options: &ServerOptions) -> Result<Self, Error> {
        let client = Client::new(options)?;
        let api = find_api(&client).await?;
        let connection = Connection { client, api };
        let version = connection.version().await?;
        let tenant = match &options.tenant {
            Some(tenant) => tenant.clone(),
            None => connection
                .identity()
                .await?
                .tenant
                .filter(|tenant| !matches!(tenant.as_str(), "" | "*"))
                .unwrap_or_else(|| DEFAULT_TENANT.to_owned()),
        };
        let mut server = Self {
            connection,
            version,
            page_records: options.page_records,
            tenant,
            database: options.database.clone(),
            warnings: Vec::new(),
        };
        if options.tenant.is_none() && version_number(&server.version) >= FIRST_WITH_TENANTS {
            let message = format!(
                "Chroma servers do not list tenants: only `{}` is read; name others individually",
                server.tenant
            );
            server.warnings.push(Warning::new(WarningCode::ListingLimited, message));
        }
        server.check_scope().await?;
        Ok(server)
    }

    /// The version that the server reports. Up to 0.6, that of Chroma; every 1.x reports `1.0.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The API version in use.
    pub fn api(&self) -> Api {
        self.connection.api
    }

    /// Scheme, host, port and path, without credentials.
    pub fn address(&self) -> &str {
        self.connection.client.address()
    }

    /// The selected tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Warnings about the server as a whole, such as databases that it cannot list.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The current number of records. A count of 0 is accepted only if the server lists no records either.
    ///
    /// # Errors
    /// When a request fails, with [`Error::Status`] 404 if the collection is gone.
    pub async fn count(&self, collection: &Collection) -> Result<u64, Error> {
        let count = self.connection.count(collection).await?;
        if count > 0 {
            return Ok(count);
        }
        let first = Selection::Range { offset: 0, limit: 1 };
        let (answer, _) = self.connection.get(collection, first, &[], LIMIT_BYTES).await?;
        Ok(u64::from(!answer.ids.is_empty()))
    }

    /// Visits every record of a collection; breaking ends the read early.
    ///
    /// Guarantees, also during concurrent writes: a record that exists throughout the read is visited exactly once,
    /// and no id twice. Records added meanwhile are read as far as they are found, and records deleted meanwhile may
    /// have been visited; the report warns of both with [`WarningCode::SourceChanged`] and their ids. Updates are not
    /// detected: the record is in its state at some moment of the read, and on servers before 1.0, which read vectors
    /// after documents, its vector may be newer. A consistent snapshot of all records requires stopping the writers.
    ///
    /// Method: pages overlap, which detects shifted records (the proof is in the module `place`); then all ids are
    /// listed again, in one response if the server returns 50,000 at once, and records not visited are read by id.
    /// Deleting a record *and* adding it again under its id counts as deleting. One case is not covered: a record
    /// that is deleted and added again exactly at the end of a page, both while pages are read and while ids of more
    /// than one response are listed.
    ///
    /// Vectors have [`Origin::Hnsw`](chroma::Origin::Hnsw), of cosine collections
    /// [`Origin::HnswRounded`](chroma::Origin::HnswRounded): up to 0.6, servers return the vectors of the last writes
    /// exactly as sent. No record has a time.
    ///
    /// # Errors
    /// When a request fails, after retries where they may help. A failure for only one record's vector or metadata is
    /// not an error: the record is returned without it, with a problem.
    pub async fn read(
        &self,
        collection: &Collection,
        mut visit: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ReadReport, Error> {
        let mut reader = self.reader(collection).await?;
        while let Some(records) = reader.next_page().await? {
            let mut records = records.into_iter();
            while let Some(record) = records.next() {
                if visit(record).is_break() {
                    return Ok(reader.into_stopped_report(records));
                }
            }
        }
        Ok(reader.into_report())
    }

    /// Like [`read`](Self::read), but in pages, for callers that wait between them.
    ///
    /// # Errors
    /// When the server cannot count the records.
    pub async fn reader(&self, collection: &Collection) -> Result<Reader, Error> {
        let mut columns = vec![Column::Embeddings, Column::Documents, Column::Metadatas];
        if version_number(&self.version) >= FIRST_WITH_URIS {
            columns.push(Column::Uris);
        }
        Reader::new(self.connection.clone(), collection.clone(), columns, self.page_records).await
    }

    /// Checks the configured tenant and database, and adds warnings about what cannot be listed.
    async fn check_scope(&mut self) -> Result<(), Error> {
        let address = || self.address().to_owned();
        let has_tenants = version_number(&self.version) >= FIRST_WITH_TENANTS;
        if let Some(database) = &self.database {
            let scope = Scope { tenant: self.tenant.clone(), database: database.clone() };
            let is_default = self.tenant == DEFAULT_TENANT && database == DEFAULT_DATABASE;
            let exists = is_default || (has_tenants && self.connection.has_database(&scope).await?);
            if !exists {
                let subject = format!("database `{database}` of tenant `{}`", self.tenant);
                return Err(Error::Missing { address: address(), subject });
            }
            return Ok(());
        }
        let databases = self.databases().await?;
        let is_shown =
            self.tenant == DEFAULT_TENANT || databases.as_ref().is_some_and(|names| !names.is_empty());
        let exists = is_shown || (has_tenants && self.connection.has_tenant(&self.tenant).await?);
        if !exists {
            let subject = format!("tenant `{}`", self.tenant);
            return Err(Error::Missing { address: address(), subject });
        }
        if databases.is_none() && has_tenants {
            let message = format!(
                "{} cannot list its databases: only `{DEFAULT_DATABASE}` is read; name others individually",
                self.address()
            );
            self.warnings.push(Warning::new(WarningCode::ListingLimited, message));
        }
        Ok(())
    }
}

const FIRST_WITH_TENANTS: [u32; 3] = [0, 4, 15];
const FIRST_WITH_URIS: [u32; 3] = [0, 4, 16];

/// `[major, minor, patch]` of `0.5.23` or `0.4.15.dev3`; other parts count as 0.
pub(crate) fn version_number(version: &str) -> [u32; 3] {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// API v2 if available: 0.6.3 cannot list collections by v1.
async fn find_api(client: &Client) -> Result<Api, Error> {
    let newer = match api::heartbeat(client, Api::V2).await {
        Ok(()) => return Ok(Api::V2),
        // Independent of the path.
        Err(error) if error.is_transient() || error.is_timeout() => return Err(error),
        Err(error) => error,
    };
    match (api::heartbeat(client, Api::V1).await, newer) {
        (Ok(()), _) => Ok(Api::V1),
        // A server of any version that requires a token even here.
        (_, error @ Error::Refused { .. }) | (Err(error @ Error::Refused { .. }), _) => Err(error),
        (Err(_), Error::Status { status, message, .. }) => {
            let found = format!("status {status} ({message}) in response to the heartbeat");
            Err(Error::NotChroma { address: client.address().to_owned(), found })
        }
        (Err(_), Error::Decode { .. }) => {
            let found = "a response to the heartbeat that is not Chroma's".to_owned();
            Err(Error::NotChroma { address: client.address().to_owned(), found })
        }
        (Err(_), error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version_number("0.4.9") < FIRST_WITH_TENANTS);
        assert!(version_number("0.4.24") >= FIRST_WITH_URIS);
        assert!(version_number("1.0.0") > version_number("0.10.3"));
        assert_eq!(version_number("0.5.dev1"), [0, 5, 0]);
    }
}
