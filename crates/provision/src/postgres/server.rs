//! The embedded server's life. Every process that uses it holds a shared lock; whoever lets go last stops it.
//!
//! Locks are flock(2) locks, which the kernel releases when a process dies, however it dies:
//! 1. a user killed by SIGKILL leaves the server running and no lock behind;
//! 2. the next user finds the server by `postmaster.pid`, uses it, and as the last one stops it;
//! 3. a server killed by SIGKILL leaves a stale `postmaster.pid`; the next start recovers from its log of writes.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use super::{
    account::Account,
    binaries::Binaries,
    cluster::{Cluster, DATABASE, database_url, run},
    running::{is_postmaster_alive, last_port, port_of_running_server, take_over_from_zombie},
    settings::{Durability, Memory, settings},
};
use crate::{
    DataDir, Progress,
    error::{Error, FileContext as _},
    wheel::last_lines,
};

/// Crash recovery after a long life without checkpoint takes minutes at the worst; `pg_ctl` returns as soon as
/// the server is ready.
const START_TIMEOUT_SECONDS: &str = "600";

/// Starts may fail for causes that pass (see [`may_pass`]); this many, half a second apart, are enough for each.
const START_ATTEMPTS: usize = 20;
const START_PAUSE: Duration = Duration::from_millis(500);

/// How to run the embedded server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where PostgreSQL's binaries are kept.
    pub binaries: DataDir,
    /// Folder of the cluster.
    pub cluster: PathBuf,
    /// Whether commits survive a crash of the machine.
    pub durability: Durability,
}

impl ServerOptions {
    /// The product's own server, in its data folder, with full durability.
    pub fn in_data_dir(data_dir: &DataDir) -> Self {
        Self {
            binaries: data_dir.clone(),
            cluster: data_dir.path().join("postgres"),
            durability: Durability::Full,
        }
    }

    /// Whether the cluster has been made.
    pub fn has_cluster(&self) -> bool {
        Cluster { folder: self.cluster.clone() }.data().join("PG_VERSION").is_file()
    }
}

/// A running embedded server that we use. Dropping it stops the server if nobody else uses it and nobody asked
/// to keep it.
pub struct Server {
    cluster: Cluster,
    binaries: Binaries,
    account: Account,
    durability: Durability,
    port: u16,
    password: String,
    /// Held shared while we use the server; `None` once released.
    use_lock: Option<File>,
}

impl Server {
    /// Uses the server of `options.cluster`: finds it running, or starts it, making the cluster and fetching
    /// PostgreSQL first where they are missing.
    ///
    /// # Errors
    /// When PostgreSQL cannot be downloaded, the cluster cannot be made, or the server does not start.
    pub fn start(options: &ServerOptions, progress: Progress<'_>) -> Result<Self, Error> {
        fs::create_dir_all(&options.cluster).during("create", &options.cluster)?;
        let folder = options.cluster.canonicalize().during("resolve", &options.cluster)?;
        // The server's account passes through the folder to its cluster; we keep our own files beside it.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).during("set mode of", &folder)?;
        let cluster = Cluster { folder };
        let _starting = lock_life(&cluster)?;

        let existing = cluster.major()?;
        let binaries = options
            .binaries
            .exclusively(|data| Binaries::find(data, existing, progress))?
            .ok_or_else(|| Error::ClusterVersion {
                path: cluster.data(),
                found: existing.expect("without a cluster any version serves"),
            })?;
        let account = Account::choose(&cluster.data())?;
        if existing.is_none() {
            cluster.create(&binaries, &account, progress)?;
        }
        let use_lock = open_use_lock(&cluster)?;
        use_lock.lock_shared().during("lock", &cluster.folder)?;
        let port = match port_of_running_server(&cluster.data())? {
            Some(port) => port,
            None => {
                // Others may have used a server that died, and find it where it was.
                let port = last_port(&cluster.data());
                start_postgres(
                    &cluster,
                    &binaries,
                    &account,
                    options.durability,
                    Port { first: port, last: None },
                    progress,
                )?
            }
        };
        let password = cluster.password()?;
        let durability = options.durability;
        Ok(Self { cluster, binaries, account, durability, port, password, use_lock: Some(use_lock) })
    }

    /// Where the server listens and how to log in, as a `DATABASE_URL`. Contains the password.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// Like [`Self::url`], for another database of the same server.
    pub fn url_of(&self, database: &str) -> String {
        database_url(self.port, &self.password, database)
    }

    /// The folder of the cluster.
    pub fn folder(&self) -> &std::path::Path {
        &self.cluster.folder
    }

    /// The program `name` of the server's own installation, such as `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    /// Starts the server again, on the same port, if its process has gone, and says whether it had. Cheap where it has
    /// not, so that it may be asked often.
    ///
    /// # Errors
    /// When the server does not start.
    pub fn revive(&self, progress: Progress<'_>) -> Result<bool, Error> {
        if is_postmaster_alive(&self.cluster.data()) {
            return Ok(false);
        }
        let _starting = lock_life(&self.cluster)?;
        // Another user may have been faster.
        if is_postmaster_alive(&self.cluster.data()) {
            return Ok(false);
        }
        let port = Port { first: Some(self.port), last: Some(self.port) };
        start_postgres(&self.cluster, &self.binaries, &self.account, self.durability, port, progress)?;
        Ok(true)
    }

    /// Leaves the server running when its last user goes, until [`Self::stop_cluster`].
    ///
    /// # Errors
    /// When the marker file cannot be written.
    pub fn keep_running(&self) -> Result<(), Error> {
        let marker = keep_marker(&self.cluster);
        File::create(&marker).map(drop).during("create", marker)
    }

