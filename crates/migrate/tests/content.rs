//! Content of records: vectors bit for bit, text byte for byte, metadata with every type.

use migrate::Outcome;
use records::{DistanceSpace, MetadataValue, Service};
use store::postgres::{Column, ColumnType, Table};

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    migrate, one, prepared, table, verified, verify,
};

#[tokio::test]
async fn vectors_arrive_bit_for_bit() {
    let (test_database, database) = prepared().await;
    let odd = vec![-0.0, f32::MIN_POSITIVE / 4.0, 1e18, -1.0 / 3.0, 0.1];
    let mut all = entries(0..20, 5);
    all.push(Entry::new("odd", odd));
    let directory = Directory::with("vectors", DistanceSpace::L2, &all);
    let report = migrate(&database, directory.path(), &table("vectors", DistanceSpace::L2, 5)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    for entry in &all {
        let select = format!("select embedding::real[] from vectors where source_id = '{}'", entry.id);
        let found: Vec<f32> = one(&test_database, &select).await;
        let bits = |vector: &[f32]| vector.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found), bits(entry.vector.as_ref().expect("it has one")), "{}", entry.id);
    }
}

#[tokio::test]
async fn text_arrives_byte_for_byte() {
    let (test_database, database) = prepared().await;
    let texts =
        ["", " ", "\u{feff}a\r\n\tb\\", "\u{1}\u{7f}\u{202e}e\u{301}", "\u{1F468}\u{200d}\u{1F469}'\""];
    let of_text = |(seed, text): (u16, &str)| Entry {
        document: Some(text.to_owned()),
        uri: Some(text.to_owned()),
        ..Entry::new(&seed.to_string(), vector(seed, 3))
    };
    let all: Vec<Entry> = (0..).zip(texts).map(of_text).collect();
    let directory = Directory::with("texts", DistanceSpace::L2, &all);
    let report = migrate(&database, directory.path(), &table("texts", DistanceSpace::L2, 3)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let found: Vec<String> =
        one(&test_database, "select array_agg(document order by source_id) from texts where uri = document")
            .await;
    assert_eq!(found, texts);
}

#[tokio::test]
async fn metadata_keeps_every_type() {
    use MetadataValue::{Bool, Float, Int, List, Text};
    let values = [
        ("big", Int((1 << 53) + 1), "9007199254740993"),
        ("least", Int(i64::MIN), "-9223372036854775808"),
        ("true", Bool(true), "true"),
        ("one", Int(1), "1"),
        ("one float", Float(1.0), "1.0"),
        ("1e16", Float(1e16), "10000000000000000.0"),
        ("tenth", Float(0.1), "0.1"),
        ("empty", Text(String::new()), "\"\""),
        ("looks like a number", Text("1".into()), "\"1\""),
        ("李雷 \"k\" \\", Text("\u{1F600}\n".into()), "\"😀\\n\""),
        ("list", List(vec![Int(1), Int(2)]), "[1, 2]"),
        ("floats", List(vec![Float(1.0), Float(0.5)]), "[1.0, 0.5]"),
        ("texts", List(vec![Text(String::new()), Text("a".into())]), "[\"\", \"a\"]"),
        ("truths", List(vec![Bool(true), Bool(false)]), "[true, false]"),
    ];
    let (test_database, database) = prepared().await;
    let entry = values
        .iter()
        .fold(Entry::new("a", vector(1, 3)), |entry, (key, value, _)| entry.with(key, value.clone()));
    let directory = Directory::with("types", DistanceSpace::L2, &[entry]);
    let report = migrate(&database, directory.path(), &table("types", DistanceSpace::L2, 3)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let mut connection = test_database.connection().await;
    for (key, _, expected) in &values {
        let found: String = sqlx::query_scalar("select (metadata -> $1)::text from types")
            .bind(key)
            .fetch_one(&mut connection)
            .await
            .expect("the key is there");
        assert_eq!(found, *expected, "{key}");
    }
    let keys: i64 = one(&test_database, "select count(*) from types, jsonb_object_keys(metadata)").await;
    assert_eq!(keys, 14);
}

#[tokio::test]
async fn missing_document_and_metadata_are_null_and_empty_document_is_empty() {
    let (test_database, database) = prepared().await;
    let missing = Entry { document: None, ..Entry::new("missing", vector(1, 3)) };
    let empty_text = Entry { document: Some(String::new()), ..Entry::new("empty", vector(2, 3)) };
    let empty_text = empty_text.with("k", MetadataValue::Int(1));
    let directory = Directory::with("documents", DistanceSpace::L2, &[missing, empty_text]);
    migrate(&database, directory.path(), &table("documents", DistanceSpace::L2, 3)).await;
    let found = "select array_agg(format('%s %s %s', source_id, document is null, metadata is null) order by source_id) from documents";
    let found: Vec<String> = one(&test_database, found).await;
    assert_eq!(found, ["empty f f", "missing t t"]);
}

#[tokio::test]
async fn keys_with_columns_stay_in_the_metadata() {
    use MetadataValue::{Bool, Float, Int, Text};
    let (test_database, database) = prepared().await;
    let column = |key: &str, column_type| Column {
        key: key.to_owned(),
        name: format!("{key}_column"),
        column_type,
        default: None,
    };
    let mut wide = table("lifted", DistanceSpace::L2, 3);
    wide.columns = vec![
        Column { name: "genre".to_owned(), ..Column::required("kind", "unknown") },
        column("n", ColumnType::BigInt),
        column("x", ColumnType::Double),
        column("b", ColumnType::Boolean),
        column("t", ColumnType::Timestamp),
    ];
    let full = Entry::new("full", vector(1, 3))
        .with("kind", Text(String::new()))
        .with("n", Int(i64::MAX))
        .with("x", Float(0.5))
        .with("b", Bool(false))
        .with("t", Text("2025-01-11 10:20:30".into()));
    let other = Entry::new("other types", vector(2, 3)).with("n", Text("many".into()));
    let directory = Directory::with("lifted", DistanceSpace::L2, &[full, other]);
    let report = migrate(&database, directory.path(), &wide).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let defaults: Vec<u64> = copied(&report).defaults.columns.iter().map(|(_, count)| *count).collect();
    assert_eq!(defaults, [1, 1, 0, 0, 0]);
    let rows: Vec<String> = one(
        &test_database,
        "select array_agg(concat_ws('|', genre, n_column, x_column, b_column, t_column, metadata) order by source_id) from lifted",
    )
    .await;
    assert_eq!(
        rows,
        [
            r#"|9223372036854775807|0.5|f|2025-01-11 10:20:30|{"b": false, "n": 9223372036854775807, "t": "2025-01-11 10:20:30", "x": 0.5, "kind": ""}"#,
            r#"unknown|{"n": "many"}"#
        ]
    );
}

#[tokio::test]
async fn record_without_the_service_keys_gets_defaults_that_are_counted() {
    let (test_database, database) = prepared().await;
    let directory = Directory::with("llm_outputs", DistanceSpace::Cosine, &entries(0..3, 384));
    let report = migrate(&database, directory.path(), &Table::of(Service::Judge)).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 3));
    assert_eq!(copied(&report).defaults.total(), 9);
    let rows = "select count(*) from llm_outputs where theme = 'unknown' and model_id = 'unknown' and query = '' and metadata is null";
    assert_eq!(one::<i64>(&test_database, rows).await, 3);
}

