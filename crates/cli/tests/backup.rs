//! `panopticon backup` and `restore`.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    Run,
    demo::{fresh_data_dir, postmaster},
    json, panopticon, run,
    serve::Serving,
};

/// Runs `arguments` on the embedded server in `data_dir`.
fn embedded(data_dir: &Path, arguments: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    run(panopticon(folder.path(), arguments).env("PANOPTICON_DATA_DIR", data_dir))
}

/// `path` as an argument.
fn word(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// Every file of `folder` and below it, with its content.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("the folder lists");
    let paths = entries.map(|entry| entry.expect("the entry reads").path());
    let mut files: Vec<_> =
        paths.map(|path| (path.clone(), fs::read(path).expect("a backup has files only"))).collect();
    files.sort();
    files
}

/// The rows of `table` in a manifest.
fn rows(manifest: &Value, table: &str) -> u64 {
    let tables = manifest["tables"].as_array().expect("a list");
    let found = tables.iter().find(|entry| entry["table"] == table).expect("the table is listed");
    found["rows"].as_u64().expect("a number")
}

/// A server that is written to until `stop`; counts what was acknowledged.
struct Written {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    writer: thread::JoinHandle<Serving>,
}

impl Written {
    fn begin(serving: Serving) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let writer = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let number = counted.load(Ordering::Relaxed);
                let query =
                    json!({"query": format!("query {number}"), "theme": "t", "metadata": {"n": number}});
                serving.data("query", "POST", "/api/v1/queries", &query);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            serving
        });
        Self { stop, acknowledged, writer }
    }

    /// Waits until `count` writes were acknowledged.
    fn until(&self, count: usize) -> usize {
        while self.acknowledged.load(Ordering::Relaxed) < count {
            assert!(!self.writer.is_finished(), "the writer stopped early");
            thread::yield_now();
        }
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn end(self) -> Serving {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().expect("every write was acknowledged")
    }
}

