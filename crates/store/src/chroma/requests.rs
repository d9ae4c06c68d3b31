//! Requests that search a collection or write. Those that only read are in [`api`](super::api).
//!
//! A write may reach the server although its response is lost, and is then retried. All writes here are idempotent:
//! `add` skips existing ids, `update` and `delete` set a final state, and a collection is created only if it does not
//! exist.

use chroma::Collection;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::{
    api::{Connection, Scope, post},
    client::Request,
    error::Error,
    wire::{
        Condition, CreateCollectionBody, DeleteBody, PreFlightChecks, QueryAnswer, QueryBody, RecordsBody,
    },
};

impl Connection {
    /// Creates the collection `name`, unless it exists.
    pub(crate) async fn create_collection(
        &self,
        scope: &Scope,
        name: &str,
        metadata: &Map<String, Value>,
    ) -> Result<(), Error> {
        let operation = format!("create collection `{name}`");
        let body = CreateCollectionBody { name, metadata, get_or_create: true };
        let request = post(self.in_scope(&operation, scope, vec!["collections"]), &body);
        self.ask::<IgnoredAny>(&request).await.map(drop)
    }

    /// Maximum records per request; `None` if the server does not report it.
    pub(crate) async fn max_batch_records(&self) -> Result<Option<usize>, Error> {
        let path = vec!["api", self.api.segment(), "pre-flight-checks"];
        let request = Request::get("request the maximum batch size", path);
        match self.ask::<PreFlightChecks>(&request).await {
            Ok(checks) => Ok(checks.max_batch_size),
            Err(Error::Status { status: 404 | 405, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds records, skipping those whose ids exist. The server adds all or none.
    pub(crate) async fn add(&self, collection: &Collection, body: &RecordsBody<'_>) -> Result<(), Error> {
        let operation = format!("add records to collection `{}`", collection.name);
        self.write(collection, &operation, "add", body).await
    }

    /// Updates existing records: metadata keys with a null value are removed, and keys that are not named stay.
    pub(crate) async fn update(&self, collection: &Collection, body: &RecordsBody<'_>) -> Result<(), Error> {
        let operation = format!("update records of collection `{}`", collection.name);
        self.write(collection, &operation, "update", body).await
    }

    /// Deletes the existing records with these ids.
    pub(crate) async fn delete(&self, collection: &Collection, ids: &[String]) -> Result<(), Error> {
        let operation = format!("delete records of collection `{}`", collection.name);
        self.write(collection, &operation, "delete", &DeleteBody { ids }).await
    }

    /// Up to `n_results` of the records that satisfy `condition`, nearest to `embedding` first, with their distances
    /// in the collection's space. The index is approximate: nearer records, or any number of results, may be missing.
    /// Chroma before 1.0 fails with status 500 if it finds fewer than requested.
    pub(crate) async fn query(
        &self,
        collection: &Collection,
        embedding: &[f32],
        n_results: usize,
        condition: &Condition,
    ) -> Result<Vec<(String, f64)>, Error> {
        let operation = format!("search collection `{}`", collection.name);
        let (scope, id) = (Scope::of(collection), collection.id.to_string());
        let body = QueryBody { query_embeddings: [embedding], n_results, condition, include: ["distances"] };
        let answer: QueryAnswer =
            self.ask(&post(self.of_collection(&operation, &scope, &id, "query"), &body)).await?;
        let misaligned =
            || Error::Misaligned { operation: operation.clone(), address: self.client.address().to_owned() };
        let ids = answer.ids.into_iter().next().ok_or_else(misaligned)?;
        let distances = answer.distances.and_then(|lists| lists.into_iter().next()).ok_or_else(misaligned)?;
        if ids.len() != distances.len() {
            return Err(misaligned());
        }
        // A distance that is not a number belongs to an invalid vector, which never matches.
        Ok(ids.into_iter().zip(distances).filter_map(|(id, distance)| Some((id, distance?))).collect())
    }

    async fn write(
        &self,
        collection: &Collection,
        operation: &str,
        verb: &str,
        body: &impl serde::Serialize,
    ) -> Result<(), Error> {
        let (scope, id) = (Scope::of(collection), collection.id.to_string());
        let request = post(self.of_collection(operation, &scope, &id, verb), body);
        self.client.send(&request).await.map(drop)
    }
}
