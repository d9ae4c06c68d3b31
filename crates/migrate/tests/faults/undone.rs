//! Undo of runs that were killed and resumed with a changed source.

use migrate::{EditedRows, Step, undo};
use store::postgres::Database;
use test_support::TestDatabase;

use super::{Directory, count, crash, migrate, no_observer, resumes_to_the_end};

/// All rows, as text.
async fn rows(database: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar("select items::text from items order by id")
        .fetch_all(&mut database.connection().await)
        .await
        .expect("rows can be read")
}

async fn undo_last(database: &TestDatabase) {
    let store = Database::connect(&database.url()).await.expect("the database answers");
    let run_id = store.jobs().await.expect("jobs can be read").last().expect("there was one").run_id;
    undo(&store, run_id, EditedRows::Keep).await.expect("it can be undone");
    store.close().await;
}

#[tokio::test]
async fn first_run_whose_records_were_deleted_before_it_resumed_is_undone_completely() {
    let (directory, database) = (Directory::new(), TestDatabase::create().await);
    assert!(crash(directory.path(), &database.url(), Step::BatchCommitted, 4).await);
    directory.delete("id < 100 and id <> 5");
    directory.update("id between 100 and 200");
    resumes_to_the_end(&directory, &database).await;
    undo_last(&database).await;
    let mut connection = database.connection().await;
    let left = "select count(*) from pg_class where relname = 'items'";
    assert_eq!(count(&mut connection, left).await, 0, "the run had made the table");
    assert_eq!(count(&mut connection, "select count(*) from migration_replaced").await, 0);
}

#[tokio::test]
async fn rows_that_a_killed_run_changed_and_then_deleted_are_restored() {
    let (directory, database) = (Directory::new(), TestDatabase::create().await);
    migrate(directory.path(), &database.url(), &no_observer()).await.expect("the first run ends well");
    let before = rows(&database).await;
    directory.update("id < 300 and id <> 5");
    assert!(crash(directory.path(), &database.url(), Step::BatchCommitted, 4).await);
    directory.delete("id < 100 and id <> 5");
    resumes_to_the_end(&directory, &database).await;
    assert!(rows(&database).await != before);
    undo_last(&database).await;
    assert!(rows(&database).await == before, "all rows are as they were, in every column");
}
