//! SIGKILL at random moments.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use test_support::{TestDatabase, count};

use super::{Held, Migration, Random, age, empty, finish};

/// Kills that hit a running migration: for each change, and at night.
const KILLS: (usize, usize) = (12, 50);

/// Kills after which the next stage of the test begins, so that all steps are hit.
const STAGE_KILLS: usize = 4;

const RECORDS: (u64, u64) = (2_000, 10_000);

#[tokio::test]
async fn kills_at_random_moments_neither_lose_nor_duplicate_records() {
    let mut random = Random::seeded();
    let database = TestDatabase::create().await;
    let mut migration = Migration::new(&database.url(), count(RECORDS.0, RECORDS.1), "100");
    let started = Instant::now();
    let ended = migration.run().await;
    let whole = started.elapsed();
    assert_eq!(ended.code, 0, "{ended:?}");
    empty(&database).await;
    // A resumed run is shorter.
    let latest = whole / 2;

    let (mut kills, mut completed) = (0, 0);
    let mut phases: BTreeMap<String, usize> = BTreeMap::new();
    while kills < count(KILLS.0, KILLS.1) {
        let mut child = migration.start();
        let moment = Duration::from_micros(random.below(latest.as_micros() as u64));
        if tokio::time::timeout(moment, child.wait()).await.is_err() {
            child.kill().await.expect("it is ours");
            kills += 1;
            let held = migration.held().await;
            assert_eq!(held.rows, held.noted, "rows and progress are committed together");
            assert_eq!(held.rows, held.distinct_source_ids);
            *phases.entry(phase(&held)).or_default() += 1;
            // The next run starts from an empty database, or has changes to copy.
            if kills % (2 * STAGE_KILLS) == 0 {
                empty(&database).await;
            } else if kills % STAGE_KILLS == 0 {
                let ended = migration.run().await;
                assert_eq!(ended.code, 0, "{ended:?}");
                migration.change_source();
            }
            continue;
        }
        // It has verified both sides, and so does the end of this test.
        let ended = finish(child).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        completed += 1;
        migration.change_source();
    }
    migration.finishes_complete().await;
    println!("{kills} kills, {completed} runs completed between them ({whole:?} undisturbed): {phases:?}");
    empty(&database).await;
}

/// The status of the last run.
fn phase(held: &Held) -> String {
    match held.statuses.split_last() {
        None => "nothing started".to_owned(),
        Some((last, before)) if last == "complete" => format!("run {} complete", before.len() + 1),
        Some((last, before)) => format!("run {} {last}", before.len() + 1),
    }
}

impl Migration {
    /// Changes the texts of a third of the records, and deletes some others.
    fn change_source(&mut self) {
        let directory = self.directory();
        let path = directory.join("chroma.sqlite3");
        let chroma = rusqlite::Connection::open(path).expect("the directory opens");
        let gone: i64 = chroma
            .query_row("select count(*) from embeddings where id % 40 = 1", [], |row| row.get(0))
            .expect("records can be counted");
        chroma
            .execute_batch(
                "update embedding_metadata set string_value = string_value || '.'
                 where key = 'chroma:document' and id % 3 = 0;
                 delete from embedding_metadata where id % 40 = 1;
                 delete from embeddings_queue where id in (select embedding_id from embeddings where id % 40 = 1);
                 delete from embeddings where id % 40 = 1;",
            )
            .expect("the directory changes");
        drop(chroma);
        age(&directory);
        self.records -= gone.cast_unsigned();
    }
}
