//! Paths and requests of both versions of Chroma's HTTP API.

use std::fmt;

use chroma::Collection;
use reqwest::Method;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    client::{Client, Request},
    error::Error,
    wire::{CollectionEntry, Column, Condition, Database, GetAnswer, GetBody, Heartbeat, Identity},
};

/// The version of a server's HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Chroma 0.4 and 0.5.
    V1,
    /// Since the last 0.5 releases; 1.x has no other.
    V2,
}

/// A tenant's database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) tenant: String,
    pub(crate) database: String,
}

/// A server whose API version is known. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) api: Api,
}

/// Selects the records of a get request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection<'s> {
    /// `limit` records from `offset` on, in the server's order.
    Range { offset: u64, limit: u32 },
    /// Those with these ids, in the server's order.
    Ids(&'s [String]),
    /// `limit` of those that satisfy the condition, from `offset` on, in the server's order.
    Where { condition: &'s Condition, offset: u64, limit: u32 },
}

impl Api {
    pub(crate) fn segment(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.segment())
    }
}

/// Checks once, without retries, for a Chroma server with the API version `api`.
pub(crate) async fn heartbeat(client: &Client, api: Api) -> Result<(), Error> {
    let request = Request::get("send a heartbeat", vec!["api", api.segment(), "heartbeat"]);
    let answer = client.send_once(&request).await?;
    decode::<Heartbeat>(client, &request, &answer).map(drop)
}

impl Connection {
    /// The version that the server reports; every 1.x reports `1.0.0`.
    pub(crate) async fn version(&self) -> Result<String, Error> {
        self.ask(&Request::get("request the version", vec!["api", self.api.segment(), "version"])).await
    }

    /// The identity of the token; empty if the server does not support this.
    pub(crate) async fn identity(&self) -> Result<Identity, Error> {
        if self.api == Api::V1 {
            return Ok(Identity::default());
        }
        let request = Request::get("request the token's tenant", vec!["api", "v2", "auth", "identity"]);
        match self.ask(&request).await {
            Err(Error::Status { status: 404 | 405, .. }) => Ok(Identity::default()),
            result => result,
        }
    }

    /// Whether the tenant exists.
    pub(crate) async fn has_tenant(&self, tenant: &str) -> Result<bool, Error> {
        let operation = format!("look for tenant `{tenant}`");
        self.exists(&Request::get(&operation, vec!["api", self.api.segment(), "tenants", tenant])).await
    }

    /// Whether the database exists.
    pub(crate) async fn has_database(&self, scope: &Scope) -> Result<bool, Error> {
        let operation = format!("look for database `{}`", scope.database);
        let request = match self.api {
            Api::V1 => Request {
                query: vec![("tenant", scope.tenant.clone())],
                ..Request::get(&operation, vec!["api", "v1", "databases", &scope.database])
            },
            Api::V2 => Request::get(&operation, scope.path(Vec::new())),
        };
        self.exists(&request).await
    }

    /// One page of a tenant's databases, and its size in bytes. API v2 since 0.6; 0.5 responds with 405.
    pub(crate) async fn databases(
        &self,
        tenant: &str,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<Database>, usize), Error> {
        let operation = format!("list the databases of tenant `{tenant}`");
        let path = vec!["api", "v2", "tenants", tenant, "databases"];
        self.ask_sized(&Request { query: paging(offset, limit), ..Request::get(&operation, path) }).await
    }

    /// One page of a database's collections, and its size in bytes. Empty for a nonexistent database.
    pub(crate) async fn collections(
        &self,
        scope: &Scope,
        offset: usize,
        limit: usize,
    ) -> Result<(Vec<CollectionEntry>, usize), Error> {
        let operation = format!("list the collections of database `{}`", scope.database);
        let mut request = self.in_scope(&operation, scope, vec!["collections"]);
        request.query.extend(paging(offset, limit));
        self.ask_sized(&request).await
    }

    /// The number of records in the collection.
    pub(crate) async fn count(&self, collection: &Collection) -> Result<u64, Error> {
        let operation = format!("count the records of collection `{}`", collection.name);
        let (scope, id) = (Scope::of(collection), collection.id.to_string());
        self.ask(&self.of_collection(&operation, &scope, &id, "count")).await
    }

