//! The store against real PostgreSQL with pgvector, a database of its own for each test, and against real Chroma
//! servers.

mod adoption;
mod chroma_server;
mod copying;
mod indexing;
mod searching;

use records::{Embedding, MODEL_DIMENSION, Metadata, MetadataValue, Service, stored_id};
use store::{StoredRecord, postgres::Database};
use test_support::TestDatabase;
use time::macros::datetime;

/// A database with the current schema.
async fn prepared() -> (TestDatabase, Database) {
    let test_database = TestDatabase::create().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is created");
    (test_database, database)
}

/// A record of `service` whose parts all differ from those of another `source_id`.
fn record(service: Service, source_id: &str, embedding: Vec<f32>) -> StoredRecord {
    StoredRecord {
        id: stored_id(source_id),
        source_id: Some(source_id.to_owned()),
        text: format!("text of {source_id}"),
        category: "science".to_owned(),
        attributes: match service {
            Service::Judge => vec!["gpt-4".to_owned(), "why?".to_owned()],
            Service::Query | Service::Evaluation => Vec::new(),
        },
        metadata: Some(Metadata::from([("n".to_owned(), MetadataValue::Int(1))])),
        uri: None,
        created_at: datetime!(2025-01-11 00:00:00.000137),
        embedding: embedding.into(),
    }
}

/// A unit vector at `angle` radians from the first axis, in the plane of the first two.
fn at_angle(angle: f32) -> Vec<f32> {
    let mut components = vec![0.0; MODEL_DIMENSION];
    (components[0], components[1]) = (angle.cos(), angle.sin());
    components
}

fn embedding(angle: f32) -> Embedding {
    at_angle(angle).into()
}
