//! The process is killed at each step of a migration, and the network is cut at each byte of a commit.

mod commits;
mod lots;
mod steps;
mod undone;

use std::{
    env,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use migrate::{
    Error, Event, MigrateOptions, Observer, RejectedRecords, Report, SourceCollection, StaleRows, Step,
    Transfer,
};
use records::DistanceSpace;
use sqlx::PgConnection;
use store::{
    chroma::Source,
    postgres::{Database, Presence, Table},
};
use tempfile::TempDir;
use test_support::{ChromaCollection, ChromaForm, ChromaWriter, TestDatabase, generated_records};

/// Instructions for a child process: step, occurrence, directory and URL, one per line.
const ORDER: &str = "PANOPTICON_TEST_CRASH";
const SIGABRT: i32 = 6;

/// Records of a directory. Three of them contain a NUL, which PostgreSQL's text cannot.
const RECORDS: u64 = 600;
const REJECTS: u64 = 3;
const BATCH_ROWS: usize = 50;
const DIMENSION: usize = 4;

/// A Chroma directory whose records can be changed.
struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = ChromaWriter::create(folder.path());
        let collection = ChromaCollection::new("items", DistanceSpace::L2, ChromaForm::Log);
        let shortened = generated_records(RECORDS, 7).map(|mut record| {
            record.vector.truncate(DIMENSION);
            record
        });
        writer.write(&collection, shortened);
        writer.finish();
        let directory = Self(folder);
        directory.change(
            "update embedding_metadata set string_value = 'a' || char(0)
             where key = 'chroma:document' and id in (5, 305, 599)",
        );
        directory
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs statements on Chroma's database.
    fn change(&self, sql: &str) {
        let path = self.path().join("chroma.sqlite3");
        let chroma = rusqlite::Connection::open(&path).expect("the directory opens");
        chroma.execute_batch(sql).expect("the directory changes");
        chroma.close().expect("the directory closes");
        // The reader waits until recently modified files are stable.
        let file = std::fs::File::options().append(true).open(&path).expect("the file opens");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_700_000_000)).expect("its time can be set");
    }

    /// Changes the texts of the records that the SQL condition selects.
    fn update(&self, which: &str) {
        self.change(&format!(
            "update embedding_metadata set string_value = string_value || '.'
             where key = 'chroma:document' and {which}"
        ));
    }

    /// Deletes the records that the SQL condition selects.
    fn delete(&self, which: &str) {
        self.change(&format!(
            "delete from embeddings_queue where id in (select embedding_id from embeddings where {which});
             delete from embedding_metadata where {which};
             delete from embeddings where {which};"
        ));
    }

    /// Number of records.
    fn records(&self) -> u64 {
        let source = Source::open(self.path()).expect("the directory opens");
        source.record_count(&source.collections()[0]).expect("records can be counted")
    }
}

/// Migrates, resumes, or applies changes.
async fn migrate(path: &Path, url: &str, observer: &Observer) -> Result<Report, Error> {
    let source = Source::open(path).expect("the directory opens");
    let collection = source.collections()[0].clone();
    let table = Table {
        name: "items".to_owned(),
        text_column: "document".to_owned(),
        text: Presence::Optional,
        columns: Vec::new(),
        dimension: DIMENSION,
        space: DistanceSpace::L2,
        shared: None,
    };
    let options = MigrateOptions {
        rejected_records: RejectedRecords::Quarantine,
        stale_rows: StaleRows::Delete,
        connections: 2,
        batch_rows: BATCH_ROWS,
        ..MigrateOptions::default()
    };
    let database = Database::connect(url).await?;
    let transfers = vec![Transfer { source: SourceCollection::new(source, collection), table }];
    let report = Box::pin(migrate::migrate(&database, transfers, &options, observer)).await;
    database.close().await;
    report
}

fn no_observer() -> Observer {
    Arc::new(|_| {})
}

/// Migrates in a process that aborts at the `nth` occurrence of `step`; returns whether it occurred.
async fn crash(path: &Path, url: &str, step: Step, nth: usize) -> bool {
    crash_child("faults::child_process_that_dies_at_a_step", (path, url), step, nth).await
}

/// Runs the test `child`, which follows the order, in a process that aborts at the `nth` occurrence of `step`; returns whether
/// it occurred.
async fn crash_child(child: &str, (path, url): (&Path, &str), step: Step, nth: usize) -> bool {
    let order = format!("{step:?}\n{nth}\n{}\n{url}", path.display());
    let mut command = tokio::process::Command::new(env::current_exe().expect("tests are a program"));
    command.args(["--exact", child, "--nocapture"]).env(ORDER, order);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let ended = command.output().await.expect("the child runs");
    let is_aborted = ended.status.signal() == Some(SIGABRT);
    assert!(is_aborted || ended.status.success(), "{step:?}: {}", String::from_utf8_lossy(&ended.stdout));
    is_aborted
}

/// The order for this process: directory, URL, and an observer that aborts. `None` if no test has started it.
fn order() -> Option<(PathBuf, String, Observer)> {
    let order = env::var(ORDER).ok()?;
    let mut lines = order.lines();
    let mut next = || lines.next().expect("an order has four lines").to_owned();
    let (step, nth, path, url) = (next(), next(), PathBuf::from(next()), next());
    let nth: usize = nth.parse().expect("an order has a number");
    let seen = AtomicUsize::new(0);
    let observer: Observer = Arc::new(move |event| {
        let Event::Step(now) = event else { return };
        if format!("{now:?}") == step && seen.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            std::process::abort();
        }
    });
    Some((path, url, observer))
}

/// Does nothing, unless another test started this one in a child process.
#[tokio::test]
async fn child_process_that_dies_at_a_step() {
    let Some((path, url, observer)) = order() else { return };
    migrate(&path, &url, &observer).await.expect("it runs until it is aborted");
}

async fn count(connection: &mut PgConnection, sql: &'static str) -> u64 {
    let count: i64 = sqlx::query_scalar(sql).fetch_one(connection).await.expect("rows can be counted");
    count.cast_unsigned()
}

/// Resumes to the end, and checks that both sides are equal, with nothing lost, duplicated or left over.
async fn resumes_to_the_end(directory: &Directory, database: &TestDatabase) {
    let report = migrate(directory.path(), &database.url(), &no_observer()).await.expect("it resumes");
    let collection = &report.collections[0];
    let verification = collection.verification.as_ref().expect("it was compared");
    let records = directory.records();
    assert_eq!(verification.source_records, records);
    assert_eq!((verification.rows, verification.matched), (records - REJECTS, records - REJECTS));
    assert_eq!((verification.stale, verification.rejects.len() as u64), (0, REJECTS));
    assert!(verification.missing.is_empty() && verification.different.is_empty());
    assert_eq!(verification.digest_source, verification.digest_target);

    let mut connection = database.connection().await;
    let mut count = async |sql| count(&mut connection, sql).await;
    assert_eq!(count("select count(*) from items").await, records - REJECTS);
    assert_eq!(count("select count(distinct source_id) from items").await, records - REJECTS);
    assert_eq!(count("select count(*) from migration_jobs where status <> 'complete'").await, 0);
    let noted = "select sum(written - deleted)::bigint from migration_jobs";
    assert_eq!(count(noted).await, records - REJECTS, "progress matches the rows");
    let of_run = "select max(rejects) from
        (select count(*) as rejects from migration_rejects group by run_id, source_id) as of_run";
    assert_eq!(count(of_run).await, 1, "no run has quarantined a record twice");
    assert_eq!(count("select count(distinct source_id) from migration_rejects").await, REJECTS);
}
