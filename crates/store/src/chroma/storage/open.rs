//! Opens or creates a service's collection.

use chroma::{Collection, DEFAULT_DATABASE};
use records::{DistanceSpace, MODEL_DIMENSION, Service, oldest};
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use super::{ChromaStorage, Lists, storage_error};
use crate::{
    chroma::{
        ChromaServer, ServerOptions,
        api::{Connection, Scope, Selection},
        error::Error,
        fetch::LIMIT_BYTES,
        server::version_number,
        wire::{Column, Condition},
    },
    storage::StorageError,
};

/// The first version that may support lists; it and all later ones report 1.0.0.
const FIRST_OF_1: [u32; 3] = [1, 0, 0];

/// About a second in total: enough for a connection closed meanwhile and for a brief failure. A service reports an
/// unavailable store instead of waiting for it.
const ATTEMPTS: u32 = 3;

/// SQLite of the oldest servers supports 999 parameters, of which a record needs several.
const FEWEST_RECORDS: usize = 100;
/// More records per request are not faster, and make the server's statements long.
const MOST_RECORDS: usize = 1_000;

/// Why a collection cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(
        "{address} is Chroma {version}: Panopticon requires {} or newer to write, so update it (pip install \
            -U chromadb)",
        oldest::CHROMA.map(|number| number.to_string()).join(".")
    )]
    Version { address: String, version: String },
    #[error(
        "collection `{collection}` has embeddings with {found} components, expected {MODEL_DIMENSION} (all-MiniLM-L6-v2): \
         name another Chroma database, or rename the collection"
    )]
    Dimension { collection: String, found: usize },
    #[error(
        "collection `{collection}` was created and is not listed: check that no other program deletes it"
    )]
    Lost { collection: String },
}

impl ChromaStorage {
    /// Opens the collection of `service` on the server, or creates it. An existing one is used unchanged; if it does
    /// not use cosine distance, searches scan all its records, with a warning in the log. The options `attempts` and
    /// `page_records` are ignored: a service has fixed values.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the server is unavailable. [`StorageError::Failed`] when the options are
    /// invalid, the server denies access or is older than [`oldest::CHROMA`], or the collection's embeddings do not
    /// have 384 components.
    pub async fn open(service: Service, options: &ServerOptions) -> Result<Self, StorageError> {
        const OPERATION: &str = "open the storage";
        let failed = |error| storage_error(service, OPERATION, error);
        let unfit = |unfit: Unusable| StorageError::Failed { operation: OPERATION, source: Box::new(unfit) };

        let database = options.database.clone().unwrap_or_else(|| DEFAULT_DATABASE.to_owned());
        let options =
            ServerOptions { database: Some(database.clone()), attempts: ATTEMPTS, ..options.clone() };
        let server = ChromaServer::connect(&options).await.map_err(failed)?;
        let version = version_number(server.version());
        if version < oldest::CHROMA {
            let (address, version) = (server.address().to_owned(), server.version().to_owned());
            return Err(unfit(Unusable::Version { address, version }));
        }
        let mut collection = find(&server, service).await.map_err(failed)?;
        if collection.is_none() {
            create(&server, service, database).await.map_err(failed)?;
            collection = find(&server, service).await.map_err(failed)?;
        }
        let lost = || Unusable::Lost { collection: service.collection().to_owned() };
        let collection = collection.ok_or_else(|| unfit(lost()))?;
        let connection = server.connection.clone();
        if let Some(found) = dimension(&connection, &collection).await.map_err(failed)?
            && found != MODEL_DIMENSION
        {
            return Err(unfit(Unusable::Dimension { collection: collection.name, found }));
        }
        if collection.space != DistanceSpace::Cosine {
            log::warn!(
                "collection `{}` uses the distance {} instead of cosine: each search scans all its records",
                collection.name,
                collection.space
            );
        }
        let most = connection.max_batch_records().await.map_err(failed)?.unwrap_or(FEWEST_RECORDS);
        let lists =
            match version >= FIRST_OF_1 && holds_lists(&connection, &collection).await.map_err(failed)? {
                true => Lists::Reservation,
                false => Lists::Refused,
            };
        Ok(Self {
            service,
            connection,
            collection,
            lists,
            batch_records: most.clamp(1, MOST_RECORDS),
            writing: Mutex::new(()),
        })
    }
}

async fn find(server: &ChromaServer, service: Service) -> Result<Option<Collection>, Error> {
    let collections = server.collections().await?;
    Ok(collections.into_iter().find(|collection| collection.name == service.collection()))
}

async fn create(server: &ChromaServer, service: Service, database: String) -> Result<(), Error> {
    let metadata = Map::from_iter([("hnsw:space".to_owned(), Value::from("cosine"))]);
    let scope = Scope { tenant: server.tenant().to_owned(), database };
    server.connection.create_collection(&scope, service.collection(), &metadata).await
}

/// Dimension of the collection's embeddings; `None` while it is empty. Servers before 0.5.1 do not list it.
async fn dimension(connection: &Connection, collection: &Collection) -> Result<Option<usize>, Error> {
    if collection.dimension.is_some() {
        return Ok(collection.dimension);
    }
    let first = Selection::Range { offset: 0, limit: 1 };
    let (answer, _) = connection.get(collection, first, &[Column::Embeddings], LIMIT_BYTES).await?;
    let embeddings = answer.embeddings.into_iter().flatten().flatten();
    Ok(embeddings.map(|components| components.values.len()).next())
}

/// Whether metadata may be lists, which the version number does not show: servers that support lists support
/// `$contains` too.
async fn holds_lists(connection: &Connection, collection: &Collection) -> Result<bool, Error> {
    let condition =
        Condition { metadata: Some(json!({ "panopticon:list": { "$contains": "" } })), document: None };
    let one = Selection::Where { condition: &condition, offset: 0, limit: 1 };
    match connection.get(collection, one, &[], LIMIT_BYTES).await {
        Ok(_) => Ok(true),
        Err(Error::Status { status: 400 | 422, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
