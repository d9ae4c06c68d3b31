//! The directory reader on a directory that a running Chroma writes: each read is a consistent snapshot.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use chroma::{PersistDirectory, Record, Vector};
use serde_json::json;

use super::{DATABASE, HttpRequest};

/// Records that exist throughout and are updated repeatedly.
const RECORDS: usize = 200;

/// Small enough that a read is over soon, large enough that a torn vector shows.
const DIMENSION: usize = 64;

/// Records a call; more than `sync_threshold`, so that each call rewrites the index files.
const BATCH: usize = 25;

/// Sufficient reads, if writes occurred between them.
const READS: usize = 25;
const WRITES: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A vector that encodes its record and version in every component.
fn vector(number: usize, version: u64) -> Vec<f32> {
    (0..DIMENSION).map(|place| (number * 1000) as f32 + version as f32 + place as f32 / 128.0).collect()
}

fn batch(version: u64) -> serde_json::Value {
    let first = version as usize * BATCH % RECORDS;
    let numbers = first..first + BATCH;
    json!({
        "ids": numbers.clone().map(|number| format!("r{number}")).collect::<Vec<_>>(),
        "embeddings": numbers.clone().map(|number| vector(number, version)).collect::<Vec<_>>(),
        "documents": numbers.map(|_| version.to_string()).collect::<Vec<_>>(),
    })
}

fn read(directory: &Path) -> HashMap<String, Record> {
    let directory = PersistDirectory::open(directory).expect("the directory opens");
    let [collection] = directory.collections() else { panic!("{directory:?}") };
    let mut records = HashMap::new();
    let report = directory
        .read(collection, |record| {
            records.insert(record.id.clone(), record);
            ControlFlow::Continue(())
        })
        .expect("the collection reads");
    assert_eq!(report.records, records.len() as u64, "no id twice");
    assert_eq!(report.missing, 0, "{report:?}");
    records
}

struct RaiseOnDrop<'f>(&'f AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn reads_during_writes_are_complete_and_consistent() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = test_support::ChromaServer::start(folder.path());
    let body = json!({ "name": "live", "configuration": { "hnsw": { "space": "l2", "sync_threshold": 20, "batch_size": 10 } } });
    let answer = server.post(&format!("{DATABASE}/collections"), &body.to_string());
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("an answer in JSON");
    let collection = format!("{DATABASE}/collections/{}", answer["id"].as_str().expect("an id"));
    let batches = (RECORDS / BATCH) as u64;
    for version in 0..batches {
        server.post(&format!("{collection}/upsert"), &batch(version).to_string());
    }
    let port: u16 = server.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        // Also when a read fails: the scope waits for the writer.
        let _guard = RaiseOnDrop(&is_over);
        scope.spawn(|| {
            let post = |verb: &str, body: String| {
                let answer = HttpRequest::new("POST", &format!("{collection}/{verb}"), &body).send(port);
                assert!(answer.is_ok_and(|answer| answer.status < 300), "{verb} succeeds");
            };
            for version in batches.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                post("upsert", batch(version).to_string());
                // Others are added and deleted, so that labels are reused.
                let passing = json!({ "ids": [format!("p{version}")], "embeddings": [vector(999, version)], "documents": [version.to_string()] });
                post("add", passing.to_string());
                post("delete", json!({ "ids": [format!("p{}", version - 1)] }).to_string());
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let mut reads = 0;
        let started = Instant::now();
        while reads < READS || written.load(Ordering::Relaxed) < WRITES {
            assert!(started.elapsed() < PATIENCE, "{reads} reads, {written:?} writes");
            let records = read(folder.path());
            for number in 0..RECORDS {
                let record = records.get(&format!("r{number}")).unwrap_or_else(|| panic!("no r{number}"));
                let version = record.document.as_ref().and_then(|text| text.parse().ok()).expect("a version");
                let Vector::Present { embedding, .. } = &record.vector else { panic!("{record:?}") };
                assert_eq!(embedding.as_slice(), vector(number, version), "r{number} at version {version}");
            }
            reads += 1;
        }
    });
}
