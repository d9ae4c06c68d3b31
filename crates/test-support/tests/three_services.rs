//! The directories of the three services, read by the product's reader.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use chroma::{Origin, PersistDirectory, Record, Vector};
use embed::Model;
use records::{DistanceSpace, MetadataValue};
use serde_json::{Map, Value};
use test_support::{ServiceDirectory, model_dir, three_services};

#[test]
fn three_services_have_the_listed_records_and_results_refer_to_them() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = Model::load(&model_dir()).expect("the model loads");
    let embed = |texts: &[&str]| -> Vec<Vec<f32>> {
        let embeddings = model.embed(texts).expect("texts are embedded");
        embeddings.iter().map(|embedding| embedding.as_slice().to_owned()).collect()
    };
    let Some(services) = three_services(folder.path(), &embed) else { return };
    for service in [&services.query, &services.evaluation, &services.judge] {
        check(service);
    }
    let ids = |service: &ServiceDirectory| -> HashSet<String> {
        service.records.iter().map(|record| record.id.clone()).collect()
    };
    let (queries, metrics, outputs) = (ids(&services.query), ids(&services.evaluation), ids(&services.judge));
    for prefix in ["chatcmpl-", "msg_"] {
        assert!(outputs.iter().any(|id| id.starts_with(prefix)), "{prefix}");
    }
    assert!(services.results.len() >= outputs.len(), "each output was judged");
    assert!(services.results.iter().any(|row| row.score.is_some()));
    let distinct: HashSet<&str> = services.results.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(distinct.len(), services.results.len());
    for row in &services.results {
        assert!(queries.contains(&row.query_id) && metrics.contains(&row.evaluation_prompt_id), "{row:?}");
        assert!(outputs.contains(row.result_metadata["output_id"].as_str().expect("an id")), "{row:?}");
    }
}

fn check(service: &ServiceDirectory) {
    let name = service.collection;
    println!("{name}: {} records", service.records.len());
    let directory = PersistDirectory::open(&service.path).expect("the directory opens");
    let [collection] = directory.collections() else { panic!("{name}: expected one collection") };
    assert_eq!((collection.name.as_str(), collection.space), (name, DistanceSpace::Cosine));
    let expected: HashMap<&str, _> =
        service.records.iter().map(|record| (record.id.as_str(), record)).collect();
    assert!(expected.len() == service.records.len() && expected.len() > 20, "{name}: ids are distinct");
    let times: HashSet<&str> = service.records.iter().map(|record| record.timestamp.as_str()).collect();
    assert_eq!(times.len(), expected.len(), "{name}: times are distinct");

    let mut origins: HashMap<Origin, usize> = HashMap::new();
    let mut count = 0;
    let report = directory.read(collection, &mut |record: Record| {
        let expected = expected[record.id.as_str()];
        assert_eq!(record.document.as_deref(), Some(expected.document.as_str()));
        let metadata: Map<String, Value> =
            record.metadata.into_iter().map(|(key, value)| (key, json(value))).collect();
        assert_eq!(metadata, expected.metadata);
        assert_eq!(metadata["timestamp"], expected.timestamp.as_str());
        let Vector::Present { embedding, origin } = record.vector else { panic!("{}: no vector", record.id) };
        for (found, sent) in embedding.as_slice().iter().zip(&expected.embedding) {
            assert!(found.to_bits().abs_diff(sent.to_bits()) <= service.max_ulps, "{found} {sent}");
        }
        *origins.entry(origin).or_default() += 1;
        count += 1;
        ControlFlow::Continue(())
    });
    report.expect("the collection reads");
    assert_eq!(count, expected.len(), "{name}");
    println!("{name}: {origins:?}");
    assert_eq!(origins.contains_key(&Origin::HnswRounded), service.max_ulps > 0, "{name}: {origins:?}");
}

fn json(value: MetadataValue) -> Value {
    match value {
        MetadataValue::Bool(value) => value.into(),
        MetadataValue::Int(value) => value.into(),
        MetadataValue::Float(value) => value.into(),
        MetadataValue::Text(value) => value.into(),
        MetadataValue::List(values) => values.into_iter().map(json).collect(),
    }
}
