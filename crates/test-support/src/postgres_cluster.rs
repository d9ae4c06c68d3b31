//! A primary with streaming standbys, for tests of replicas and failover.

use std::time::{Duration, Instant};

use provision::Durability;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

use crate::postgres_server::PostgresServer;

/// Enough for a slow machine under load; usually a fraction of a second.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Interval between questions to a server.
const POLL: Duration = Duration::from_millis(20);

/// What a commit on the primary waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// The primary's own disk: a promotion loses what was not sent yet.
    Asynchronous,
    /// Also one of the standbys (`synchronous_standby_names = 'ANY 1 (*)'`): the most advanced standby has every commit that
    /// was acknowledged.
    Synchronous,
}

/// A primary and standbys of the product's own PostgreSQL, made by `pg_basebackup`. They have the same roles and databases,
/// each its own port. All end when this value is dropped, and when the test is killed.
///
/// Servers are numbered: 0 is the first primary, the standbys follow. Each is a [`PostgresServer`], to kill, stop and
/// restart by [`Self::server_mut`].
pub struct PostgresCluster {
    servers: Vec<PostgresServer>,
    primary: usize,
    replication: Replication,
}

impl PostgresCluster {
    /// A primary with `standbys` that stream from it, all with `settings` (name and value), which override ours. They do
    /// not wait for the disk, which a killed server does not need.
    pub async fn start(standbys: usize, replication: Replication, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![
            ("synchronous_commit", "on"),
            // A standby that was stopped for a while still finds what it missed.
            ("wal_keep_size", "256MB"),
            // Otherwise a standby looks for its primary every five seconds.
            ("wal_retrieve_retry_interval", "100ms"),
        ];
        all.extend(settings);
        let primary = PostgresServer::private(Durability::None, &all).await;
        let mut cluster = Self { servers: vec![primary], primary: 0, replication };
        for number in 1..=standbys {
            let standby = cluster.primary().standby(&format!("standby{number}")).await;
            cluster.servers.push(standby);
        }
        for number in 1..=standbys {
            cluster.wait_for_streaming(number).await;
        }
        cluster.set_synchronous(0, standbys > 0).await;
        cluster
    }

    /// The server that accepts writes.
    pub fn primary(&self) -> &PostgresServer {
        &self.servers[self.primary]
    }

    /// Its number.
    pub fn primary_number(&self) -> usize {
        self.primary
    }

    /// The server `number`.
    pub fn server(&self, number: usize) -> &PostgresServer {
        &self.servers[number]
    }

    /// The server `number`, to kill, stop or restart. Its role is the same after a restart.
    pub fn server_mut(&mut self, number: usize) -> &mut PostgresServer {
        &mut self.servers[number]
    }

    /// The `DATABASE_URL` with the servers `numbers` as hosts, in this order, and the parameters `query`.
    pub fn url_of(&self, numbers: &[usize], query: &str) -> String {
        let url = Url::parse(&self.servers[0].url()).expect("a server's URL is one");
        let hosts: Vec<String> =
            numbers.iter().map(|number| format!("127.0.0.1:{}", self.servers[*number].port())).collect();
        let (user, password) = (url.username(), url.password().expect("its role has a password"));
        format!("postgresql://{user}:{password}@{}{}?{query}", hosts.join(","), url.path())
    }

    /// Returns when the standby `number` has replayed what the primary has written before this call.
    pub async fn wait_for_replay(&self, number: usize) {
        let written = "select pg_logical_emit_message(false, 'test', '', true)::text";
        let lsn: String = ask(self.primary(), written).await;
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn");
        self.wait_until(number, &replayed, "replays what the primary has written").await;
    }

    /// Stops replay on the standby `number`, which still receives what the primary writes.
    pub async fn pause_replay(&self, number: usize) {
        self.servers[number].execute("select pg_wal_replay_pause()").await;
        self.wait_until(number, "select pg_get_wal_replay_pause_state() = 'paused'", "pauses").await;
    }

    /// Continues replay on the standby `number`.
    pub async fn resume_replay(&self, number: usize) {
        self.servers[number].execute("select pg_wal_replay_resume()").await;
    }

    /// Makes the standby `number` the primary, which the other running standbys follow. The former primary is not touched:
    /// if it still runs, there are two servers that accept writes.
    pub async fn promote(&mut self, number: usize) {
        let mut followers = Vec::new();
        for other in (0..self.servers.len()).filter(|other| *other != number) {
            let server = &self.servers[other];
            if server.is_running() && ask(server, "select pg_is_in_recovery()").await {
                followers.push(other);
            }
        }
        self.set_synchronous(number, !followers.is_empty()).await;
        let promoted: bool = ask(&self.servers[number], "select pg_promote(true, 120)").await;
        assert!(promoted, "the standby is promoted: {}", self.servers[number].log());
        self.primary = number;
        for follower in followers {
            self.follow(follower).await;
        }
    }

    /// Makes the standby `number` follow the present primary, as one that was down during a promotion has to.
    pub async fn follow(&self, number: usize) {
        let primary = self.primary().url_of("postgres");
        let standby = &self.servers[number];
        standby.execute(&format!("alter system set primary_conninfo = '{primary}'")).await;
        standby.execute("select pg_reload_conf()").await;
        self.wait_for_streaming(number).await;
    }

    /// Kills the primary and promotes the most advanced of the running standbys; returns its number. It has all commits that
    /// were acknowledged if replication is synchronous.
    pub async fn fail_over(&mut self) -> usize {
        self.servers[self.primary].kill();
        let mut most = None;
        for number in 0..self.servers.len() {
            if !self.servers[number].is_running() {
                continue;
            }
            // What was received is written when the receiver has ended.
            let ended = "select not exists (select from pg_stat_wal_receiver)";
            self.wait_until(number, ended, "notices that the primary has ended").await;
            // In bytes since the beginning.
            let received = "select (pg_last_wal_receive_lsn() - '0/0')::bigint";
            most = most.max(Some((ask::<i64>(&self.servers[number], received).await, number)));
        }
        let (_, number) = most.expect("a standby is running");
        self.promote(number).await;
        number
    }

    /// Sets what commits on server `number` wait for.
    async fn set_synchronous(&self, number: usize, has_standbys: bool) {
        if self.replication == Replication::Synchronous && has_standbys {
            let server = &self.servers[number];
            server.execute("alter system set synchronous_standby_names = 'ANY 1 (*)'").await;
            server.execute("select pg_reload_conf()").await;
            self.wait_until(
                number,
                "select current_setting('synchronous_standby_names') <> ''",
                "reads its settings",
            )
            .await;
        }
    }

    async fn wait_for_streaming(&self, number: usize) {
        let streams = "select exists (select from pg_stat_wal_receiver where status = 'streaming')";
        self.wait_until(number, streams, "streams from the primary").await;
    }

    /// Asks server `number` until it answers yes.
    async fn wait_until(&self, number: usize, question: &str, what: &str) {
        let end = Instant::now() + TIMEOUT;
        let server = &self.servers[number];
        while !ask::<bool>(server, question).await {
            assert!(Instant::now() < end, "server {number} {what} within {TIMEOUT:?}: {}", server.log());
            // PostgreSQL gives no notification of what is asked.
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The only value of the answer to `question`.
async fn ask<T>(server: &PostgresServer, question: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = PgConnection::connect(&server.url()).await.expect("the server answers");
    let answer = sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut connection).await;
    answer.expect("the statement runs")
}
