//! Records in the format of Chroma 0.3, with any pages and row groups, are read back identically.

use std::collections::BTreeMap;

use chroma::{PersistDirectory, Vector};
use parquet::basic::Compression;
use proptest::prelude::*;
use records::{Metadata, MetadataValue};
use tempfile::TempDir;

use crate::{
    golden::read,
    parquet::{A, B, C, warnings},
    parquet_files::{Row, as_duckdb, text, write_collections, write_embeddings},
    run_mode::count,
};

/// A metadata value and its JSON by Python.
fn metadata_value() -> impl Strategy<Value = (MetadataValue, String)> {
    prop_oneof![
        any::<i64>().prop_map(|number| (MetadataValue::Int(number), number.to_string())),
        any::<f64>().prop_map(|number| (MetadataValue::Float(number), python_float(number))),
        Just((MetadataValue::Float(f64::NAN), "NaN".to_owned())),
        any::<String>().prop_map(|text| {
            let json = serde_json::to_string(&text).unwrap();
            (MetadataValue::Text(text), json)
        }),
    ]
}

fn python_float(number: f64) -> String {
    match number {
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        number if number.is_nan() => "NaN".to_owned(),
        number => format!("{number:?}"),
    }
}

/// A generated record: its collection, vector, document and metadata.
type Generated = (usize, Vec<f32>, Option<String>, Option<BTreeMap<String, (MetadataValue, String)>>);

fn generated() -> impl Strategy<Value = Generated> {
    let vector = prop::collection::vec(any::<f32>(), 5);
    let metadata = prop::collection::btree_map(any::<String>(), metadata_value(), 0..4);
    (0..3_usize, vector, any::<Option<String>>(), prop::option::of(metadata))
}

fn row(number: usize, (collection, vector, document, metadata): &Generated) -> Row {
    let json = metadata.as_ref().map(|metadata| {
        let entries = metadata
            .iter()
            .map(|(key, (_, json))| format!("{}: {json}", serde_json::to_string(key).unwrap()));
        format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
    });
    let embedding: Vec<f64> = vector.iter().copied().map(f64::from).collect();
    Row {
        document: document.as_ref().and_then(|document| text(document)),
        metadata: json.as_deref().and_then(text),
        ..Row::new([A, B, C][*collection], &format!("id {number}"), &embedding)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: count(64, 2_000), ..ProptestConfig::default() })]
    #[test]
    fn written_records_are_read(
        generated in prop::collection::vec(generated(), 0..300),
        group_rows in 1..150_usize,
        has_dictionary: bool,
        is_compressed: bool,
        page_bytes in 16..4096_usize,
    ) {
        let temporary = TempDir::new().unwrap();
        let names = [(A, "a"), (B, "b"), (C, "c")];
        write_collections(temporary.path(), &names.map(|(id, name)| [text(id), text(name), text("null")]));
        let rows: Vec<Row> = generated.iter().enumerate().map(|(number, record)| row(number, record)).collect();
        let compression = if is_compressed { Compression::SNAPPY } else { Compression::UNCOMPRESSED };
        let properties = as_duckdb()
            .set_compression(compression)
            .set_dictionary_enabled(has_dictionary)
            .set_data_page_size_limit(page_bytes)
            .set_write_batch_size(7);
        write_embeddings(temporary.path(), rows.chunks(group_rows), properties);

        let directory = PersistDirectory::open(temporary.path()).unwrap();
        prop_assert_eq!(warnings(&directory), "");
        for (place, collection) in directory.collections().iter().enumerate() {
            let (records, _) = read(&directory, collection);
            let mut wanted = generated.iter().enumerate().filter(|(_, record)| record.0 == place);
            for record in records {
                let (number, (_, vector, document, metadata)) = wanted.next().unwrap();
                prop_assert_eq!(&record.id, &format!("id {number}"));
                prop_assert_eq!(&record.document, document);
                let metadata: Metadata = metadata
                    .iter()
                    .flatten()
                    .map(|(key, (value, _))| (key.clone(), value.clone()))
                    .collect();
                // NaN is not equal to itself, but its text is.
                prop_assert_eq!(format!("{:?}", record.metadata), format!("{metadata:?}"));
                let Vector::Present { embedding, .. } = &record.vector else { panic!("{record:?}") };
                let bits = |components: &[f32]| {
                    components.iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }).collect::<Vec<_>>()
                };
                prop_assert_eq!(bits(embedding.as_slice()), bits(vector));
            }
            prop_assert!(wanted.next().is_none());
        }
    }
}
