//! A sample of a table's records, with their vectors.

use records::Service;
use sqlx::{Row as _, postgres::PgRow};
use uuid::Uuid;

use super::{
    Collections,
    escape::unescaped,
    read::{embedding, is_escaped},
    turn::Turn,
};
use crate::postgres::{
    Table,
    collections::{Collection, CollectionError, DEFAULT_DATABASE, DEFAULT_TENANT},
    sql::collections::sample_collection_records,
};

/// Characters of a text and of a category that a sample has.
pub const SAMPLED_CHARACTERS: u32 = 120;

/// A record of a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledRecord {
    /// Its id.
    pub id: String,
    /// The beginning of its text.
    pub text: Option<String>,
    /// The beginning of its category, in a table of a service.
    pub category: Option<String>,
    /// Its vector.
    pub embedding: Option<Vec<f32>>,
}

impl Collections {
    /// Up to `limit` records of the collection: the same ones as long as the collection does not change.
    ///
    /// # Errors
    /// When the collection is gone, or the database fails.
    pub async fn sample(
        &self,
        collection: &Collection,
        limit: u32,
    ) -> Result<Vec<SampledRecord>, CollectionError> {
        let Some(table) = &collection.table else { return Ok(Vec::new()) };
        let statement = sample_collection_records(table, (limit, SAMPLED_CHARACTERS));
        self.read_at_once(collection, (&[], vec![statement]), &Turn::default(), record).await
    }

    /// The same of the records of a service, whether or not Chroma clients see them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sample_of_service(
        &self,
        service: Service,
        limit: u32,
    ) -> Result<Vec<SampledRecord>, CollectionError> {
        let table = Table::of(service);
        let collection = Collection {
            id: Uuid::nil(),
            tenant: DEFAULT_TENANT.to_owned(),
            database: DEFAULT_DATABASE.to_owned(),
            name: table.name.clone(),
            dimension: u32::try_from(table.dimension).ok(),
            space: table.space,
            metadata: None,
            configuration: None,
            schema: None,
            table: Some(table),
            version: None,
        };
        self.sample(&collection, limit).await
    }
}

fn record(row: &PgRow) -> sqlx::Result<SampledRecord> {
    let is_escaped = is_escaped(row)?;
    let shown = |text: String| if is_escaped { unescaped(&text) } else { text };
    let text = |column: &str| Ok::<_, sqlx::Error>(row.try_get::<Option<String>, _>(column)?.map(shown));
    let id = match text("source_id")? {
        Some(source_id) => source_id,
        None => row.try_get::<Uuid, _>("id")?.to_string(),
    };
    Ok(SampledRecord { id, text: text("text")?, category: text("category")?, embedding: embedding(row)? })
}
