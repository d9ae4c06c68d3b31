//! Access to the embedded server, and isolation from other accounts.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
};

use provision::{Access, Durability, Role, Server, ServerOptions, postgres::LIBPQ_VARIABLES};

use crate::{Fixture, printed, psql, query};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode() & 0o777
}

#[test]
fn server_listens_on_a_private_socket_and_requires_a_scram_password() {
    let fixture = Fixture::new();
    let server = fixture.start();
    assert_eq!(query(&server, "show listen_addresses"), "");
    let folder = query(&server, "show unix_socket_directories");
    assert_eq!(mode(Path::new(&folder)), 0o700, "{folder}");
    let rules = "select string_agg(distinct auth_method, ',') from pg_hba_file_rules";
    let rules = psql(&server, Role::Superuser, "panopticon", rules).expect("a superuser may read it");
    assert_eq!(rules, "scram-sha-256");
    let mut without = server.client("psql", Role::Owner, "panopticon").expect("it is there");
    let refused = printed(without.args(["--no-password", "--command", "select 1"]).env_remove("PGPASSWORD"));
    assert!(refused.expect_err("there is no password").contains("no password"));
    for name in ["life.lock", "use.lock", "password", "superuser-password", "server.log"] {
        assert_eq!(mode(&fixture.options.cluster.join(name)), 0o600, "{name}");
    }
}

#[test]
fn role_is_not_a_superuser_and_creates_databases_with_pgvector() {
    let fixture = Fixture::new();
    let server = fixture.start();
    assert_eq!(query(&server, "show is_superuser"), "off");
    let program = "create table t (a text); copy t from program 'id'";
    let refused = psql(&server, Role::Owner, "panopticon", program).expect_err("it may not");
    assert!(refused.contains("permission denied"), "{refused}");
    query(&server, "create database other");
    let distance = "select '[1,2]'::vector <-> '[1,4]'";
    assert_eq!(psql(&server, Role::Owner, "other", distance).as_deref(), Ok("2"));
    let refused = psql(&server, Role::Owner, "other", "create role another").expect_err("it may not");
    assert!(refused.contains("permission denied"), "{refused}");
    let is_superuser = psql(&server, Role::Superuser, "panopticon", "show is_superuser");
    assert_eq!(is_superuser.as_deref(), Ok("on"), "the superuser is available by name");
}

#[test]
fn urls_of_both_roles_work_in_libpq_with_any_environment() {
    let fixture = Fixture::new();
    let server = fixture.start();
    for role in [Role::Owner, Role::Superuser] {
        let url = server.url_as(role, "panopticon").expect("the password reads");
        let mut command = Command::new(server.program("psql"));
        command.arg(&url).args(["--no-psqlrc", "-Atc", "select current_user"]);
        command.envs([("PGSSLMODE", "require"), ("PGPORT", "1"), ("PGHOST", "nowhere")]);
        command.env("PGOPTIONS", "-c search_path=nowhere");
        let user = printed(&mut command).expect("it connects");
        assert!(url.contains(&format!("//{user}:")), "{user}");
    }
}

#[test]
fn variables_of_libpq_are_not_passed_to_programs_of_the_server() {
    // All tests share this process's environment, so the environment of the command is checked instead.
    let fixture = Fixture::new();
    let server = fixture.start();
    let client = server.client("psql", Role::Owner, "panopticon").expect("it is there");
    for name in LIBPQ_VARIABLES {
        let is_changed = client.get_envs().any(|(changed, _)| changed == name);
        assert!(is_changed, "{name} is either removed or set");
    }
}

#[test]
fn folder_with_a_long_name_or_one_that_needs_quoting_has_its_socket_in_tmp() {
    let top = Fixture::new();
    for name in ["x".repeat(120), "it's, odd: ä".to_owned()] {
        let cluster = top.options.cluster.with_file_name(name).join("postgres");
        let options = ServerOptions { cluster, ..top.options.clone() };
        let server = Server::start(&options, &|line| println!("{line}")).expect("the server starts");
        let folder = query(&server, "show unix_socket_directories");
        assert!(folder.starts_with("/tmp/panopticon-"), "{folder}");
        assert_eq!(mode(Path::new(&folder)), 0o700, "{folder}");
        server.release().expect("it stops");
        fs::remove_dir(&folder).expect("the server leaves nothing in its folder");
    }
}

#[test]
fn server_on_the_default_port_is_not_mistaken_for_the_embedded_one() {
    // If it cannot be bound, a server is there already.
    let other = std::net::TcpListener::bind(("127.0.0.1", 5432));
    let fixture = Fixture::new();
    let first = fixture.start();
    let second = fixture.start();
    assert_eq!(query(&second, "select 1"), "1");
    first.release().expect("its user releases it");
    second.release().expect("its user releases it");
    assert!(!Server::stop_cluster(&fixture.options).expect("nothing to do"), "it is stopped");
    drop(other);
}

