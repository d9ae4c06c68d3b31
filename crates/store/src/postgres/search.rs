//! Semantic search: the stored records nearest to a vector by cosine distance, filtered by equality.

use records::timestamp;
use serde_json::{Map, Value};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use time::PrimitiveDateTime;
use uuid::Uuid;

use super::{
    Database, Table, ddl, schema::has_iterative_scan, unnamed::on, vector_index, vector_index::Filtering,
};
use crate::{Error, error::StatementContext as _};

/// What to search for.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// `[384]`, normalised.
    pub embedding: &'a [f32],
    /// Most results that are wanted.
    pub limit: u32,
    /// Only this theme or metric type.
    pub category: Option<&'a str>,
    /// Only outputs of this model. Other tables have no such column.
    pub model_id: Option<&'a str>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// ChromaDB's id where there is one, else the primary key.
    pub id: String,
    /// The prompt or output.
    pub text: String,
    /// The stored metadata, with category and `timestamp` added where they are missing.
    pub metadata: Map<String, Value>,
    /// Cosine distance, 0 to 2; `None` for a zero vector, from which no distance is defined.
    pub distance: Option<f64>,
}

impl Database {
    /// Finds the records of `table` nearest to `search.embedding`, nearest first.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn search(&self, table: &Table, search: Search<'_>) -> Result<Vec<Hit>, Error> {
        const OPERATION: &str = "search";
        let category = table.category_column().unwrap_or(&table.text_column);
        let mut filters = Vec::new();
        filters.extend(search.category.map(|value| (category, value)));
        filters.extend(search.model_id.map(|value| ("model_id", value)));
        let columns: Vec<&str> = filters.iter().map(|(column, _)| *column).collect();

        let filtering = if filters.is_empty() { Filtering::None } else { Filtering::Some };
        // Settings hold for this transaction alone: a session's would leak to others through a pooler.
        let mut transaction = self.pool.begin().await.during("begin a transaction")?;
        for setting in settings(&mut transaction, table, filtering).await? {
            sqlx::query(setting).execute(on(&mut transaction)).await.during("set search options")?;
        }
        let mut query = sqlx::query(ddl::search(table, category, &columns))
            .bind(search.embedding)
            .bind(i64::from(search.limit));
        for (_, value) in &filters {
            query = query.bind(*value);
        }
        let rows = query.fetch_all(on(&mut transaction)).await.during(OPERATION)?;
        transaction.commit().await.during(OPERATION)?;
        rows.iter().map(|row| read_hit(row, category)).collect::<sqlx::Result<_>>().during(OPERATION)
    }
}

/// What to set so that the table's index, if it has one, finds what is there.
pub(crate) async fn settings(
    connection: &mut PgConnection,
    table: &Table,
    filtering: Filtering,
) -> Result<Vec<ddl::Sql>, Error> {
    let indexes = vector_index::existing(connection, table).await?;
    let Some(index) = indexes.into_iter().find(|index| index.valid) else { return Ok(Vec::new()) };
    let iterative = filtering == Filtering::Some && has_iterative_scan(connection).await?;
    let mut settings = Vec::new();
    if let Some(lists) = index.lists {
        let rows = vector_index::estimated_rows(connection, table).await?;
        settings.push(ddl::set_probes(vector_index::probes(rows, lists, filtering)));
    }
    if iterative {
        let method = if index.lists.is_some() { "ivfflat" } else { "hnsw" };
        settings.push(ddl::set_iterative_scan(method));
    }
    Ok(settings)
}

fn read_hit(row: &PgRow, category: &str) -> sqlx::Result<Hit> {
    let source_id: Option<String> = row.try_get("source_id")?;
    let id = match source_id {
        Some(source_id) => source_id,
        None => row.try_get::<Uuid, _>("id")?.to_string(),
    };
    let stored = row.try_get::<Option<&str>, _>("metadata")?.map(serde_json::from_str::<Value>);
    let mut metadata = match stored.transpose().map_err(|error| sqlx::Error::Decode(error.into()))? {
        Some(Value::Object(metadata)) => metadata,
        // JSONB of the old services' users may hold anything; it is shown, not lost.
        Some(other) => Map::from_iter([("metadata".to_owned(), other)]),
        None => Map::new(),
    };
    let created_at: PrimitiveDateTime = row.try_get("created_at")?;
    metadata.entry(category).or_insert(Value::String(row.try_get("category")?));
    metadata.entry("timestamp").or_insert_with(|| Value::String(timestamp::format(created_at)));
    let distance: f64 = row.try_get("distance")?;
    Ok(Hit { id, text: row.try_get("text")?, metadata, distance: distance.is_finite().then_some(distance) })
}
