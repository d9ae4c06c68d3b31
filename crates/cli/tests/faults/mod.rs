//! After any interruption, the same command resumes the migration, without lost or duplicate records: with the real
//! binary, a real server and a Chroma directory of thousands of records.

mod kills;
mod network;
mod rivals;
mod server;
mod signals;
mod source;

use std::{
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use records::DistanceSpace;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::postgres::Database;
use tempfile::TempDir;
use test_support::{ChromaCollection, ChromaForm, ChromaWriter, TestDatabase, generated_records};
use tokio::process::{Child, Command};

use crate::{Run, panopticon};

/// Small, so that a run is short and can be interrupted often.
const DIMENSION: usize = 8;

/// Longer than any condition takes, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Interval between checks of a condition.
const POLL: Duration = Duration::from_millis(2);

/// A migration that is run until it completes.
struct Migration {
    /// The working directory, with the Chroma directory `chroma`.
    folder: TempDir,
    url: String,
    /// The URL of the same database, to examine it.
    direct: String,
    records: u64,
    batch_rows: &'static str,
}

/// The state of a migration in the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Held {
    /// Of the jobs, oldest first.
    statuses: Vec<String>,
    rows: i64,
    distinct_source_ids: i64,
    /// Rows according to the jobs.
    noted: i64,
    replaced: i64,
    rejects: i64,
}

impl Migration {
    /// Migrates `records` into the database of `url`.
    fn new(url: &str, records: u64, batch_rows: &'static str) -> Self {
        Self::of_form(url, records, batch_rows, ChromaForm::Log)
    }

    /// The same, with vectors stored as `form` says.
    fn of_form(url: &str, records: u64, batch_rows: &'static str, form: ChromaForm) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut writer = ChromaWriter::create(&folder.path().join("chroma"));
        let collection = ChromaCollection::new("items", DistanceSpace::L2, form);
        let shortened = generated_records(records, 7).map(|mut record| {
            record.vector.truncate(DIMENSION);
            record
        });
        assert_eq!(writer.write(&collection, shortened), records);
        writer.finish();
        Self { folder, url: url.to_owned(), direct: url.to_owned(), records, batch_rows }
    }

