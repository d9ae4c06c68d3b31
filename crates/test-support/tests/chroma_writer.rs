//! Our reader and a real Chroma 1.5.9 read the written directories correctly.

use std::{collections::BTreeMap, ops::ControlFlow, path::Path};

use chroma::{Origin, PersistDirectory, Vector};
use records::{DistanceSpace, Metadata, MetadataValue};
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{
    ChromaCollection, ChromaForm, ChromaRecord, ChromaServer, ChromaWriter, folder_digest, generated_records,
};

const SPACES: [DistanceSpace; 3] = [DistanceSpace::L2, DistanceSpace::Cosine, DistanceSpace::InnerProduct];

/// As many as a query with Chroma's default settings visits.
const RECORDS: u64 = 100;

const TENANT: &str = "a tenant";
const DATABASE: &str = "evaluations";

/// Records of three dimensions, with every kind of metadata and with none.
fn odd_records() -> Vec<ChromaRecord> {
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let all = Metadata::from([
        ("list".to_owned(), MetadataValue::List(vec![MetadataValue::Int(-3), MetadataValue::Int(2)])),
        ("large".to_owned(), MetadataValue::Int(i64::MAX)),
        ("yes".to_owned(), MetadataValue::Bool(true)),
        ("whole".to_owned(), MetadataValue::Float(1.0)),
        ("empty".to_owned(), text("")),
        ("quoted \" \\ '".to_owned(), text("Grüße \u{1f680}\n")),
    ]);
    [
        ("a/1", vec![0.1, -2.5, 3e-7], Some("Überschrift"), all),
        ("b 'x'", vec![7.0, 0.3, 1e7], None, Metadata::new()),
    ]
    .into_iter()
    .chain([(
        "c",
        vec![1.0, 1.0, 1.0],
        Some(""),
        Metadata::from([("k".to_owned(), MetadataValue::Bool(false))]),
    )])
    .map(|(id, vector, document, metadata)| ChromaRecord {
        id: id.to_owned(),
        vector,
        document: document.map(str::to_owned),
        metadata,
    })
    .collect()
}

/// Collections of each space with generated records, and one of another tenant.
fn write(folder: &Path, form: ChromaForm) -> BTreeMap<String, (DistanceSpace, Vec<ChromaRecord>)> {
    let mut writer = ChromaWriter::create(folder);
    let mut written = BTreeMap::new();
    for (seed, space) in (0..).zip(SPACES) {
        let name = format!("records-{space}");
        let records: Vec<_> = generated_records(RECORDS, seed).collect();
        let collection = ChromaCollection::new(&name, space, form);
        assert_eq!(writer.write(&collection, records.clone()), RECORDS);
        written.insert(name, (space, records));
    }
    let odd = ChromaCollection {
        tenant: TENANT,
        database: DATABASE,
        ..ChromaCollection::new("odd", SPACES[0], form)
    };
    assert_eq!(writer.write(&odd, odd_records()), 3);
    written.insert("odd".to_owned(), (SPACES[0], odd_records()));
    assert_eq!(writer.write(&ChromaCollection::new("empty", SPACES[1], form), []), 0);
    written.insert("empty".to_owned(), (SPACES[1], Vec::new()));
    writer.finish();
    written
}

/// Whether all components are as exact as Chroma stores them; it divides cosine vectors by their length.
fn is_kept(space: DistanceSpace, written: &[f32], found: &[f32]) -> bool {
    let near = |x: &f32, y: &f32| match space {
        DistanceSpace::Cosine => (x - y).abs() <= 4.0 * f32::EPSILON * x.abs(),
        DistanceSpace::L2 | DistanceSpace::InnerProduct => x.to_bits() == y.to_bits(),
    };
    written.len() == found.len() && written.iter().zip(found).all(|(x, y)| near(x, y))
}

fn check_with_our_reader(form: ChromaForm) {
    let folder = TempDir::new().unwrap();
    let written = write(folder.path(), form);
    let directory = PersistDirectory::open(folder.path()).unwrap();
    assert_eq!(directory.warnings(), &[]);
    assert_eq!(directory.collections().len(), written.len());
    for collection in directory.collections() {
        let (space, written) = &written[&collection.name];
        assert_eq!(collection.space, *space);
        let is_odd = collection.name == "odd";
        assert_eq!(collection.tenant, if is_odd { TENANT } else { "default_tenant" });
        assert_eq!(collection.database, if is_odd { DATABASE } else { "default_database" });
        let mut found = Vec::new();
        let visit = |record| {
            found.push(record);
            ControlFlow::Continue(())
        };
        let report = directory.read(collection, visit).unwrap();
        assert_eq!(report.warnings, &[]);
        assert_eq!(found.len(), written.len());
        for (place, (found, written)) in found.iter().zip(written).enumerate() {
            assert_eq!(found.id, written.id);
            assert_eq!(found.document, written.document);
            assert_eq!(found.metadata, written.metadata);
            assert_eq!(found.problems, &[]);
            assert!(found.created_at.is_some());
            let Vector::Present { embedding, origin } = &found.vector else { panic!("{found:?}") };
            let last = place + 1 == report.records as usize;
            let expected = match (form, space) {
                (ChromaForm::Log, _) => Origin::Log,
                // A purge leaves one row.
                (ChromaForm::Flushed, _) if last => Origin::Log,
                (ChromaForm::Flushed, DistanceSpace::Cosine) => Origin::HnswRounded,
                (ChromaForm::Flushed, _) => Origin::Hnsw,
            };
            assert_eq!(*origin, expected);
            assert!(is_kept(*space, &written.vector, embedding.as_slice()), "{}", written.id);
        }
    }
}

