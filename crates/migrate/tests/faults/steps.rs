//! Crashes at every step.

use std::collections::BTreeSet;

use migrate::Step;
use test_support::TestDatabase;

use super::{Directory, crash, resumes_to_the_end};

/// Steps that occur once per batch are tested at several occurrences.
fn occurrences(step: Step) -> &'static [usize] {
    match step {
        Step::BatchSent | Step::BatchCommitted => &[1, 4],
        Step::Locked
        | Step::Planned
        | Step::Begun
        | Step::AllSent
        | Step::Copied
        | Step::Indexed
        | Step::Verified
        | Step::Complete => &[1],
    }
}

#[tokio::test]
async fn migration_killed_at_any_step_of_a_first_or_a_later_run_resumes() {
    let mut crashed = BTreeSet::new();
    for step in Step::ALL {
        for nth in occurrences(step) {
            let (directory, database) = (Directory::new(), TestDatabase::create().await);
            assert!(crash(directory.path(), &database.url(), step, *nth).await, "{step:?} occurs");
            resumes_to_the_end(&directory, &database).await;

            directory.update("id % 2 = 0 and id not in (5, 305, 599)");
            directory.delete("id % 10 = 1");
            assert!(crash(directory.path(), &database.url(), step, *nth).await, "{step:?} occurs");
            resumes_to_the_end(&directory, &database).await;
            crashed.insert(format!("{step:?} {nth}"));
        }
    }
    println!("{} steps, each in a first run and in a later one: {crashed:?}", crashed.len());
}

#[tokio::test]
async fn process_that_dies_repeatedly_completes() {
    let (directory, database) = (Directory::new(), TestDatabase::create().await);
    let mut crashes = 0;
    while crash(directory.path(), &database.url(), Step::BatchCommitted, 2).await {
        crashes += 1;
        assert!(crashes < 100, "each has committed at least one batch");
    }
    assert!(crashes >= 4, "{crashes}");
    resumes_to_the_end(&directory, &database).await;
}