#[test]
fn links_of_the_server_account_in_its_folder_are_not_followed() {
    let fixture = Fixture::new();
    fixture.start().release().expect("a cluster is made");
    let data = fixture.options.cluster.join("data");
    let victim = data.with_file_name("victim");
    fs::write(&victim, "root's").expect("a file of ours");
    let before = fs::metadata(&victim).expect("it is there");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).expect("its mode can be set");
    for name in ["panopticon.conf", "postmaster.pid"] {
        let path = data.join(name);
        if path.exists() {
            fs::remove_file(&path).expect("it can be replaced");
        }
        symlink(&victim, &path).expect("a link can be made");
    }
    // The server may or may not start.
    let started = Server::start(&fixture.options, &|line| println!("{line}"));
    if rustix::process::geteuid().is_root() {
        let after = fs::metadata(&victim).expect("it still exists");
        assert_eq!(fs::read_to_string(&victim).expect("it reads"), "root's");
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
    }
    drop(started);
}

#[test]
fn folder_of_another_account_is_refused() {
    if !rustix::process::geteuid().is_root() {
        test_support::skip("only root can give a folder away");
        return;
    }
    let fixture = Fixture::new();
    fs::create_dir_all(&fixture.options.cluster).expect("a folder is made");
    std::os::unix::fs::chown(&fixture.options.cluster, Some(4711), Some(4711)).expect("it can be given away");
    let error = Server::start(&fixture.options, &|_| {}).expect_err("its owner could put links there");
    assert!(error.to_string().contains("belongs to user id 4711"), "{error}");
}

#[test]
fn cluster_of_the_earlier_version_gets_a_role_without_superuser_and_keeps_its_rows() {
    let fixture = Fixture::with(Durability::Full);
    // As the earlier version created and ran it.
    let earlier = ServerOptions { access: Access::Loopback, ..fixture.options.clone() };
    let server = Server::start(&earlier, &|line| println!("{line}")).expect("the server starts");
    for statement in [
        "create extension vector",
        "create schema s",
        "create type s.mood as enum ('good')",
        "create domain s.positive as int check (value > 0)",
        "create table s.kept (id bigserial primary key, at timestamptz default now(), m s.mood, v vector(2))",
        "create sequence s.alone",
        "create view s.shown as select id from s.kept",
        "create materialized view s.counted as select count(*) from s.kept",
        "create function s.one() returns int language sql as 'select 1'",
        "insert into s.kept (m, v) values ('good', '[1,2]')",
        "create table \"odd \"\" name\" (a int)",
        "create database \"odd \"\" name\"",
    ] {
        query(&server, statement);
    }
    psql(&server, Role::Owner, "odd \" name", "create table t (a int)").expect("the table is made");
    server.keep_running().expect("the marker is written");
    let started = Server::start(&fixture.options, &|_| {});
    assert!(started.expect_err("it is in use").to_string().contains("an earlier version of panopticon uses"));
    server.release().expect("its user releases it");

    let server = fixture.start();
    assert_eq!(query(&server, "show is_superuser"), "off");
    assert_eq!(query(&server, "show listen_addresses"), "", "the old server was stopped");
    for statement in [
        "insert into s.kept (m, v) values ('good', '[1,3]')",
        "alter table s.kept add column b s.positive",
        "drop view s.shown",
        "refresh materialized view s.counted",
        "alter type s.mood add value 'bad'",
        "drop function s.one()",
        "drop sequence s.alone",
        "create table s.new ()",
        "create table public.new ()",
        "drop table \"odd \"\" name\"",
        "drop database if exists demo",
        "vacuum analyze s.kept",
    ] {
        query(&server, statement);
    }
    assert_eq!(query(&server, "select count(*) from s.kept"), "2");
    psql(&server, Role::Owner, "odd \" name", "alter table t add column b int").expect("it owns that too");
    let owner = "select pg_get_userbyid(extowner) from pg_extension where extname = 'vector'";
    assert_eq!(query(&server, owner), "panopticon_superuser");
    server.release().expect("its user releases it");
    let again = fixture.start();
    assert_eq!(query(&again, "select count(*) from s.kept"), "2", "the cluster is of this version now");
}

#[test]
fn killed_upgrade_is_repeated() {
    let fixture = Fixture::new();
    let server = fixture.start();
    query(&server, "create table kept (n int)");
    server.release().expect("its user releases it");
    // The last step of an upgrade.
    fs::remove_file(fixture.options.cluster.join("superuser-password")).expect("the file is there");
    let server = fixture.start();
    assert_eq!(query(&server, "select count(*) from kept"), "0");
    let is_superuser = psql(&server, Role::Superuser, "panopticon", "show is_superuser");
    assert_eq!(is_superuser.as_deref(), Ok("on"));
}

#[test]
fn cluster_that_cannot_be_examined_counts_as_existing() {
    let folder = tempfile::tempdir().expect("there is room");
    let options = ServerOptions::in_data_dir(&provision::DataDir::new(folder.path()));
    assert!(!options.has_cluster());
    let data = options.cluster.join("data");
    fs::create_dir_all(&options.cluster).expect("it is made");
    symlink(&data, &data).expect("a link that leads to itself is made");
    assert!(options.has_cluster());
}