#[test]
fn our_reader_reads_what_was_written_to_the_log() {
    check_with_our_reader(ChromaForm::Log);
}

#[test]
fn our_reader_reads_what_was_written_to_the_index() {
    check_with_our_reader(ChromaForm::Flushed);
}

#[test]
fn the_same_records_make_the_same_directory() {
    let [first, second] = [(); 2].map(|()| {
        let folder = TempDir::new().unwrap();
        write(folder.path(), ChromaForm::Flushed);
        let files = folder_digest(folder.path()).into_iter();
        files
            .map(|(path, bytes)| (path.strip_prefix(folder.path()).unwrap().to_owned(), bytes))
            .collect::<Vec<_>>()
    });
    assert!(first == second);
    // The database, and five files for each collection that has an index.
    assert_eq!(first.len(), 1 + 5 * 4);
}

/// The collections of a database by name, with the path below which they are.
fn collections(server: &ChromaServer, tenant: &str, database: &str) -> BTreeMap<String, String> {
    let path = format!("/api/v2/tenants/{}/databases/{database}/collections", tenant.replace(' ', "%20"));
    let answer = server.send(&test_support::HttpRequest::new("GET", &path, ""));
    let collections: Vec<Value> = serde_json::from_str(&answer.text()).unwrap();
    let named = |collection: &Value| {
        (
            collection["name"].as_str().unwrap().to_owned(),
            format!("{path}/{}", collection["id"].as_str().unwrap()),
        )
    };
    collections.iter().map(named).collect()
}

fn post(server: &ChromaServer, path: &str, action: &str, body: &Value) -> Value {
    serde_json::from_str(&server.post(&format!("{path}/{action}"), &body.to_string())).unwrap()
}

fn count(server: &ChromaServer, path: &str) -> u64 {
    let answer = server.send(&test_support::HttpRequest::new("GET", &format!("{path}/count"), ""));
    answer.text().parse().unwrap()
}

fn floats(vector: &Value) -> Vec<f32> {
    vector.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn check_with_chroma(form: ChromaForm) {
    let folder = TempDir::new().unwrap();
    let written = write(folder.path(), form);
    let server = ChromaServer::start(folder.path());
    let mut paths = collections(&server, "default_tenant", "default_database");
    assert_eq!(paths.len(), written.len() - 1);
    paths.extend(collections(&server, TENANT, DATABASE));
    for (name, (space, records)) in &written {
        let path = &paths[name];
        assert_eq!(count(&server, path), records.len() as u64, "{name}");
        let got = post(&server, path, "get", &json!({ "include": ["embeddings", "documents", "metadatas"] }));
        assert_eq!(got["ids"].as_array().unwrap().len(), records.len(), "{name}");
        for (place, record) in records.iter().enumerate() {
            assert_eq!(got["ids"][place], record.id);
            assert_eq!(got["documents"][place].as_str(), record.document.as_deref());
            let metadata = got["metadatas"][place].as_object();
            assert_eq!(metadata.map_or(0, |metadata| metadata.len()), record.metadata.len());
            assert!(is_kept(*space, &record.vector, &floats(&got["embeddings"][place])), "{}", record.id);
        }
    }
    for (name, (space, records)) in &written {
        if records.is_empty() {
            continue;
        }
        let path = &paths[name];
        // Every record is the nearest to itself, and the second nearest is found as well.
        let dot =
            |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let distance = |x: &[f32], y: &[f32]| match space {
            DistanceSpace::L2 => dot(x, x) + dot(y, y) - 2.0 * dot(x, y),
            _ => 1.0 - dot(x, y),
        };
        for record in records {
            let mut nearest: Vec<_> = records.iter().collect();
            let order = |r: &ChromaRecord| distance(&record.vector, &r.vector);
            nearest.sort_by(|a, b| order(a).total_cmp(&order(b)));
            let ids: Vec<_> = nearest.iter().take(2).map(|record| &record.id).collect();
            let query = json!({ "query_embeddings": [record.vector], "n_results": 2 });
            assert_eq!(post(&server, path, "query", &query)["ids"][0], json!(ids), "{name}");
        }
        let filter = json!({ "where": { "theme": "science" } });
        let science = MetadataValue::Text("science".to_owned());
        let wanted = records.iter().filter(|record| record.metadata.get("theme") == Some(&science)).count();
        assert_eq!(post(&server, path, "get", &filter)["ids"].as_array().unwrap().len(), wanted, "{name}");
        // Chroma continues to write to the directory.
        let mut vector = vec![0.0; records[0].vector.len()];
        vector[0] = 1.0;
        let added = json!({ "ids": ["new"], "embeddings": [vector], "documents": ["new"], "metadatas": [{ "n": 1 }] });
        post(&server, path, "add", &added);
        assert_eq!(count(&server, path), records.len() as u64 + 1);
        let got = post(&server, path, "get", &json!({ "ids": ["new"], "include": ["embeddings"] }));
        assert_eq!(floats(&got["embeddings"][0]), vector);
    }
}

#[test]
fn chroma_reads_and_extends_a_written_log() {
    check_with_chroma(ChromaForm::Log);
}

#[test]
fn chroma_reads_and_extends_a_written_index() {
    check_with_chroma(ChromaForm::Flushed);
}