    /// Stops the server of `options.cluster` whoever uses it, and says whether one was running.
    ///
    /// # Errors
    /// When the server does not stop.
    pub fn stop_cluster(options: &ServerOptions) -> Result<bool, Error> {
        let Ok(folder) = options.cluster.canonicalize() else { return Ok(false) };
        let cluster = Cluster { folder };
        let Some(major) = cluster.major()? else { return Ok(false) };
        let _stopping = lock_life(&cluster)?;
        remove_keep_marker(&cluster)?;
        if port_of_running_server(&cluster.data())?.is_none() {
            return Ok(false);
        }
        let binaries = options
            .binaries
            .exclusively(|data| Binaries::find(data, Some(major), &|_| {}))?
            .ok_or_else(|| Error::ClusterVersion { path: cluster.data(), found: major })?;
        let account = Account::choose(&cluster.data())?;
        stop_postgres(&cluster, &binaries, &account)?;
        Ok(true)
    }

    /// Lets go of the server and stops it if we were its last user.
    ///
    /// # Errors
    /// When the server does not stop.
    pub fn release(mut self) -> Result<(), Error> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<(), Error> {
        let Some(use_lock) = self.use_lock.take() else { return Ok(()) };
        let _stopping = lock_life(&self.cluster)?;
        drop(use_lock);
        let last = open_use_lock(&self.cluster)?.try_lock().is_ok();
        if !last || keep_marker(&self.cluster).exists() {
            return Ok(());
        }
        if port_of_running_server(&self.cluster.data())?.is_none() {
            return Ok(());
        }
        stop_postgres(&self.cluster, &self.binaries, &self.account)
    }
}

impl std::fmt::Debug for Server {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("cluster", &self.cluster)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.let_go() {
            // A destructor has no other way to tell; the server itself is intact and the next user finds it.
            eprintln!("warning: the embedded PostgreSQL was left running: {error}");
        }
    }
}

/// Held while a server is started or stopped.
fn lock_life(cluster: &Cluster) -> Result<File, Error> {
    let path = cluster.folder.join("life.lock");
    let lock = File::create(&path).during("create", &path)?;
    lock.lock().during("lock", path)?;
    Ok(lock)
}

fn open_use_lock(cluster: &Cluster) -> Result<File, Error> {
    let path = cluster.folder.join("use.lock");
    File::create(&path).during("create", path)
}

fn keep_marker(cluster: &Cluster) -> PathBuf {
    cluster.folder.join("keep-running")
}

fn remove_keep_marker(cluster: &Cluster) -> Result<(), Error> {
    let marker = keep_marker(cluster);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).during("remove", marker),
        _ => Ok(()),
    }
}

/// Which ports to start on: the first attempt's, and that of the others. `None` is any that is free.
#[derive(Clone, Copy)]
struct Port {
    first: Option<u16>,
    last: Option<u16>,
}

fn start_postgres(
    cluster: &Cluster,
    binaries: &Binaries,
    account: &Account,
    durability: Durability,
    ports: Port,
    progress: Progress<'_>,
) -> Result<u16, Error> {
    progress("starting the embedded PostgreSQL");
    take_over_from_zombie(&cluster.data())?;
    let path = cluster.settings();
    fs::write(&path, settings(Memory::of_this_machine(), durability)).during("write", &path)?;
    account.own(&path)?;
    let log = cluster.log();
    // Each start begins its own log: `pg_ctl` appends as the server's account, which has to own it.
    File::create(&log).during("create", &log)?;
    account.own(&log)?;

    let mut attempt = 1;
    loop {
        let port = match if attempt == 1 { ports.first } else { ports.last } {
            Some(port) => port,
            None => free_port()?,
        };
        let mut command = Command::new(binaries.program("pg_ctl"));
        command.args(["start", "--silent", "--wait", "--timeout", START_TIMEOUT_SECONDS]);
        command.arg("--pgdata").arg(cluster.data()).arg("--log").arg(&log);
        command.arg("--options").arg(format!("-p {port}"));
        match run(account.run(&mut command), "pg_ctl start") {
            Ok(_) => return Ok(port),
            Err(_) if attempt < START_ATTEMPTS && may_pass(cluster) => {
                attempt += 1;
                std::thread::sleep(START_PAUSE);
            }
            Err(source) => {
                let tail = last_lines(&fs::read(&log).unwrap_or_default(), 3);
                return Err(Error::Start { log, tail, source: Box::new(source) });
            }
        }
    }
}

fn stop_postgres(cluster: &Cluster, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    let mut command = Command::new(binaries.program("pg_ctl"));
    command.args(["stop", "--silent", "--wait", "--mode", "fast", "--timeout", START_TIMEOUT_SECONDS]);
    command.arg("--pgdata").arg(cluster.data());
    run(account.run(&mut command), "pg_ctl stop").map(drop)
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).during("bind a port of", "127.0.0.1")?;
    Ok(listener.local_addr().during("read a port of", "127.0.0.1")?.port())
}

/// Whether the log shows a failure that goes away by itself: another program took the port between our choice
/// and the server's bind, or the processes of a server that was killed have not noticed yet.
fn may_pass(cluster: &Cluster) -> bool {
    const PASSING: [&str; 2] = ["Address already in use", "pre-existing shared memory block"];
    fs::read_to_string(cluster.log()).is_ok_and(|log| PASSING.iter().any(|message| log.contains(message)))
}
