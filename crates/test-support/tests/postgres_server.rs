//! Separate servers for a test.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use provision::Durability;
use sqlx::{Connection as _, PgConnection};
use test_support::{PostgresServer, PostgresVariant};

async fn query(url: &str, sql: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("the query runs")
}

#[tokio::test]
async fn each_variant_has_its_versions_and_databases() {
    for (variant, postgres, pgvector) in [
        (PostgresVariant::Packaged, "18.6", "0.8.6"),
        (PostgresVariant::Postgres16, "16.14", "0.8.5"),
        (PostgresVariant::Pgvector06, "16.2", "0.6.2"),
    ] {
        let Some(server) = PostgresServer::start(variant).await else { continue };
        let url = server.create_database("other").await;
        assert_eq!(url, server.url_of("other"));
        assert_eq!(query(&url, "select current_database()::text").await, "other", "{variant:?}");
        assert_eq!(query(&url, "show server_version").await, postgres, "{variant:?}");
        assert_eq!(query(&url, "show fsync").await, "off", "{variant:?}");
        let version = "select default_version from pg_available_extensions where name = 'vector'";
        assert_eq!(query(&url, version).await, pgvector, "{variant:?}");
        server.execute("create extension vector").await;
        assert_eq!(query(&server.url(), "select '[1,2]'::vector::text").await, "[1,2]", "{variant:?}");
    }
}

#[tokio::test]
async fn killed_server_restarts_at_the_same_url_with_committed_data() {
    let mut server = PostgresServer::private(Durability::Full, &[("work_mem", "5MB")]).await;
    let url = server.url();
    server.execute("create table kept as select generate_series(1, 1000) as n").await;
    let mut connection = PgConnection::connect(&url).await.expect("the server answers");
    let running =
        tokio::spawn(async move { sqlx::query("select pg_sleep(60)").execute(&mut connection).await });
    server.kill();
    assert!(PgConnection::connect(&url).await.is_err(), "no server listens");
    running.await.expect("the task ends").expect_err("the statement dies with the server");
    for _ in 0..2 {
        server.restart().await;
        assert_eq!(server.url(), url);
        assert_eq!(query(&url, "select count(*)::text from kept").await, "1000");
        assert_eq!(query(&url, "show fsync").await, "on");
        assert_eq!(query(&url, "show work_mem").await, "5MB");
    }
    assert!(server.log().contains("automatic recovery in progress"), "{}", server.log());
}

/// Not a separate test: the process that [`server_and_folder_of_a_killed_test_are_removed`] kills.
#[tokio::test]
async fn server_that_waits_to_be_killed() {
    let Some(folder) = std::env::var_os("PANOPTICON_TEST_VICTIM") else { return };
    let server = PostgresServer::private(Durability::None, &[]).await;
    let data = query(&server.url(), "show data_directory").await;
    std::fs::write(Path::new(&folder).join("new"), data).expect("the file is written");
    std::fs::rename(Path::new(&folder).join("new"), Path::new(&folder).join("data")).expect("it is complete");
    std::future::pending::<()>().await;
}

#[test]
fn server_and_folder_of_a_killed_test_are_removed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut victim = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "postgres_server::server_that_waits_to_be_killed"])
        .env("PANOPTICON_TEST_VICTIM", folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the victim runs");
    let note = folder.path().join("data");
    eventually("the victim's server runs", || note.exists());
    let data = std::fs::read_to_string(note).expect("the note reads");
    assert!(Path::new(&data).join("postmaster.pid").exists());
    victim.kill().and_then(|()| victim.wait()).expect("the victim is killed");
    eventually("the server's folder is gone", || !Path::new(&data).exists());
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
