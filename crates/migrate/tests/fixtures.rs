//! Every collection of every fixture, of all versions and states of Chroma including damaged ones, is migrated into
//! its own table and compared.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use expect_test::{Expect, expect};
use migrate::{CollectionReport, MigrateOptions, Outcome, RejectedRecords, SourceCollection, Transfer};
use records::MODEL_DIMENSION;
use store::{
    chroma::Source,
    postgres::{Database, Presence, Table},
};
use test_support::{TestDatabase, fixture};

/// The totals of an archive.
#[derive(Debug, Default)]
struct Total {
    directories: u64,
    unreadable: Vec<String>,
    collections: u64,
    empty: u64,
    records: u64,
    rows: u64,
    /// By reason: the count and the first record.
    rejects: BTreeMap<&'static str, (u64, String)>,
}

/// Migrates all collections of all directories of `archive`.
async fn check(archive: &str, expected: Expect) {
    let Some(folder) = fixture(archive) else { return };
    let mut directories: Vec<PathBuf> = fs::read_dir(folder.path())
        .expect("the folder lists")
        .map(|entry| entry.expect("the entry reads").path())
        .filter(|path| path.is_dir())
        .collect();
    directories.sort();
    let mut total = Total::default();
    for directory in directories {
        total.directories += 1;
        migrate_directory(&directory, &mut total).await;
    }
    let Total { directories, unreadable, collections, empty, records, rows, rejects } = total;
    let found = format!(
        "{directories} directories, {} unreadable; {collections} collections, {empty} of them without records and dimension; {records} records, {rows} rows, rejects {rejects:?}",
        unreadable.len()
    );
    expected.assert_eq(&found);
}

async fn migrate_directory(directory: &Path, total: &mut Total) {
    let name = directory.file_name().and_then(|name| name.to_str()).expect("a plain name");
    let collections = match Source::open(directory) {
        Ok(source) => source.collections().to_vec(),
        Err(error) => return total.unreadable.push(format!("{name}: {error}")),
    };
    let test_database = TestDatabase::create().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let options =
        MigrateOptions { rejected_records: RejectedRecords::Quarantine, ..MigrateOptions::default() };
    let nobody: migrate::Observer = Arc::new(|_| {});
    for (number, collection) in collections.into_iter().enumerate() {
        let table = Table {
            name: format!("collection_{number}"),
            text_column: "document".to_owned(),
            text: Presence::Optional,
            columns: Vec::new(),
            dimension: collection.dimension.unwrap_or(MODEL_DIMENSION),
            space: collection.space,
            shared: None,
        };
        let source = Source::open(directory).expect("it opened before");
        let transfers = vec![Transfer { source: SourceCollection::new(source, collection), table }];
        let report = Box::pin(migrate::migrate(&database, transfers, &options, &nobody)).await;
        let report = report.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        check_collection(name, &report.collections[0], total);
    }
    database.close().await;
}

/// Checks that migrated records are equal, and that with the rejects they are complete.
fn check_collection(directory: &str, collection: &CollectionReport, total: &mut Total) {
    let at = format!("{directory}, {}", collection.origin.collection);
    total.collections += 1;
    let copied = collection.copied.as_ref().expect("it was copied");
    total.records += copied.source_records;
    for reject in &copied.rejects {
        let first = || (0, format!("{} {}", collection.origin.collection, reject.source_id));
        total.rejects.entry(reject.reason.as_str()).or_insert_with(first).0 += 1;
    }
    let outcome = collection.outcome();
    let Some(verification) = &collection.verification else {
        assert_eq!((outcome, copied.source_records), (Outcome::NothingToMigrate, 0), "{at}");
        total.empty += 1;
        return;
    };
    let expected = if copied.rejects.is_empty() { Outcome::Verified } else { Outcome::Rejected };
    assert_eq!(outcome, expected, "{at}: {verification:?}");
    assert_eq!(copied.written + copied.rejects.len() as u64, copied.source_records, "{at}");
    assert_eq!((verification.matched, verification.rows), (copied.written, copied.written), "{at}");
    assert_eq!(verification.digest_source, verification.digest_target, "{at}");
    assert!(verification.searches.parity.is_none_or(|parity| parity == 1.0), "{at}: {verification:?}");
    total.rows += verification.rows;
}

/// One test per archive, so that they run in parallel.
macro_rules! archives {
    ($($test:ident: $archive:literal => $expected:expr;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                check($archive, $expected).await;
            }
        )*
    };
}

