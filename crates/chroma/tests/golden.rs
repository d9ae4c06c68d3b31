//! In every version and state, the records that are read equal those that were written to Chroma.
//!
//! They are compared with the model (what the client wrote). Where Chroma itself lost something (FORMAT §10), they are
//! compared with what that version returned: floats one ulp off since 1.0, NaN, and updates of one-element indexes.

use std::{collections::BTreeSet, ops::ControlFlow, path::Path};

use chroma::{MissingReason, Origin, PersistDirectory, ReadReport, Record, Vector, WarningCode};
use expect_test::{Expect, expect};
use records::{DistanceSpace, MetadataValue};
use serde_json::Value;

use crate::fixtures::{ExpectedRecord, NOT_FINITE, expectations, unpack};

/// Tolerance for unit vector times length, by FORMAT §0.
const ROUNDED_ULP: i64 = 2;

/// Reads a complete collection and checks that its counts are consistent.
pub(crate) fn read(
    directory: &PersistDirectory,
    collection: &chroma::Collection,
) -> (Vec<Record>, ReadReport) {
    let mut records = Vec::new();
    let visit = |record| {
        records.push(record);
        ControlFlow::Continue(())
    };
    let report = directory.read(collection, visit).unwrap();
    assert!(report.complete);
    assert_eq!(report.records, records.len() as u64);
    assert_eq!(report.records, report.from_log + report.from_hnsw + report.salvaged + report.missing);
    assert_eq!(report.records, directory.record_count(collection).unwrap(), "{}", collection.name);
    (records, report)
}

