//! The storage in ChromaDB, on real servers.

mod collections;
mod faults;
mod records;
mod searching;

use ::records::{MODEL_DIMENSION, Service};
use serde_json::{Map, Value};
use store::{
    chroma::{ChromaStorage, ServerOptions},
    storage::{Atomicity, Insertion, NewRecord, Production, Storage as _},
};
use tempfile::TempDir;
use test_support::ChromaServer;
use time::{Duration, macros::datetime};

/// A server of its own, which ends with the value.
struct Fixture {
    server: ChromaServer,
    storage: ChromaStorage,
    _directory: TempDir,
}

impl Fixture {
    async fn new(service: Service) -> Self {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let server = ChromaServer::start(directory.path());
        let storage = open(&server, service).await;
        Self { server, storage, _directory: directory }
    }
}

async fn open(server: &ChromaServer, service: Service) -> ChromaStorage {
    ChromaStorage::open(service, &ServerOptions::new(server.url())).await.expect("the storage opens")
}

/// A record made `number` minutes after noon, in the direction of `number` degrees.
fn record(number: u32, metadata: Value) -> NewRecord {
    let Value::Object(metadata) = metadata else { panic!("metadata are an object") };
    NewRecord {
        id: format!("r{number:03}"),
        text: format!("text {number}"),
        embedding: at_degrees(number).into(),
        category: "physics".to_owned(),
        production: None,
        metadata,
        created_at: datetime!(2026-01-31 12:00) + Duration::minutes(number.into()),
    }
}

fn output(number: u32) -> NewRecord {
    let production = Production { model_id: "gpt-4".to_owned(), query: "why?".to_owned() };
    NewRecord { production: Some(production), ..record(number, Value::Object(Map::new())) }
}

fn at_degrees(degrees: u32) -> Vec<f32> {
    let mut components = vec![0.0; MODEL_DIMENSION];
    let angle = (degrees as f32).to_radians();
    (components[0], components[1]) = (angle.cos(), angle.sin());
    components
}

async fn store_all(storage: &ChromaStorage, records: &[NewRecord]) {
    let insertions = storage.insert(records, Atomicity::AllOrNothing).await.expect("the records are stored");
    assert!(insertions.iter().all(|one| matches!(one, Insertion::Stored(_))), "{insertions:?}");
}

fn ids<'r>(records: impl IntoIterator<Item = &'r store::storage::Record>) -> Vec<String> {
    records.into_iter().map(|record| record.id.clone()).collect()
}
