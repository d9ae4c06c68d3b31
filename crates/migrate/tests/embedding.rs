//! Existing vectors are kept, and records without one are embedded on request.

use std::sync::{Arc, Mutex};

use migrate::{Embed, Error, MigrateOptions, Outcome, VerifyOptions};
use records::{DistanceSpace, Embedding};

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    migrate_with, one, only, prepared, silent, table, transfer, try_migrate, verified,
};

/// An embedder with three dimensions, and the texts passed to it.
fn embedder() -> (Embed, Arc<Mutex<Vec<String>>>) {
    // Shared between the embedder and the test.
    let texts = Arc::new(Mutex::new(Vec::new()));
    let seen = texts.clone();
    let embed = move |text: &str| {
        seen.lock().expect("no holder panics").push(text.to_owned());
        Ok(Embedding::from(vec![1.0, 2.0, text.len() as f32]))
    };
    (Arc::new(embed), texts)
}

fn directory() -> Directory {
    let mut all = entries(0..5, 3);
    all.push(Entry { vector: None, ..Entry::new("text alone", Vec::new()) });
    Directory::with("records", DistanceSpace::L2, &all)
}

#[tokio::test]
async fn only_records_without_a_vector_are_embedded_once() {
    let (test_database, database) = prepared().await;
    let (directory, records) = (directory(), table("records", DistanceSpace::L2, 3));
    let (embed, texts) = embedder();
    let options = MigrateOptions { embed: Some(embed), ..MigrateOptions::default() };
    let report = migrate_with(&database, directory.path(), &records, &options).await;
    assert_eq!((report.outcome(), copied(&report).written), (Outcome::Verified, 6));
    assert_eq!(copied(&report).embedded, 1);
    assert_eq!(verified(&report).digest_source, verified(&report).digest_target);
    assert_eq!(*texts.lock().expect("no holder panics"), ["text of text alone"]);
    let made: Vec<f32> =
        one(&test_database, "select embedding::real[] from records where source_id = 'text alone'").await;
    assert_eq!(made, [1.0, 2.0, 18.0]);

    let again = migrate_with(&database, directory.path(), &records, &options).await;
    assert_eq!((copied(&again).written, copied(&again).unchanged), (0, 6));
    assert_eq!(texts.lock().expect("no holder panics").len(), 1, "not embedded again");

    let verify = async |embedded_missing| {
        let transfers = vec![transfer(directory.path(), &records)];
        let options = VerifyOptions { embedded_missing };
        only(migrate::verify(&database, transfers, options, &silent()).await.expect("the comparison runs"))
    };
    assert_eq!(verify(true).await.outcome(), Outcome::Verified);
    let without = verify(false).await;
    assert_eq!(without.outcome(), Outcome::Rejected);
    assert_eq!(verified(&without).matched, 5);
}

#[tokio::test]
async fn later_vector_of_the_source_replaces_the_embedded_one() {
    let (test_database, database) = prepared().await;
    let (directory, records) = (directory(), table("records", DistanceSpace::L2, 3));
    let (embed, texts) = embedder();
    let options = MigrateOptions { embed: Some(embed), ..MigrateOptions::default() };
    migrate_with(&database, directory.path(), &records, &options).await;
    directory.put("records", &[Entry::new("text alone", vector(9, 3))]);
    let report = migrate_with(&database, directory.path(), &records, &options).await;
    assert_eq!((report.outcome(), copied(&report).updated), (Outcome::Verified, 1));
    assert_eq!(texts.lock().expect("no holder panics").len(), 1);
    let found: Vec<f32> =
        one(&test_database, "select embedding::real[] from records where source_id = 'text alone'").await;
    assert_eq!(found, vector(9, 3));
}

#[tokio::test]
async fn failing_embedder_or_wrong_dimension_stops_the_migration_and_names_the_record() {
    let (_test_database, database) = prepared().await;
    let (directory, records) = (directory(), table("records", DistanceSpace::L2, 3));
    let failing: Embed = Arc::new(|_| Err("no memory".into()));
    let narrow: Embed = Arc::new(|_| Ok(Embedding::from(vec![1.0])));
    for embed in [failing, narrow] {
        let options = MigrateOptions { embed: Some(embed), ..MigrateOptions::default() };
        let error = try_migrate(&database, directory.path(), &records, &options).await;
        let error = error.expect_err("the text cannot be embedded");
        assert!(matches!(&error, Error::Embed { source_id, .. } if source_id == "text alone"), "{error}");
    }
    let options = MigrateOptions { embed: Some(embedder().0), ..MigrateOptions::default() };
    let report = migrate_with(&database, directory.path(), &records, &options).await;
    assert_eq!(report.outcome(), Outcome::Verified, "the same command resumes");
}