    /// The `columns` of the selected records, at most `limit_bytes` of JSON.
    pub(crate) async fn get(
        &self,
        collection: &Collection,
        selection: Selection<'_>,
        columns: &[Column],
        limit_bytes: usize,
    ) -> Result<(GetAnswer, usize), Error> {
        let operation = format!("read records of collection `{}`", collection.name);
        let (scope, id) = (Scope::of(collection), collection.id.to_string());
        let body = match selection {
            Selection::Range { offset, limit } => {
                GetBody { ids: None, condition: None, limit, offset, include: columns }
            }
            Selection::Ids(ids) => {
                let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
                GetBody { ids: Some(ids), condition: None, limit, offset: 0, include: columns }
            }
            Selection::Where { condition, offset, limit } => {
                GetBody { ids: None, condition: Some(condition), limit, offset, include: columns }
            }
        };
        let request = self.of_collection(&operation, &scope, &id, "get");
        let request = Request { limit_bytes, ..post(request, &body) };
        let answer = self.client.send(&request).await?;
        let size_bytes = answer.len();
        let answer: GetAnswer = decode(&self.client, &request, &answer)?;
        if !answer.is_aligned(columns) {
            return Err(Error::Misaligned { operation, address: self.client.address().to_owned() });
        }
        Ok((answer, size_bytes))
    }

    /// A request on a collection. API v1 identifies collections only by id.
    pub(crate) fn of_collection<'r>(
        &self,
        operation: &'r str,
        scope: &'r Scope,
        id: &'r str,
        verb: &'r str,
    ) -> Request<'r> {
        match self.api {
            Api::V1 => Request::get(operation, vec!["api", "v1", "collections", id, verb]),
            Api::V2 => Request::get(operation, scope.path(vec!["collections", id, verb])),
        }
    }

    pub(crate) fn in_scope<'r>(
        &self,
        operation: &'r str,
        scope: &'r Scope,
        path: Vec<&'r str>,
    ) -> Request<'r> {
        match self.api {
            Api::V1 => {
                let query = vec![("tenant", scope.tenant.clone()), ("database", scope.database.clone())];
                Request { query, ..Request::get(operation, [vec!["api", "v1"], path].concat()) }
            }
            Api::V2 => Request::get(operation, scope.path(path)),
        }
    }

    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<T, Error> {
        self.ask_sized(request).await.map(|(answer, _)| answer)
    }

    /// The response and its size in bytes.
    async fn ask_sized<T: DeserializeOwned>(&self, request: &Request<'_>) -> Result<(T, usize), Error> {
        let answer = self.client.send(request).await?;
        let size_bytes = answer.len();
        Ok((decode(&self.client, request, &answer)?, size_bytes))
    }

    async fn exists(&self, request: &Request<'_>) -> Result<bool, Error> {
        match self.client.send(request).await {
            Ok(_) => Ok(true),
            Err(Error::Status { status: 404, .. }) => Ok(false),
            // 0.4 and 0.5 respond like this.
            Err(Error::Status { status: 500, message, .. }) if message.starts_with("NotFoundError") => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

impl Scope {
    pub(crate) fn of(collection: &Collection) -> Self {
        Self { tenant: collection.tenant.clone(), database: collection.database.clone() }
    }

    fn path<'s>(&'s self, rest: Vec<&'s str>) -> Vec<&'s str> {
        [vec!["api", "v2", "tenants", &self.tenant, "databases", &self.database], rest].concat()
    }
}

/// `request` with `body` as its JSON.
pub(crate) fn post<'r>(request: Request<'r>, body: &impl Serialize) -> Request<'r> {
    let body = serde_json::to_vec(body).expect("texts, numbers and lists of them are JSON");
    Request { method: Method::POST, body: Some(body), ..request }
}

/// Always both: 0.4 fails on a limit without an offset.
fn paging(offset: usize, limit: usize) -> Vec<(&'static str, String)> {
    vec![("limit", limit.to_string()), ("offset", offset.to_string())]
}

pub(crate) fn decode<T: DeserializeOwned>(
    client: &Client,
    request: &Request<'_>,
    answer: &[u8],
) -> Result<T, Error> {
    serde_json::from_slice(answer).map_err(|source| Error::Decode {
        operation: request.operation.to_owned(),
        address: client.address().to_owned(),
        source,
    })
}