/// Compares all scenarios of an archive, and summarizes the origins of the records and the warnings of each.
fn check(archive: &str, expected: Expect) {
    let Some(fixture) = unpack(archive) else { return };
    let mut scenarios: Vec<_> =
        std::fs::read_dir(fixture.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    scenarios.retain(|path| path.is_dir());
    scenarios.sort();
    let summaries: Vec<String> = scenarios.iter().map(|path| compare(path)).collect();
    expected.assert_eq(&summaries.join("\n"));
}

fn compare(path: &Path) -> String {
    let scenario = path.file_name().unwrap().to_str().unwrap();
    let beside = |suffix: &str| expectations(path.with_file_name(format!("{scenario}.{suffix}.jsonl")));
    let returned = beside("expected").unwrap_or_default();
    let written = beside("model");
    let wanted = written.as_ref().unwrap_or(&returned);

    let is_0_3 = !path.join("chroma.sqlite3").exists();
    let directory = PersistDirectory::open(path).unwrap();
    let mut codes: BTreeSet<_> = directory.warnings().iter().map(|warning| warning.code).collect();
    let mut found = BTreeSet::new();
    let (mut from_log, mut from_hnsw, mut salvaged, mut missing) = (0, 0, 0, 0);
    for collection in directory.collections() {
        let name = (collection.tenant.clone(), collection.database.clone(), collection.name.clone());
        let (records, report) = read(&directory, collection);
        codes.extend(collection.warnings.iter().chain(&report.warnings).map(|warning| warning.code));
        from_log += report.from_log;
        from_hnsw += report.from_hnsw;
        salvaged += report.salvaged;
        missing += report.missing;
        let ids: BTreeSet<_> = records.iter().map(|record| &record.id).collect();
        let wanted_ids: BTreeSet<_> =
            wanted.get(&name).map(|records| records.keys().collect()).unwrap_or_default();
        assert_eq!(ids, wanted_ids, "{scenario} {name:?}");
        for record in &records {
            let of = |expectations: &crate::fixtures::Expectations| -> Option<ExpectedRecord> {
                expectations.get(&name)?.get(&record.id).cloned()
            };
            compare_record(record, written.as_ref().and_then(of), of(&returned), collection.space, is_0_3);
        }
        found.insert(name);
    }
    let lost: Vec<_> =
        wanted.iter().filter(|(name, records)| !records.is_empty() && !found.contains(name)).collect();
    assert!(lost.is_empty(), "{scenario}: missing collections");
    let codes: Vec<_> = codes.into_iter().map(WarningCode::as_str).collect();
    let salvaged = if salvaged > 0 { format!("{salvaged} salvaged, ") } else { String::new() };
    format!("{scenario}: {from_log} log, {from_hnsw} hnsw, {salvaged}{missing} missing [{}]", codes.join(" "))
}

/// `walahead` has no model, so the values that Chroma returned, rounded under cosine, are used instead.
fn compare_record(
    record: &Record,
    written: Option<ExpectedRecord>,
    returned: Option<ExpectedRecord>,
    space: DistanceSpace,
    is_0_3: bool,
) {
    let has_model = written.is_some();
    let returned = returned.as_ref();
    let written = written.as_ref().or(returned).unwrap();
    assert!(record.problems.is_empty(), "{record:?}");
    // Chroma 0.3 stored no times, and all numbers.
    assert_eq!(record.created_at.is_none(), is_0_3, "{record:?}");
    assert_eq!(record.document, written.document, "{record:?}");
    assert_eq!(record.uri, written.uri, "{record:?}");
    for (key, value) in &record.metadata {
        let chroma_says = returned.and_then(|returned| returned.metadata.get(key));
        let is_as_written = written.metadata.get(key).is_some_and(|written| is_value(value, written));
        let is_one_ulp_off = match (value, written.metadata.get(key).and_then(Value::as_f64)) {
            (MetadataValue::Float(found), Some(written)) => found.to_bits().abs_diff(written.to_bits()) <= 1,
            _ => false,
        };
        let is_as_returned = is_one_ulp_off && chroma_says.is_some_and(|returned| is_value(value, returned));
        assert!(is_as_written || is_as_returned, "`{key}` of {record:?}");
    }
    for (key, value) in &written.metadata {
        let may_be_lost = !is_0_3 && value.as_str().is_some_and(|text| NOT_FINITE.contains(&text));
        assert!(record.metadata.contains_key(key) || may_be_lost || value.is_null(), "`{key}` of {record:?}");
    }
    let (embedding, origin) = match &record.vector {
        Vector::Present { embedding, origin } => (embedding, origin),
        Vector::Missing { reason: MissingReason::IndexLost } => return,
        Vector::Missing { .. } => return assert_eq!(written.embedding, None, "{record:?}"),
    };
    let written = written.embedding.as_deref().unwrap();
    let returned = returned.and_then(|returned| returned.embedding.as_deref());
    let bits = |components: &[f32]| components.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let is_as_returned = returned.is_some_and(|returned| bits(returned) == bits(embedding.as_slice()));
    let is_close = embedding.as_slice().iter().zip(written).all(|(a, b)| ulps(*a, *b) <= ROUNDED_ULP);
    match origin {
        // As precise as its index.
        Origin::Salvaged => assert!(is_close, "{record:?}, written {written:?}"),
        Origin::Log if has_model => assert_eq!(bits(embedding.as_slice()), bits(written), "{record:?}"),
        Origin::Log => assert!(is_close, "{record:?}"),
        // An index of one element loses its updates (FORMAT §10.1).
        Origin::Hnsw => {
            assert_ne!(space, DistanceSpace::Cosine);
            assert!(
                bits(embedding.as_slice()) == bits(written) || (record.id == "a" && is_as_returned),
                "{record:?}"
            );
        }
        Origin::HnswRounded => {
            assert_eq!(space, DistanceSpace::Cosine);
            assert!(is_as_returned || returned.is_none(), "{record:?}");
            assert!(is_close || record.id == "a", "{record:?}, written {written:?}");
        }
    }
}

/// Distance of two floats in units in the last place.
pub(crate) fn ulps(a: f32, b: f32) -> i64 {
    let order = |x: f32| {
        let bits = i64::from(x.to_bits() & 0x7fff_ffff);
        if x.is_sign_negative() { -bits } else { bits }
    };
    (order(a) - order(b)).abs()
}

/// Whether value and type are equal: 1 is not 1.0, and −0.0 may be read back as 0.0.
fn is_value(found: &MetadataValue, wanted: &Value) -> bool {
    match (found, wanted) {
        (MetadataValue::Bool(found), Value::Bool(wanted)) => found == wanted,
        (MetadataValue::Int(found), Value::Number(wanted)) => wanted.as_i64() == Some(*found),
        (MetadataValue::Float(found), Value::Number(wanted)) => {
            wanted.is_f64()
                && wanted.as_f64().is_some_and(|wanted| {
                    [wanted, wanted + 0.0].iter().any(|wanted| wanted.to_bits() == found.to_bits())
                })
        }
        (MetadataValue::Float(found), Value::String(wanted)) => {
            (found.is_nan() && wanted == NOT_FINITE[0])
                || (*found == f64::INFINITY && wanted == NOT_FINITE[1])
                || (*found == f64::NEG_INFINITY && wanted == NOT_FINITE[2])
        }
        (MetadataValue::Text(found), Value::String(wanted)) => found == wanted,
        (MetadataValue::List(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| is_value(found, wanted))
        }
        _ => false,
    }
}

#[test]
fn small_directories() {
    check("small-0.5.23", expect!["small: 27 log, 48 hnsw, 0 missing []"]);
    check("small-1.5.9", expect!["small: 27 log, 48 hnsw, 0 missing []"]);
}

#[test]
fn chroma_0_3_29() {
    check(
        "0.3.29",
        expect![[r#"
        basic: 339 log, 0 hnsw, 0 missing []
        live: 39 log, 0 hnsw, 0 missing []"#]],
    );
    check(
        "0.3.29-thresh",
        expect![[r#"
        onecall: 1300 log, 0 hnsw, 0 missing []
        thresh: 1327 log, 0 hnsw, 0 missing []"#]],
    );
    check("0.3.29-big", expect!["big: 5157 log, 0 hnsw, 0 missing []"]);
}

#[test]
fn chroma_0_4_24() {
    check(
        "0.4.24",
        expect![[r#"
            basic: 387 log, 0 hnsw, 0 missing [metadata_value_lost]
            halfcreated: 5 log, 0 hnsw, 0 missing [segment_missing]
            live: 39 log, 0 hnsw, 0 missing []
            single: 2 log, 0 hnsw, 0 missing []"#]],
    );
    check(
        "0.4.24-thresh",
        expect![[r#"
            onecall: 1300 log, 0 hnsw, 0 missing []
            thresh: 1327 log, 0 hnsw, 0 missing []"#]],
    );
}

#[test]
fn chroma_0_5_0() {
    check(
        "0.5.0",
        expect![[r#"
            basic: 387 log, 0 hnsw, 0 missing [metadata_value_lost]
            halfcreated: 5 log, 0 hnsw, 0 missing [segment_missing]
            live: 39 log, 0 hnsw, 0 missing []
            single: 2 log, 0 hnsw, 0 missing []"#]],
    );
    check(
        "0.5.0-thresh",
        expect![[r#"
            onecall: 1300 log, 0 hnsw, 0 missing []
            thresh: 1327 log, 0 hnsw, 0 missing []"#]],
    );
}

#[test]
fn chroma_0_5_23() {
    check(
        "0.5.23",
        expect![[r#"
            basic: 174 log, 213 hnsw, 0 missing [orphan_segment_directories orphan_records metadata_value_lost]
            halfcreated: 5 log, 0 hnsw, 0 missing [segment_missing]
            live: 22 log, 17 hnsw, 0 missing []
            single: 2 log, 0 hnsw, 0 missing []"#]],
    );
    check(
        "0.5.23-thresh",
        expect![[r#"
            onecall: 301 log, 999 hnsw, 0 missing []
            thresh: 330 log, 997 hnsw, 0 missing []"#]],
    );
}

#[test]
fn chroma_0_6_3() {
    check(
        "0.6.3",
        expect![[r#"
            basic: 174 log, 213 hnsw, 0 missing [orphan_segment_directories orphan_records metadata_value_lost]
            halfcreated: 5 log, 0 hnsw, 0 missing [segment_missing]
            hotjournal: 22 log, 17 hnsw, 0 missing [journal_recovered]
            live: 22 log, 17 hnsw, 0 missing []
            single: 2 log, 0 hnsw, 0 missing []"#]],
    );
    check(
        "0.6.3-thresh",
        expect![[r#"
            onecall: 301 log, 999 hnsw, 0 missing []
            thresh: 330 log, 997 hnsw, 0 missing []"#]],
    );
}

#[test]
fn chroma_1_0_20() {
    check(
        "1.0.20",
        expect![[r#"
            basic: 203 log, 279 hnsw, 0 missing [orphan_segment_directories space_conflict]
            halfcreated: 5 log, 0 hnsw, 0 missing []
            live: 21 log, 18 hnsw, 0 missing []
            single: 2 log, 0 hnsw, 0 missing []"#]],
    );
    check(
        "1.0.20-thresh",
        expect![[r#"
            onecall: 1 log, 1299 hnsw, 0 missing []
            thresh: 281 log, 1046 hnsw, 0 missing []"#]],
    );
}

#[test]
fn chroma_1_5_9() {
    check(
        "1.5.9",
        expect![[r#"
            basic: 217 log, 279 hnsw, 0 missing [orphan_segment_directories space_conflict]
            halfcreated: 5 log, 0 hnsw, 0 missing []
            hotjournal: 21 log, 18 hnsw, 0 missing [journal_recovered]
            live: 21 log, 18 hnsw, 0 missing []
            single: 2 log, 0 hnsw, 0 missing []
            walahead: 26 log, 14 hnsw, 0 missing []"#]],
    );
    check(
        "1.5.9-thresh",
        expect![[r#"
            onecall: 1 log, 1299 hnsw, 0 missing []
            thresh: 281 log, 1046 hnsw, 0 missing []
            walahead: 26 log, 14 hnsw, 0 missing []"#]],
    );
}

#[test]
fn directories_of_several_versions_and_sessions() {
    check(
        "cross",
        expect![[r#"
            0.4.24_0.4.24: 130 log, 0 hnsw, 0 missing []
            0.4.24_0.5.23_1.5.9: 194 log, 0 hnsw, 0 missing []
            0.5.0_0.6.3: 130 log, 0 hnsw, 0 missing []
            0.6.3_0.6.3_0.6.3: 8 log, 186 hnsw, 0 missing []
            0.6.3_1.0.20_1.5.9: 2 log, 192 hnsw, 0 missing []
            1.5.9_1.5.9_1.5.9: 2 log, 192 hnsw, 0 missing []
            vacuumed_by_0.6.3: 16 log, 114 hnsw, 0 missing []
            vacuumed_by_1.5.9: 4 log, 190 hnsw, 0 missing []"#]],
    );
}

#[test]
fn thousands_of_records() {
    check("0.4.24-big", expect!["big: 5157 log, 0 hnsw, 0 missing []"]);
    check("0.5.23-big", expect!["big: 218 log, 4939 hnsw, 0 missing []"]);
    check("1.0.20-big", expect!["big: 218 log, 4939 hnsw, 0 missing []"]);
    check(
        "1.5.9-big",
        expect![[r#"
            big: 218 log, 4939 hnsw, 0 missing []
            walahead: 26 log, 14 hnsw, 0 missing []"#]],
    );
}

/// Damaged copies of `thresh`: every record is read, and each vector that is read is correct.
#[test]
fn damaged_indexes() {
    check(
        "corrupt",
        expect![[r#"
            0.4.24_empty_pickle: 1327 log, 0 hnsw, 0 missing [index_lost]
            0.4.24_foreign_pickle: 1327 log, 0 hnsw, 0 missing [index_lost]
            0.4.24_huge_linklists: 1327 log, 0 hnsw, 0 missing []
            0.4.24_no_pickle: 1327 log, 0 hnsw, 0 missing []
            0.4.24_no_segment_dir: 1327 log, 0 hnsw, 0 missing []
            0.4.24_trunc_level0: 1327 log, 0 hnsw, 0 missing [index_truncated]
            1.5.9_empty_pickle: 281 log, 0 hnsw, 1046 salvaged, 0 missing [index_salvaged]
            1.5.9_foreign_pickle: 281 log, 0 hnsw, 1046 salvaged, 0 missing [index_salvaged]
            1.5.9_huge_linklists: 281 log, 1046 hnsw, 0 missing []
            1.5.9_no_pickle: 281 log, 0 hnsw, 1046 salvaged, 0 missing [index_salvaged]
            1.5.9_no_segment_dir: 281 log, 0 hnsw, 1046 missing [index_lost vector_missing]
            1.5.9_trunc_level0: 281 log, 348 hnsw, 698 missing [index_truncated vector_missing]"#]],
    );
}

/// The only real directory: rbownes/Argus `data/query_storage`.
#[test]
fn real_query_storage() {
    let Some(fixture) = unpack("panopticon-query-storage") else { return };
    let directory = PersistDirectory::open(&fixture.path().join("query_storage")).unwrap();
    let [collection] = directory.collections() else { panic!("{directory:?}") };
    assert_eq!(collection.space, DistanceSpace::Cosine);
    assert_eq!((collection.name.as_str(), collection.dimension), ("queries", Some(384)));
    assert_eq!((directory.warnings(), collection.warnings.as_slice()), (&[][..], &[][..]));
    let (records, report) = read(&directory, collection);
    assert_eq!(report, ReadReport { records: 2, from_log: 2, complete: true, ..ReadReport::default() });
    for record in records {
        assert_eq!(
            record.metadata.keys().collect::<Vec<_>>(),
            ["difficulty", "domain", "theme", "timestamp"]
        );
        assert!(record.document.is_some_and(|document| !document.is_empty()));
        let Vector::Present { embedding, origin: Origin::Log } = record.vector else {
            panic!("{:?}", record.vector)
        };
        let norm: f32 = embedding.as_slice().iter().map(|x| x * x).sum();
        assert_eq!(embedding.dimension(), 384);
        assert!((norm - 1.0).abs() < 1e-5);
    }
}