#[test]
fn backup_of_a_database_in_use_is_restored_with_equal_contents() {
    let (source, target) = (fresh_data_dir(), fresh_data_dir());
    let place = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    let serving = Serving::start(&[], &[("PANOPTICON_DATA_DIR", word(source.path()))]);
    let written = Written::begin(serving);
    let before = written.until(5);
    let ended = embedded(source.path(), &["backup", word(&first), "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    // It was written to before and during the backup, and still is.
    let after = written.until(written.acknowledged.load(Ordering::Relaxed) + 1);
    let manifest = json(&ended);
    let backed_up = rows(&manifest, "queries");
    assert!((before as u64..=after as u64 + 1).contains(&backed_up), "{before} {backed_up} {after}");
    assert!(manifest["schema_version"].as_i64().is_some_and(|version| version > 0), "{manifest}");

    // A restore would take the database away from the server.
    let refused = embedded(source.path(), &["restore", word(&first), "--replace"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.stderr.contains("connected to the embedded database"), "{refused:?}");
    assert_eq!(written.end().end(Signal::TERM).code, 0);

    let restored = embedded(target.path(), &["restore", word(&first)]);
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(restored.stdout.contains("all equal to the backup\n"), "{restored:?}");
    let again = embedded(target.path(), &["backup", word(&second), "--json"]);
    assert_eq!(again.code, 0, "{again:?}");
    assert_eq!(json(&again)["tables"], manifest["tables"]);
    let found = json(&embedded(target.path(), &["search", "query", "query 3", "--json"]));
    assert_eq!(found[0]["query"], "query 3", "{found}");
    assert_eq!(postmaster(target.path()), None, "the server stops with its last user");
}

#[test]
fn backup_and_restore_refuse_to_overwrite_and_leave_nothing_half_done() {
    let data_dir = fresh_data_dir();
    let place = tempfile::tempdir().expect("a temporary folder");
    let backup = place.path().join("backup");
    let none = embedded(data_dir.path(), &["backup", word(&backup)]);
    assert!(none.code == 2 && none.stderr.contains("no embedded server"), "{none:?}");
    let sql = |statements: &str| {
        let ended = embedded(
            data_dir.path(),
            &["db", "psql", "--", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements],
        );
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout
    };
    // What a dump can get wrong: schemas, names, generated columns, an index by pgvector, odd values.
    sql("create schema \"Odd \"\"one\";
        create table \"Odd \"\"one\".\"a table\" (id int primary key, twice int generated always as (id * 2) stored,
            embedding vector(3), number float8, at timestamptz, bytes bytea);
        insert into \"Odd \"\"one\".\"a table\" (id, embedding, number, at, bytes)
            values (1, '[0.1,2,3]', 'NaN', '-infinity', '\\x00ff'), (2, null, 0.1::float4, '2026-01-01', null);
        create index on \"Odd \"\"one\".\"a table\" using hnsw (embedding vector_cosine_ops);
        create view a_view as select 1; create extension pg_trgm");
    sql("create database another");
    let made = embedded(data_dir.path(), &["backup", word(&backup)]);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(
        made.stdout.starts_with("backed up 1 table with 2 rows to ") && made.stdout.lines().count() == 1,
        "{made:?}"
    );
    assert!(made.stderr.contains("`another`") && made.stderr.contains("not in the backup"), "{made:?}");
    let modes = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(modes(&backup), 0o700);
    let before = files(&backup);
    assert_eq!(before.len(), 2, "dump and manifest");
    for (path, content) in &before {
        assert_eq!(modes(path), 0o600, "{}", path.display());
        for name in ["password", "superuser-password"] {
            let password = fs::read(data_dir.path().join("postgres").join(name)).expect("the password reads");
            assert!(!content.windows(password.len()).any(|window| window == password), "{}", path.display());
        }
    }

    let refused = embedded(data_dir.path(), &["backup", word(&backup)]);
    assert!(refused.code == 2 && refused.stderr.contains("is not empty"), "{refused:?}");
    assert_eq!(files(&backup), before);
    let elsewhere = place.path().join("no/such/folder");
    assert_eq!(embedded(data_dir.path(), &["backup", word(&elsewhere)]).code, 2);
    let left: Vec<_> = fs::read_dir(place.path()).expect("the folder lists").collect();
    assert_eq!(left.len(), 1, "no temporary folder is left: {left:?}");

    sql("insert into \"Odd \"\"one\".\"a table\" (id) values (3)");
    let count = || sql("select count(*) from \"Odd \"\"one\".\"a table\"");
    let refused = embedded(data_dir.path(), &["restore", word(&backup)]);
    assert_eq!(refused.code, 5, "{refused:?}");
    for says in ["Odd \"one.a table", "--replace"] {
        assert!(refused.stderr.contains(says), "{refused:?}");
    }
    assert_eq!(count(), "3\n");

    // Whatever is wrong with a backup, the database stays as it is.
    let damaged = place.path().join("damaged");
    let dump = &before.iter().find(|(path, _)| path.ends_with("database.dump")).expect("the dump").1;
    let manifest: Value = serde_json::from_slice(
        &before.iter().find(|(path, _)| path.ends_with("manifest.json")).expect("the manifest").1,
    )
    .expect("JSON");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        manifest.to_string().into_bytes()
    };
    fs::create_dir(&damaged).expect("the folder is made");
    for (manifest, dump, code, says) in [
        (changed(&|_| ()), &dump[..dump.len() - 1], 2, "is damaged"),
        (changed(&|m| m["schema_version"] = json!(i64::MAX)), &dump[..], 2, "or newer"),
        (changed(&|m| m["format"] = json!(2)), &dump[..], 2, "expected format 1"),
        (changed(&|m| m["tables"][0]["digest"] = json!("0")), &dump[..], 4, ""),
        (changed(&|m| m["tables"] = json!([])), &dump[..], 4, ""),
        (b"{".to_vec(), &dump[..], 2, "it is not JSON"),
    ] {
        fs::write(damaged.join("manifest.json"), manifest).expect("the manifest is written");
        fs::write(damaged.join("database.dump"), dump).expect("the dump is written");
        let refused = embedded(data_dir.path(), &["restore", word(&damaged), "--replace"]);
        assert_eq!(refused.code, code, "{refused:?}");
        assert!(refused.stderr.contains(says), "{says}: {refused:?}");
        assert_eq!(count(), "3\n", "{says}");
    }
    fs::remove_file(damaged.join("manifest.json")).expect("the manifest is there");
    let refused = embedded(data_dir.path(), &["restore", word(&damaged), "--replace"]);
    assert!(refused.code == 2 && refused.stderr.contains("not a complete backup"), "{refused:?}");

    let restored = json(&embedded(data_dir.path(), &["restore", word(&backup), "--replace", "--json"]));
    assert_eq!((&restored["replaced"], &restored["differences"]), (&json!(true), &json!([])), "{restored}");
    assert_eq!(count(), "2\n");
    let databases =
        sql("select string_agg(datname, ' ' order by datname) from pg_database where not datistemplate");
    assert_eq!(databases, "another panopticon postgres\n");
    assert_eq!(sql("select count(*) from pg_indexes where indexdef like '%hnsw%'"), "1\n");
}

#[test]
fn backup_and_restore_are_for_the_embedded_server() {
    let data_dir = fresh_data_dir();
    for command in ["backup", "restore"] {
        let ended = embedded(data_dir.path(), &[command, "x", "--database-url", "postgresql://h/d"]);
        assert!(ended.code == 2 && ended.stderr.contains("pg_dump"), "{ended:?}");
    }
}

/// A data folder whose database has one row, and a backup of it.
struct BackedUp {
    data_dir: tempfile::TempDir,
    place: tempfile::TempDir,
}

impl BackedUp {
    fn make(statements: &str) -> Self {
        let made =
            Self { data_dir: fresh_data_dir(), place: tempfile::tempdir().expect("a temporary folder") };
        made.sql(&[], "create table t as select 1 as a");
        made.sql(&["--superuser"], statements);
        let ended = made.run(&["backup", word(&made.backup())]);
        assert_eq!(ended.code, 0, "{ended:?}");
        made
    }

    fn backup(&self) -> PathBuf {
        self.place.path().join("backup")
    }

    fn run(&self, arguments: &[&str]) -> Run {
        embedded(self.data_dir.path(), arguments)
    }

    fn restore(&self) -> Run {
        self.run(&["restore", word(&self.backup()), "--replace"])
    }

    /// Runs `statements` with these `options` of `db psql`.
    fn sql(&self, options: &[&str], statements: &str) -> String {
        let psql = ["--", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements];
        let ended = self.run(&[&["db", "psql"], options, &psql].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout
    }

    fn databases(&self) -> String {
        self.sql(
            &[],
            "select string_agg(datname, ' ' order by datname) from pg_database where not datistemplate",
        )
    }
}

#[test]
fn only_one_restore_runs_at_a_time() {
    let backed_up = BackedUp::make("select");
    // As a restore holds it.
    let path = backed_up.data_dir.path().join("postgres/exchange.lock");
    let file = fs::File::options().create(true).append(true).open(path).expect("the lock's file opens");
    file.lock().expect("it is locked");
    let refused = backed_up.restore();
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(
        refused.stderr.contains("another restore") && refused.stderr.contains("under way"),
        "{refused:?}"
    );
    file.unlock().expect("it is unlocked");
    // Whatever was begun before, one of two succeeds, and the other one says why not.
    let ended = thread::scope(|scope| {
        let both = [(), ()].map(|()| scope.spawn(|| backed_up.restore()));
        both.map(|one| one.join().expect("it ends"))
    });
    assert!(ended.iter().any(|ended| ended.code == 0), "{ended:?}");
    for ended in ended.iter().filter(|ended| ended.code != 0) {
        assert_eq!(ended.code, 5, "{ended:?}");
    }
    assert_eq!(backed_up.sql(&[], "select a from t"), "1\n");
    assert_eq!(backed_up.databases(), "panopticon postgres\n");
}

#[test]
fn remains_of_a_killed_restore_are_removed_though_a_superuser_works_on_them() {
    let backed_up = BackedUp::make("select");
    for name in ["panopticon_restoring", "panopticon_before_restore"] {
        backed_up.sql(&[], &format!("create database {name}"));
    }
    let again = backed_up.run(&["backup", word(&backed_up.place.path().join("again"))]);
    assert!(again.code == 0 && !again.stderr.contains("not in the backup"), "{again:?}");
    // As autovacuum does, whose role is the superuser.
    let mut working: Vec<_> = ["panopticon_restoring", "panopticon_before_restore"]
        .into_iter()
        .map(|name| {
            let mut command = panopticon(
                backed_up.data_dir.path(),
                &[
                    "db",
                    "psql",
                    "--superuser",
                    "--",
                    "-qAtX",
                    "-d",
                    name,
                    "-c",
                    "select 'works'",
                    "-c",
                    "select pg_sleep(600)",
                ],
            );
            command.env("PANOPTICON_DATA_DIR", backed_up.data_dir.path());
            let mut child = command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary runs");
            let mut line = String::new();
            let output = child.stdout.as_mut().expect("it is piped");
            BufReader::new(output).read_line(&mut line).expect("psql prints");
            assert_eq!(line, "works\n");
            child
        })
        .collect();
    let restored = backed_up.restore();
    for child in &mut working {
        child.wait().expect("its session was ended");
    }
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(backed_up.databases(), "panopticon postgres\n");
}

#[test]
fn extensions_of_superusers_and_in_other_schemas_are_restored() {
    let backed_up = BackedUp::make(
        "create schema ext; alter schema ext owner to panopticon; alter extension vector set schema ext;
         create extension pg_stat_statements schema ext; create extension pg_trgm;
         create table v (e ext.vector(2)); insert into v values ('[1,2]'); alter table v owner to panopticon;
         create index on v using hnsw (e ext.vector_l2_ops)",
    );
    let listed = "select string_agg(extname || ' ' || nspname, ', ' order by extname)
        from pg_extension join pg_namespace n on n.oid = extnamespace";
    let before = backed_up.sql(&[], listed);
    assert!(before.contains("pg_stat_statements ext, ") && before.contains("vector ext"), "{before}");
    let restored = backed_up.restore();
    assert_eq!(restored.code, 0, "{restored:?}");
    assert_eq!(backed_up.sql(&[], listed), before);
    assert_eq!(backed_up.sql(&[], "select e::text from v"), "[1,2]\n");
    assert_eq!(
        backed_up.sql(&[], "select string_agg(extname, ' ' order by extname) from pg_extension where extowner = 'panopticon'::regrole"),
        "pg_trgm\n"
    );
}

/// `panopticon` with `arguments`, for which SIGHUP is not ignored, as it may be for the tests.
fn interruptible(data_dir: &Path, arguments: &[&str]) -> Command {
    let plain = panopticon(data_dir, arguments);
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP").arg(plain.get_program()).args(plain.get_args());
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PANOPTICON_DATA_DIR", data_dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn send(signal: Signal, child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("the signal is sent");
}

#[test]
fn interrupted_backup_and_restore_leave_nothing_behind() {
    // A row is checked at once in the source, and never in a restored database.
    let backed_up = BackedUp::make(
        "set role panopticon;
         create function checked(int) returns bool language sql as 'select true';
         create table checks (a int check (checked(a))); insert into checks values (1);
         create or replace function checked(int) returns bool language sql
            as 'select pg_sleep(600)::text is not null'",
    );
    let data_dir = backed_up.data_dir.path();
    let is_filling = "select count(*) from pg_stat_activity
        where datname = 'panopticon_restoring' and state = 'active' and query like 'COPY%'";
    for signal in [Signal::HUP, Signal::TERM] {
        let backup = backed_up.backup();
        let restore = ["restore", word(&backup), "--replace"];
        let mut restoring = interruptible(data_dir, &restore).spawn().expect("the binary runs");
        while backed_up.sql(&[], is_filling) == "0\n" {
            assert!(restoring.try_wait().expect("its state is known").is_none(), "it ended early");
        }
        send(signal, &restoring);
        let ended = restoring.wait_with_output().expect("it ends");
        assert_eq!(ended.status.code(), Some(130), "{ended:?}");
        assert_eq!(backed_up.databases(), "panopticon postgres\n");
    }

    let mut locking = interruptible(
        data_dir,
        &[
            "db",
            "psql",
            "--",
            "-qAtX",
            "-c",
            "begin; lock table t; select 'locked'",
            "-c",
            "select pg_sleep(600)",
        ],
    )
    .spawn()
    .expect("the binary runs");
    let mut line = String::new();
    BufReader::new(locking.stdout.as_mut().expect("it is piped")).read_line(&mut line).expect("psql prints");
    assert_eq!(line, "locked\n");
    let again = backed_up.place.path().join("again");
    let mut backing_up = interruptible(data_dir, &["backup", word(&again)]).spawn().expect("the binary runs");
    let entries = || fs::read_dir(backed_up.place.path()).expect("the folder lists").count();
    while entries() < 2 {
        assert!(backing_up.try_wait().expect("its state is known").is_none(), "it ended early");
        thread::yield_now();
    }
    send(Signal::HUP, &backing_up);
    let ended = backing_up.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert_eq!(entries(), 1, "only the first backup is there");
    backed_up.sql(
        &[],
        "select pg_terminate_backend(pid) from pg_stat_activity where query = 'select pg_sleep(600)'",
    );
    locking.wait().expect("its session was ended");
}

#[test]
fn folder_of_a_backup_may_be_a_link_and_its_files_may_not_be_pipes() {
    let backed_up = BackedUp::make("select");
    let place = backed_up.place.path();
    let (target, link, dangling) = (place.join("target"), place.join("link"), place.join("dangling"));
    fs::create_dir(&target).expect("the folder is made");
    symlink(&target, &link).expect("a link is made");
    symlink(place.join("none"), &dangling).expect("a link is made");
    let made = backed_up.run(&["backup", word(&link)]);
    assert_eq!(made.code, 0, "{made:?}");
    assert_eq!(files(&target).len(), 2);
    assert!(link.is_symlink());
    let refused = backed_up.run(&["backup", word(&dangling)]);
    assert!(refused.code == 2 && refused.stderr.contains("does not exist"), "{refused:?}");
    assert!(dangling.is_symlink());

    for name in ["database.dump", "manifest.json"] {
        let path = target.join(name);
        fs::remove_file(&path).expect("it is there");
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
        assert!(made.success());
        let refused = backed_up.run(&["restore", word(&target), "--replace"]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(
            refused.stderr.contains(name) && refused.stderr.contains("not a regular file"),
            "{refused:?}"
        );
    }
}
