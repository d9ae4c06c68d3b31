//! The demo and the embedded server, from an empty data folder.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use test_support::{data_dir, model_dir};

use crate::{panopticon, run, serve::Serving};

/// A new data folder that links to the downloads of the machine's data folder.
pub(crate) fn fresh_data_dir() -> TempDir {
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .expect("a temporary folder");
    model_dir();
    for entry in fs::read_dir(data_dir().path()).expect("the data folder lists") {
        let entry = entry.expect("the entry reads");
        let name = entry.file_name();
        if name == "models" || name.to_string_lossy().starts_with("embedded-postgres-") {
            symlink(entry.path(), folder.path().join(name)).expect("a link is made");
        }
    }
    folder
}

fn in_data_dir(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = panopticon(data_dir, arguments);
    command.env("PANOPTICON_DATA_DIR", data_dir);
    command
}

pub(crate) fn postmaster(data_dir: &Path) -> Option<Pid> {
    let text = fs::read_to_string(data_dir.join("postgres/data/postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.parse().ok()?)
}

#[test]
fn demo_works_in_an_empty_data_folder_and_stops_its_server() {
    let folder = fresh_data_dir();
    let missing = run(&mut in_data_dir(folder.path(), &["search", "query", "x", "--demo"]));
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.stderr.contains("run `panopticon demo` first"), "{missing:?}");

    let demo = run(&mut in_data_dir(folder.path(), &["demo"]));
    assert_eq!(demo.code, 0, "{demo:?}");
    assert_eq!(demo.stdout.matches(": verified,").count(), 3, "{demo:?}");
    assert!(demo.stdout.contains("411 verdicts of two judges on the answers, and 104 labels."), "{demo:?}");
    let nearest = demo.stdout.lines().find(|line| line.trim_start().starts_with("0.")).expect("an answer");
    assert!(nearest.contains("nuclear fusion"), "{nearest}");
    assert_eq!(postmaster(folder.path()), None, "the server stops with its last user");

    let again = run(&mut in_data_dir(folder.path(), &["demo"]));
    assert_eq!(again.code, 0, "{again:?}");
    let search =
        run(&mut in_data_dir(folder.path(), &["search", "metrics", "is it true?", "--demo", "--json"]));
    assert_eq!(search.code, 0, "{search:?}");
    assert!(search.stdout.contains("metric_type"), "{search:?}");
    let own = run(&mut in_data_dir(folder.path(), &["search", "query", "x"]));
    assert_eq!(own.code, 2, "the demo does not use the user's database: {own:?}");
    assert!(own.stderr.contains("using the embedded PostgreSQL in"), "{own:?}");
}

#[test]
fn demo_is_served_with_judged_results_and_labels_apart_from_the_users_records() {
    let folder = fresh_data_dir();
    let mut command = in_data_dir(folder.path(), &["demo", "--serve"]);
    for port in ["QUERY_PORT", "EVALUATION_PORT", "JUDGE_PORT", "GATEWAY_PORT"] {
        command.env(port, "0");
    }
    // The user's records are elsewhere, and are not touched.
    command.env("DATABASE_URL", "postgresql://nowhere.invalid/own").env("QUERY_STORAGE_TYPE", "chroma");
    let serving = Serving::spawn(command, folder);
    let get = |path: &str| serving.text("console", path);
    let compared: Value = serde_json::from_str(&get(
        "/console/compare?model_a=claude-lyric-1&model_b=gpt-4.2-mini&format=json",
    ))
    .expect("JSON");
    let judged = compared["comparisons"].as_array().expect("a list").iter().map(|one| &one["queries"]);
    assert!(
        judged.clone().count() == 3 && judged.clone().all(|queries| queries.as_u64() >= Some(25)),
        "{compared}"
    );
    assert!(compared["pairs"].as_array().is_some_and(|pairs| !pairs.is_empty()), "{compared}");
    let labels: Value = serde_json::from_str(&get("/api/v1/labels?limit=100")).expect("JSON");
    assert_eq!(labels["data"]["items"].as_array().map(Vec::len), Some(100), "{labels}");
    for page in ["/", "/console/compare", "/console/judges", "/console/label", "/console/queries"] {
        assert!(get(page).contains("Sample data of `panopticon demo`"), "{page}");
    }
    let ended = serving.end(Signal::TERM);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn db_commands_open_and_stop_the_server_and_print_its_url() {
    let folder = fresh_data_dir();
    let url = run(&mut in_data_dir(folder.path(), &["db", "url"]));
    assert_eq!(url.code, 0, "{url:?}");
    assert!(url.stdout.starts_with("postgresql://panopticon:"), "{url:?}");
    assert!(postmaster(folder.path()).is_some(), "the server keeps running");

    let psql = ["db", "psql", "--", "--tuples-only", "--command", "select 6 * 7"];
    let answer = run(&mut in_data_dir(folder.path(), &psql));
    assert_eq!((answer.code, answer.stdout.trim()), (0, "42"), "{answer:?}");
    let failed = run(&mut in_data_dir(folder.path(), &["db", "psql", "--", "--command", "select nonsense"]));
    assert_eq!(failed.code, 1, "{failed:?}");

    assert_eq!(run(&mut in_data_dir(folder.path(), &["db", "stop"])).code, 0);
    assert_eq!(postmaster(folder.path()), None);
    let idle = run(&mut in_data_dir(folder.path(), &["db", "stop"]));
    assert!(idle.code == 0 && idle.stderr.contains("was not running"), "{idle:?}");
}

#[test]
fn variables_of_libpq_do_not_affect_the_embedded_server() {
    let folder = fresh_data_dir();
    let foreign = |arguments: &[&str]| {
        let mut command = in_data_dir(folder.path(), arguments);
        command.envs([
            ("PGSSLMODE", "verify-full"),
            ("PGOPTIONS", "-c search_path=nowhere"),
            ("PGPORT", "nonsense"),
        ]);
        command.envs([("PGDATESTYLE", "nonsense"), ("PGTZ", "nonsense"), ("PGCLIENTENCODING", "nonsense")]);
        command.envs([("PGHOST", "nowhere.invalid"), ("PGHOSTADDR", "192.0.2.1"), ("PGSERVICE", "nowhere")]);
        command.envs([("PGUSER", "nobody"), ("PGPASSWORD", "wrong"), ("PGDATABASE", "nothing")]);
        run(command.env("PGTARGETSESSIONATTRS", "standby"))
    };
    let demo = foreign(&["demo"]);
    assert_eq!(demo.code, 0, "initdb, pg_ctl and connections ignore them: {demo:?}");
    let psql =
        ["db", "psql", "--demo", "--", "--tuples-only", "--command", "select count(*) > 0 from queries"];
    let answer = foreign(&psql);
    assert_eq!((answer.code, answer.stdout.trim()), (0, "t"), "{answer:?}");
    let search = foreign(&["search", "query", "the sun", "--demo"]);
    assert_eq!(search.code, 0, "{search:?}");
}

#[test]
fn role_of_commands_is_no_superuser_unless_requested() {
    let folder = fresh_data_dir();
    let shown = |flags: &[&str]| {
        let mut arguments = vec!["db", "psql"];
        arguments.extend(flags);
        arguments.extend(["--", "--tuples-only", "--command", "show is_superuser"]);
        let ended = run(&mut in_data_dir(folder.path(), &arguments));
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.stdout.trim().to_owned()
    };
    assert_eq!((shown(&[]).as_str(), shown(&["--superuser"]).as_str()), ("off", "on"));
    let url = run(&mut in_data_dir(folder.path(), &["db", "url", "--superuser"]));
    assert!(url.stdout.starts_with("postgresql://panopticon_superuser:"), "{url:?}");
    let doctor = panopticon(folder.path(), &["doctor"]).env("DATABASE_URL", url.stdout.trim()).output();
    let doctor = doctor.expect("it runs");
    assert!(matches!(doctor.status.code(), Some(0 | 6)), "its own URL leads back to it: {doctor:?}");
    assert_eq!(run(&mut in_data_dir(folder.path(), &["db", "stop"])).code, 0);
}

#[test]
fn terminated_command_stops_the_server_that_it_started() {
    let folder = fresh_data_dir();
    let mut child = sleeping_psql(folder.path());
    signal(&child, Signal::TERM);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(postmaster(folder.path()), None, "it stopped its server");
}

#[test]
fn killed_command_leaves_a_server_that_the_next_one_finds_and_stops() {
    let folder = fresh_data_dir();
    let mut child = sleeping_psql(folder.path());
    signal(&child, Signal::KILL);
    child.wait().expect("it ends");
    let left_behind = postmaster(folder.path());
    assert!(left_behind.is_some(), "a killed command cannot stop the server");

    let psql = ["db", "psql", "--", "--tuples-only", "--command", "select 6 * 7"];
    let answer = run(&mut in_data_dir(folder.path(), &psql));
    assert_eq!((answer.code, answer.stdout.trim()), (0, "42"), "{answer:?}");
    assert!(!answer.stderr.contains("starting"), "the running server is used: {answer:?}");
    assert_eq!(postmaster(folder.path()), None, "and stopped by its last user");
}

/// A command that keeps the server running until a signal ends it.
fn sleeping_psql(data_dir: &Path) -> Child {
    let child = in_data_dir(data_dir, &["db", "psql", "--", "--command", "select pg_sleep(600)"]).spawn();
    let log = data_dir.join("postgres/server.log");
    wait_until("the server is ready", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("ready to accept connections"))
    });
    child.expect("the binary runs")
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().try_into().expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("the signal is sent");
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
