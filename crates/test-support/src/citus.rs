//! A database of its own on the Citus cluster that an environment variable names.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::postgres::Database;
use tokio::sync::{Mutex, MutexGuard};
use url::Url;
use uuid::Uuid;

use crate::{cutting_proxy::CuttingProxy, database::TestDatabase, run_mode::not_permitted};

/// The URL of the coordinator, with a role that may create databases and extensions there and on the workers.
const VARIABLE: &str = "PANOPTICON_TEST_CITUS_URL";

/// A cluster has few replication slots, of which a distribution uses several, whose names are the same in all databases.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
/// The same between processes, while the connection lasts.
const ONE_PROCESS: &str = "select pg_advisory_lock(hashtextextended('panopticon tests', 0))";

/// An empty database on a coordinator and its workers, with the extensions. Tests remove it at their end; that of a failed
/// test stays.
pub struct CitusDatabase {
    name: String,
    /// The coordinator, then the workers.
    servers: Vec<Url>,
    _turn: (PgConnection, MutexGuard<'static, ()>),
}

impl CitusDatabase {
    /// Creates one; `None` if the environment names no cluster, and then says so.
    pub async fn create() -> Option<Self> {
        Self::create_with(|_| None).await
    }

    /// The same where the cluster reaches one of its workers through the proxy. The worker is on this machine.
    pub async fn create_behind_a_proxy() -> Option<(Self, CuttingProxy)> {
        let mut proxy = None;
        let database = Self::create_with(|worker| {
            let started = proxy.is_none().then(|| CuttingProxy::start(worker.as_str()))?;
            let port = Url::parse(started.url()).expect("it is a URL").port();
            proxy = Some(started);
            port
        });
        Some((database.await?, proxy.expect("the cluster has a worker")))
    }

    /// The same where each worker has the port that `port_of` returns, or its own.
    async fn create_with(mut port_of: impl FnMut(&Url) -> Option<u16>) -> Option<Self> {
        let Ok(url) = std::env::var(VARIABLE) else {
            not_permitted(&format!("no registry has Citus: set {VARIABLE} to the URL of a coordinator"));
            return None;
        };
        let turn = ONE_AT_A_TIME.lock().await;
        let coordinator = Url::parse(&url).expect("the URL of the coordinator is one");
        let mut lock = connection(&coordinator).await;
        sqlx::raw_sql(ONE_PROCESS).execute(&mut lock).await.expect("the cluster is locked");
        let workers: Vec<(String, i32)> =
            sqlx::query_as("select node_name::text, node_port::int from citus_get_active_worker_nodes()")
                .fetch_all(&mut connection(&coordinator).await)
                .await
                .expect("the server is a coordinator");
        assert!(!workers.is_empty(), "the coordinator has workers");
        let at = |host: &str, port: i32| {
            let mut url = coordinator.clone();
            url.set_host(Some(host)).expect("a worker has a host");
            url.set_port(u16::try_from(port).ok()).expect("a worker has a port");
            url
        };
        let mut servers = vec![coordinator.clone()];
        servers.extend(workers.iter().map(|(host, port)| at(host, *port)));
        let name = format!("test_{}", Uuid::new_v4().simple());
        let database = Self { name, servers, _turn: (lock, turn) };
        for server in &database.servers {
            execute(server, &format!("create database {}", database.name)).await;
            let own = database.own(server);
            execute(&own, "create extension citus").await;
            execute(&own, "create extension vector").await;
        }
        let own = Url::parse(&database.url()).expect("it is a URL");
        let host = coordinator.host_str().expect("the coordinator has a host");
        let port = coordinator.port().unwrap_or(5432);
        execute(&own, &format!("select citus_set_coordinator_host('{host}', {port})")).await;
        for (worker, (host, port)) in database.servers[1..].iter().zip(workers) {
            let port = port_of(worker).map_or(port, i32::from);
            execute(&own, &format!("select citus_add_node('{host}', {port})")).await;
        }
        Some(database)
    }

    /// Its `DATABASE_URL`.
    pub fn url(&self) -> String {
        self.own(&self.servers[0]).into()
    }

    /// A database with the current schema, whose tables of services are distributed over two shards.
    pub async fn distributed(&self) -> Database {
        let database = Database::connect(&self.url()).await.expect("the database answers");
        database.prepare_schema().await.expect("the schema is prepared");
        for table in ["queries", "evaluation_metrics", "llm_outputs"] {
            database.distribute(table, 2).await.expect("the table is distributed");
        }
        database
    }

    /// Runs statements on the coordinator.
    pub async fn execute(&self, sql: &str) {
        execute(&self.own(&self.servers[0]), sql).await;
    }

    /// The texts that a statement returns.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let mut connection = connection(&self.own(&self.servers[0])).await;
        let texts = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_all(&mut connection).await;
        texts.expect("the statement runs")
    }

    /// Drops it on all servers.
    pub async fn remove(self) {
        for server in &self.servers {
            execute(server, &format!("drop database if exists {} with (force)", self.name)).await;
        }
    }

    fn own(&self, server: &Url) -> Url {
        let mut url = server.clone();
        url.set_path(&self.name);
        url
    }
}

impl TestDatabase {
    /// Makes the database seem to have Citus for those that connect from now on, so that they send the statements and messages
    /// of such a database. PostgreSQL ignores the settings of an extension that it does not have. No table is distributed.
    pub async fn pretend_to_have_citus(&self) {
        self.execute(
            "insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
            select 1, 'citus', 10, 'pg_catalog'::regnamespace, false, '14.0'",
        )
        .await;
    }
}

async fn connection(url: &Url) -> PgConnection {
    PgConnection::connect(url.as_str()).await.expect("the server answers")
}

async fn execute(url: &Url, sql: &str) {
    let mut connection = connection(url).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("the statement runs");
    connection.close().await.expect("the connection closes");
}