    /// The same, but the binary reaches the database by another URL.
    fn through(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    fn directory(&self) -> std::path::PathBuf {
        self.folder.path().join("chroma")
    }

    fn command(&self, verb: &str, options: &[&str]) -> Command {
        let directory = self.directory();
        let from = directory.to_str().expect("a temporary folder has a plain name");
        let mut arguments = vec![verb, "collection", "items", "--from", from];
        arguments.extend(options);
        let mut command = Command::from(panopticon(self.folder.path(), &arguments));
        command.env("DATABASE_URL", &self.url).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts or resumes the migration.
    fn start(&self) -> Child {
        let options = ["--batch-rows", self.batch_rows, "--jobs", "2", "--delete"];
        self.command("migrate", &options).spawn().expect("the binary starts")
    }

    /// Starts or resumes the migration, and waits for its end.
    async fn run(&self) -> Run {
        finish(self.start()).await
    }

    /// Runs to the end and checks that both sides are equal and nothing is left over.
    async fn finishes_complete(&self) {
        let ended = self.run().await;
        assert_eq!(ended.code, 0, "{ended:?}");
        self.is_complete().await;
    }

    /// Checks that both sides are equal and nothing is left over.
    async fn is_complete(&self) {
        let verified = finish(self.command("verify", &["--json"]).spawn().expect("the binary starts")).await;
        assert_eq!(verified.code, 0, "{verified:?}");
        let report: serde_json::Value = serde_json::from_str(&verified.stdout).expect("one JSON object");
        let collection = &report["collections"][0];
        assert_eq!(collection["source_records"], self.records, "{report}");
        assert_eq!(collection["matched"], self.records, "{report}");
        assert_eq!(collection["stale"], 0, "{report}");
        assert_eq!(collection["digest_source"], collection["digest_target"], "{report}");
        let held = self.held().await;
        let records = self.records.cast_signed();
        assert_eq!(
            (held.rows, held.distinct_source_ids, held.noted),
            (records, records, records),
            "{held:?}"
        );
        assert!(held.statuses.iter().all(|status| status == "complete"), "{held:?}");
        assert_eq!(held.rejects, 0, "{held:?}");
        if held.statuses.len() == 1 {
            assert_eq!(held.replaced, 0, "no row was replaced: {held:?}");
        }
    }

    /// The state of the migration now, read in one statement.
    async fn held(&self) -> Held {
        let mut connection = PgConnection::connect(&self.direct).await.expect("the server answers");
        let tables: (bool, bool) = sqlx::query_as(
            "select to_regclass('migration_jobs') is not null, to_regclass('items') is not null",
        )
        .fetch_one(&mut connection)
        .await
        .expect("the catalog reads");
        if tables != (true, true) {
            return Held::default();
        }
        let (statuses, rows, distinct_source_ids, noted, replaced, rejects) = sqlx::query_as(
            "select
                (select array_agg(status order by started_at) from migration_jobs),
                (select count(*) from items),
                (select count(distinct source_id) from items),
                (select sum(written - deleted)::bigint from migration_jobs),
                (select count(*) from migration_replaced),
                (select count(*) from migration_rejects)",
        )
        .fetch_one(&mut connection)
        .await
        .expect("the tables can be counted");
        connection.close().await.expect("the server still answers");
        Held { statuses, rows, distinct_source_ids, noted, replaced, rejects }
    }

    /// Has migrations wait before they commit more than `rows` rows, until the gate is opened.
    async fn gate(&self, rows: i64) -> Gate {
        Database::connect(&self.direct)
            .await
            .expect("the server answers")
            .prepare_bookkeeping()
            .await
            .expect("the table of jobs can be made");
        let mut connection = PgConnection::connect(&self.direct).await.expect("the server answers");
        let trigger = format!(
            "select pg_advisory_lock({GATE});
             create or replace function gate() returns trigger language plpgsql as $$
             begin
                 if new.written > greatest({rows}, old.written) then
                     perform pg_advisory_xact_lock_shared({GATE});
                 end if;
                 return new;
             end $$;
             create or replace trigger gate before update on migration_jobs for each row execute function gate()"
        );
        sqlx::raw_sql(AssertSqlSafe(trigger)).execute(&mut connection).await.expect("the gate can be made");
        Gate { connection }
    }
}

/// Number of the advisory lock for which migrations wait.
const GATE: i64 = 19;

/// Holds migrations until it is opened or the server ends.
struct Gate {
    connection: PgConnection,
}

impl Gate {
    /// Waits until `child` has to wait, which it does until the gate is opened.
    async fn is_reached(&mut self, child: &mut Child) {
        eventually("a migration waits at the gate", async || {
            assert!(child.try_wait().expect("it is ours").is_none(), "the migration ended before the gate");
            let waiting = sqlx::query_scalar::<_, bool>(
                "select exists (select from pg_locks where locktype = 'advisory' and objid = $1 and not granted
                                and database = (select oid from pg_database where datname = current_database()))",
            );
            waiting.bind(GATE).fetch_one(&mut self.connection).await.expect("locks can be looked at")
        })
        .await;
    }

    /// Lets migrations go on.
    async fn open(self) {
        self.connection.close().await.expect("the server is there still");
    }
}

/// Drops everything that a migration has created.
async fn empty(database: &TestDatabase) {
    database.execute("drop schema public cascade; create schema public; create extension vector").await;
}

/// Waits for a process to end by itself.
async fn finish(child: Child) -> Run {
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let Output { status, stdout, stderr } =
        ended.expect("the process ends in time").expect("its output can be read");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    let (stdout, stderr) = (text(stdout), text(stderr));
    let code = status.code().unwrap_or_else(|| panic!("it exits by itself: {status}: {stderr}"));
    Run { code, stdout, stderr }
}

/// Polls until `condition` holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < end, "within {PATIENCE:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Sets the files' modification time to the past: the reader waits while files were modified recently.
fn age(directory: &Path) {
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let file = std::fs::File::options().append(true).open(directory.join("chroma.sqlite3"));
    file.and_then(|file| file.set_modified(long_ago)).expect("the file's time can be set");
}

/// Numbers at random (xorshift64*), from a seed that is printed and that `PANOPTICON_TEST_SEED` repeats.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let given = std::env::var("PANOPTICON_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
        let seed = given.unwrap_or_else(|| now() as u64) | 1;
        println!("PANOPTICON_TEST_SEED={seed}");
        Self(seed)
    }

    /// At least 0 and less than `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}