archives! {
    collections_of_0_3_29_arrive: "0.3.29" => expect![[r#"2 directories, 0 unreadable; 17 collections, 3 of them without records and dimension; 378 records, 375 rows, rejects {"negative_zero": (1, "meta_types m3"), "non_finite_metadata": (2, "meta_types nan")}"#]];
    collections_of_0_3_29_around_the_threshold_arrive: "0.3.29-thresh" => expect!["2 directories, 0 unreadable; 2 collections, 0 of them without records and dimension; 2627 records, 2627 rows, rejects {}"];
    big_collections_of_0_3_29_arrive: "0.3.29-big" => expect!["1 directories, 0 unreadable; 1 collections, 0 of them without records and dimension; 5157 records, 5157 rows, rejects {}"];
    collections_of_0_4_24_arrive: "0.4.24" => expect![[r#"4 directories, 0 unreadable; 25 collections, 4 of them without records and dimension; 433 records, 432 rows, rejects {"non_finite_metadata": (1, "meta_types inf")}"#]];
    collections_of_0_4_24_around_the_threshold_arrive: "0.4.24-thresh" => expect!["2 directories, 0 unreadable; 2 collections, 0 of them without records and dimension; 2627 records, 2627 rows, rejects {}"];
    big_collections_of_0_4_24_arrive: "0.4.24-big" => expect!["1 directories, 0 unreadable; 1 collections, 0 of them without records and dimension; 5157 records, 5157 rows, rejects {}"];
    collections_of_0_5_0_arrive: "0.5.0" => expect![[r#"4 directories, 0 unreadable; 25 collections, 4 of them without records and dimension; 433 records, 432 rows, rejects {"non_finite_metadata": (1, "meta_types inf")}"#]];
    collections_of_0_5_0_around_the_threshold_arrive: "0.5.0-thresh" => expect!["2 directories, 0 unreadable; 2 collections, 0 of them without records and dimension; 2627 records, 2627 rows, rejects {}"];
    collections_of_0_5_23_arrive: "0.5.23" => expect![[r#"4 directories, 0 unreadable; 25 collections, 4 of them without records and dimension; 433 records, 432 rows, rejects {"non_finite_metadata": (1, "meta_types inf")}"#]];
    collections_of_our_own_0_5_23_arrive: "small-0.5.23" => expect!["1 directories, 0 unreadable; 7 collections, 2 of them without records and dimension; 75 records, 75 rows, rejects {}"];
    collections_of_our_own_1_5_9_arrive: "small-1.5.9" => expect!["1 directories, 0 unreadable; 7 collections, 2 of them without records and dimension; 75 records, 75 rows, rejects {}"];
    collections_of_0_5_23_around_the_threshold_arrive: "0.5.23-thresh" => expect!["2 directories, 0 unreadable; 2 collections, 0 of them without records and dimension; 2627 records, 2627 rows, rejects {}"];
    big_collections_of_0_5_23_arrive: "0.5.23-big" => expect!["1 directories, 0 unreadable; 1 collections, 0 of them without records and dimension; 5157 records, 5157 rows, rejects {}"];
    collections_of_0_6_3_arrive: "0.6.3" => expect![[r#"5 directories, 0 unreadable; 27 collections, 4 of them without records and dimension; 472 records, 471 rows, rejects {"non_finite_metadata": (1, "meta_types inf")}"#]];
    collections_of_0_6_3_around_the_threshold_arrive: "0.6.3-thresh" => expect!["2 directories, 0 unreadable; 2 collections, 0 of them without records and dimension; 2627 records, 2627 rows, rejects {}"];
    collections_of_1_0_20_arrive: "1.0.20" => expect!["4 directories, 0 unreadable; 27 collections, 3 of them without records and dimension; 528 records, 528 rows, rejects {}"];
    collections_of_1_0_20_around_the_threshold_arrive: "1.0.20-thresh" => expect!["2 directories, 0 unreadable; 2 collections, 0 of them without records and dimension; 2627 records, 2627 rows, rejects {}"];
    big_collections_of_1_0_20_arrive: "1.0.20-big" => expect!["1 directories, 0 unreadable; 1 collections, 0 of them without records and dimension; 5157 records, 5157 rows, rejects {}"];
    collections_of_1_5_9_arrive: "1.5.9" => expect!["6 directories, 0 unreadable; 32 collections, 3 of them without records and dimension; 621 records, 621 rows, rejects {}"];
    collections_of_1_5_9_around_the_threshold_arrive: "1.5.9-thresh" => expect!["3 directories, 0 unreadable; 4 collections, 0 of them without records and dimension; 2667 records, 2667 rows, rejects {}"];
    big_collections_of_1_5_9_arrive: "1.5.9-big" => expect!["2 directories, 0 unreadable; 3 collections, 0 of them without records and dimension; 5197 records, 5197 rows, rejects {}"];
    collections_that_other_versions_opened_arrive: "cross" => expect!["8 directories, 0 unreadable; 16 collections, 0 of them without records and dimension; 1360 records, 1360 rows, rejects {}"];
    what_is_left_of_damaged_collections_arrives: "corrupt" => expect![[r#"12 directories, 0 unreadable; 12 collections, 0 of them without records and dimension; 15924 records, 14180 rows, rejects {"missing_embedding": (1744, "thresh_cos id2")}"#]];
    real_directory_arrives: "panopticon-query-storage" => expect!["1 directories, 0 unreadable; 1 collections, 0 of them without records and dimension; 2 records, 2 rows, rejects {}"];
}
