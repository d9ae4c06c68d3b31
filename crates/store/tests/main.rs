//! The store on real PostgreSQL with pgvector, with a database per test, and on real Chroma servers.

mod adoption;
mod chroma_server;
mod citus;
mod cut_off;
mod databases;
mod differential;
mod failover;
mod labels;
mod large_answers;
mod metadata;
mod names;
mod replicas;
mod searching;
mod statements;
mod storage_chroma;
mod storage_postgres;
mod undoing;
mod writing;

use records::{MODEL_DIMENSION, Metadata, MetadataValue, Service, stored_id};
use store::{
    ColumnValue, StoredRecord,
    postgres::{
        Database, Table,
        jobs::{Counts, Job, JobStatus, Origin},
        write::{Batch, Written},
    },
    storage::{Effort, Search, SearchMode, Selection},
};
use test_support::TestDatabase;
use time::macros::datetime;
use uuid::Uuid;

/// A database with the current schema.
async fn prepared() -> (TestDatabase, Database) {
    let test_database = TestDatabase::prepared().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    (test_database, database)
}

/// A record of `service` whose parts all differ from those of another `source_id`.
fn record(service: Service, source_id: &str, embedding: Vec<f32>) -> StoredRecord {
    let columns = match service {
        Service::Query | Service::Evaluation => vec!["science"],
        Service::Judge => vec!["science", "gpt-4", "why?"],
    };
    StoredRecord {
        id: stored_id(source_id),
        source_id: Some(source_id.to_owned()),
        text: Some(format!("text of {source_id}")),
        columns: columns.into_iter().map(text).collect(),
        metadata: Some(Metadata::from([("n".to_owned(), MetadataValue::Int(1))])),
        uri: None,
        created_at: datetime!(2025-01-11 00:00:00.000137),
        embedding: embedding.into(),
        embedding_is_made: false,
    }
}

fn text(text: &str) -> ColumnValue {
    ColumnValue::Text(text.to_owned())
}

/// A unit vector at `angle` radians from the first axis, in the plane of the first two.
fn at_angle(angle: f32) -> Vec<f32> {
    let mut components = vec![0.0; MODEL_DIMENSION];
    (components[0], components[1]) = (angle.cos(), angle.sin());
    components
}

/// A search for the `limit` selected records nearest to `embedding`.
fn nearest_to(embedding: Vec<f32>, selection: Selection, limit: u32) -> Search {
    Search {
        selection,
        mode: SearchMode::Vector(embedding.into()),
        limit,
        min_similarity: None,
        effort: Effort::Fast,
    }
}

/// A job of a run of its own, begun.
async fn begin(database: &Database, table: &Table) -> Job {
    try_begin(database, table).await.expect("the job begins")
}

async fn try_begin(database: &Database, table: &Table) -> Result<Job, store::Error> {
    let mut job = job(table);
    database.begin_jobs(&mut [(table, &mut job)]).await?;
    Ok(job)
}

/// A job into `table` that has not begun.
fn job(table: &Table) -> Job {
    Job {
        id: Uuid::new_v4(),
        run_id: Uuid::new_v4(),
        origin: Origin {
            collection_id: Uuid::from_u128(7),
            tenant: "default_tenant".into(),
            database: "default_database".into(),
            collection: table.name.clone(),
            source: "/chroma".into(),
        },
        table_name: table.name.clone(),
        definition: table.definition(),
        status: JobStatus::Copying,
        holder: Uuid::new_v4(),
        created_table: false,
        counts: Counts::default(),
        problems: Vec::new(),
    }
}

/// Writes `new` rows for `job`.
async fn write(database: &Database, table: &Table, job: &Job, new: &[StoredRecord]) -> Written {
    let mut batch = Batch::default();
    for record in new {
        batch.new.push(record, job.run_id);
    }
    let pending = database.write(table, job, &batch).await.expect("the rows are accepted");
    pending.commit().await.expect("the batch commits")
}