#[tokio::test]
async fn megabytes_of_document_category_and_metadata_are_storable_and_searchable() {
    let (test_database, database) = prepared().await;
    // Incompressible text.
    let noise: String = (0..3_000_000_u32)
        .map(|n| char::from(b'!' + u8::try_from(n.wrapping_mul(2_654_435_761) >> 26).expect("six bits")))
        .collect();
    let huge = Entry { document: Some(noise.clone()), ..Entry::new("huge", vector(1, 384)) }
        .with("theme", MetadataValue::Text(noise.clone()))
        .with("other", MetadataValue::Text(noise));
    let directory = Directory::with("queries", DistanceSpace::Cosine, &[huge]);
    let report = migrate(&database, directory.path(), &Table::of(Service::Query)).await;
    assert_eq!(report.outcome(), Outcome::Verified);
    let lengths: i64 =
        one(&test_database, "select length(query_text) + length(theme)::bigint from queries").await;
    assert_eq!(lengths, 6_000_000);
}

#[tokio::test]
async fn zero_vectors_are_migrated_and_counted() {
    let (_test_database, database) = prepared().await;
    let mut all = entries(0..5, 3);
    all.extend(["z1", "z2", "z3", "z4"].map(|id| Entry::new(id, vec![0.0, -0.0, 0.0])));
    let directory = Directory::with("zeros", DistanceSpace::Cosine, &all);
    let zeros = table("zeros", DistanceSpace::Cosine, 3);
    let report = migrate(&database, directory.path(), &zeros).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 9));
    assert_eq!(copied(&report).zero_vectors.count, 4);
    assert_eq!(copied(&report).zero_vectors.ids, ["z1", "z2", "z3"]);
    assert_eq!(verified(&report).searches.parity, Some(1.0));
    assert_eq!(verify(&database, directory.path(), &zeros).await.outcome(), Outcome::Verified);
}
