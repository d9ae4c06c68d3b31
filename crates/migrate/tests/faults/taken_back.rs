//! Runs that were killed, went on with a source that had changed meanwhile, and are undone.

use migrate::{EditedRows, Step, undo};
use store::postgres::Database;
use test_support::TestDatabase;

use super::{Directory, count, crash, goes_on_to_the_end, migrate, nobody};

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
async fn first_run_whose_rows_lost_their_records_before_it_went_on_is_undone_to_nothing() {
    let (directory, database) = (Directory::new(), TestDatabase::create().await);
    assert!(crash(directory.path(), &database.url(), Step::BatchCommitted, 4).await);
    directory.delete("id < 100 and id <> 5");
    directory.update("id between 100 and 200");
    goes_on_to_the_end(&directory, &database).await;
    undo_last(&database).await;
    let mut connection = database.connection().await;
    let left = "select count(*) from pg_class where relname = 'items'";
    assert_eq!(count(&mut connection, left).await, 0, "the run had made the table");
    assert_eq!(count(&mut connection, "select count(*) from migration_replaced").await, 0);
}

#[tokio::test]
async fn rows_that_a_killed_run_changed_and_then_deleted_come_back_as_they_were() {
    let (directory, database) = (Directory::new(), TestDatabase::create().await);
    migrate(directory.path(), &database.url(), &nobody()).await.expect("the first run ends well");
    let before = rows(&database).await;
    directory.update("id < 300 and id <> 5");
    assert!(crash(directory.path(), &database.url(), Step::BatchCommitted, 4).await);
    directory.delete("id < 100 and id <> 5");
    goes_on_to_the_end(&directory, &database).await;
    assert!(rows(&database).await != before);
    undo_last(&database).await;
    assert!(rows(&database).await == before, "all rows are as they were, in every column");
}
