//! Copying from memory and reading the source again give the same result.

use std::sync::{Arc, Mutex};

use migrate::{CollectionReport, Event, MigrateOptions, Observer, Phase, Report, StaleRows};
use records::{DistanceSpace, MetadataValue};
use store::postgres::Database;
use test_support::TestDatabase;

use crate::{
    copied,
    directory::{Directory, Entry, entries, vector},
    one, only, prepared, quarantining, table, transfer, verified,
};

/// Too little for two batches of these records.
const LITTLE: usize = 2_000;

/// The total announced by each plan and copy phase.
type Totals = Vec<(Phase, u64)>;

fn options(spool_bytes: usize) -> MigrateOptions {
    MigrateOptions { stale_rows: StaleRows::Delete, batch_rows: 4, spool_bytes, ..quarantining() }
}

async fn migrate(
    database: &Database,
    directories: &[(&Directory, &str)],
    options: &MigrateOptions,
) -> (Report, Totals) {
    // Shared between the observer, which is called on any thread, and the test.
    let seen = Arc::new(Mutex::new(Totals::new()));
    let record = seen.clone();
    let observer: Observer = Arc::new(move |event| {
        if let Event::Phase { phase: phase @ (Phase::Plan | Phase::Copy), total, .. } = event {
            record.lock().expect("no holder panics").push((phase, total));
        }
    });
    let transfer = |(directory, name): &(&Directory, &str)| {
        transfer(directory.path(), &table(name, DistanceSpace::L2, 3))
    };
    let transfers = directories.iter().map(transfer).collect();
    let report = migrate::migrate(database, transfers, options, &observer).await.expect("the migration runs");
    let totals = std::mem::take(&mut *seen.lock().expect("no holder panics"));
    (report, totals)
}

/// Everything that a run leaves except its id: rows, rejects, and replaced rows.
async fn left_by(test_database: &TestDatabase) -> String {
    one(
        test_database,
        "select concat_ws(E'\n',
            (select string_agg((to_jsonb(r) - array['migration_run', 'position'])::text, ' ' order by id) from records r),
            (select string_agg(concat_ws('|', source_id, reason, record), ' ' order by source_id)
                from migration_rejects),
            (select string_agg(concat_ws('|', change, m.row - array['migration_run', 'position']), ' ' order by m.id)
                from migration_replaced m))",
    )
    .await
}

fn counts(report: &CollectionReport) -> [u64; 6] {
    let copied = copied(report);
    [
        copied.source_records,
        copied.written,
        copied.updated,
        copied.unchanged,
        copied.deleted,
        copied.rejects.len() as u64,
    ]
}

#[tokio::test]
async fn copy_from_memory_and_copy_from_the_source_give_the_same_result() {
    let directory = Directory::with("records", DistanceSpace::L2, &entries(0..20, 3));
    let reject = Entry::new("reject", vector(30, 3)).with("k", MetadataValue::Text("\0".into()));
    directory.put("records", &[reject]);
    let databases = [(prepared().await, 1 << 20), (prepared().await, LITTLE)];
    for ((_, database), spool_bytes) in &databases {
        let (report, totals) = migrate(database, &[(&directory, "records")], &options(*spool_bytes)).await;
        assert_eq!(counts(&only(report)), [21, 20, 0, 0, 0, 1], "{spool_bytes}");
        assert_eq!(totals, [(Phase::Plan, 21), (Phase::Copy, 21)], "{spool_bytes}");
    }
    directory.remove("records", "record 19");
    let changed = Entry { document: Some("other".into()), ..Entry::new("record 0", vector(0, 3)) };
    directory.put("records", &[changed]);
    directory.put("records", &entries(40..60, 3));
    let mut left = Vec::new();
    for ((test_database, database), spool_bytes) in &databases {
        let (report, totals) = migrate(database, &[(&directory, "records")], &options(*spool_bytes)).await;
        let report = only(report);
        assert_eq!(counts(&report), [40, 20, 1, 18, 1, 1], "{spool_bytes}");
        // Memory holds only the rows to write; another read covers all records.
        let copied_records = if *spool_bytes == LITTLE { 40 } else { 21 };
        assert_eq!(totals, [(Phase::Plan, 40), (Phase::Copy, copied_records)], "{spool_bytes}");
        assert_eq!(verified(&report).digest_source, verified(&report).digest_target, "{spool_bytes}");
        left.push((left_by(test_database).await, copied(&report).digest_source.clone()));
    }
    assert_eq!(left[0], left[1]);
}

#[tokio::test]
async fn collections_of_one_run_share_the_memory() {
    let (_test_database, database) = prepared().await;
    let first = Directory::with("first", DistanceSpace::L2, &entries(0..20, 3));
    let second = Directory::with("second", DistanceSpace::L2, &entries(20..40, 3));
    let directories = [(&first, "first"), (&second, "second")];
    migrate(&database, &directories, &options(0)).await;
    for (directory, name) in directories {
        directory.put(name, &entries(50..60, 3));
    }
    // Memory for the rows of only one of them.
    let (report, totals) = migrate(&database, &directories, &options(3_000)).await;
    assert!(report.collections.iter().all(|report| counts(report) == [30, 10, 0, 20, 0, 0]));
    assert_eq!(totals, [(Phase::Plan, 30), (Phase::Plan, 30), (Phase::Copy, 10), (Phase::Copy, 30)]);
}
