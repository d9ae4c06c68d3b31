//! The lifecycle of the embedded server. Every process that uses it holds a shared lock; the last one to release it stops
//! the server.
//!
//! Locks are flock(2) locks, which the kernel releases when a process ends for any reason:
//! 1. a user killed by SIGKILL leaves the server running, but no lock;
//! 2. the next user finds the server by `postmaster.pid`, uses it, and stops it if it is the last one;
//! 3. a server killed by SIGKILL leaves a stale `postmaster.pid`; the next start recovers from the write-ahead log.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use records::Unfinished;

use super::{
    account::{Account, read_untrusted},
    binaries::Binaries,
    cluster::{Access, Cluster, DATABASE, Login},
    environment::without_libpq,
    running::{
        Address, answers_on_socket, is_postmaster_alive, last_port, port_of_running_server,
        take_over_from_zombie,
    },
    settings::{Durability, Memory, settings},
    single_user::{ROLE, SUPERUSER},
    socket,
};
use crate::{
    DataDir, Progress,
    error::{Error, FileContext as _},
    lock::LockedFile,
    program::{last_lines, run},
};

/// Crash recovery long after the last checkpoint can take minutes; `pg_ctl` returns as soon as the server is ready.
const START_TIMEOUT_SECONDS: &str = "600";

/// A start may fail transiently (see [`is_transient`]); this many attempts, half a second apart, are enough.
const START_ATTEMPTS: usize = 20;
const START_PAUSE: Duration = Duration::from_millis(500);

/// How to run the embedded server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The data folder with PostgreSQL's binaries.
    pub binaries: DataDir,
    /// Folder of the cluster.
    pub cluster: PathBuf,
    /// Whether commits survive a crash of the machine.
    pub durability: Durability,
    /// Access to the server.
    pub access: Access,
}

impl ServerOptions {
    /// The product's own server, in its data folder, with full durability.
    pub fn in_data_dir(data_dir: &DataDir) -> Self {
        Self {
            binaries: data_dir.clone(),
            cluster: data_dir.path().join("postgres"),
            durability: Durability::Full,
            access: Access::Private,
        }
    }

    /// Whether the cluster exists. One that cannot be examined counts as existing, so that its use reports the reason.
    pub fn has_cluster(&self) -> bool {
        let version = Cluster { folder: self.cluster.clone(), access: self.access }.data().join("PG_VERSION");
        !matches!(version.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// One of our database roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The role of commands: the owner of the databases.
    Owner,
    /// The superuser, who may do everything, including COPY from programs.
    Superuser,
}

/// A running embedded server in use. Dropping this value stops the server unless another process uses it or
/// [`keep_running`](Self::keep_running) was called.
pub struct Server {
    cluster: Cluster,
    /// [`Cluster::identity`] when we began to use it.
    identity: (u64, u64),
    binaries: Binaries,
    account: Account,
    durability: Durability,
    address: Address,
    password: String,
    /// A shared lock while we use the server; `None` once released.
    use_lock: Option<LockedFile>,
    /// The process does not exit before the server is released.
    _unfinished: Unfinished,
}

impl Server {
    /// Uses the server of `options.cluster`: finds it running, or starts it after creating the cluster and downloading
    /// PostgreSQL if they are missing.
    ///
    /// # Errors
    /// When PostgreSQL cannot be downloaded, the cluster cannot be created, or the server does not start.
    pub fn start(options: &ServerOptions, progress: Progress<'_>) -> Result<Self, Error> {
        let cluster = Cluster::open(&options.cluster, options.access)?;
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
        let postgres = Postgres {
            cluster: &cluster,
            binaries: &binaries,
            account: &account,
            durability: options.durability,
        };
        if existing.is_none() {
            cluster.create(&binaries, &account, progress)?;
        } else if postgres.is_of_earlier_version() {
            postgres.upgrade(progress)?;
        }
        // A failure from here on leaves no server running.
        let password = cluster.password()?;
        let use_lock = LockedFile::shared(use_lock_file(&cluster)?).during("lock", &cluster.folder)?;
        let address = match postgres.running()? {
            Some(address) => address,
            None => {
                // Other users of a server that died expect it on its previous port.
                let port = last_port(&cluster.data());
                postgres.start(Port { first: port, last: None }, progress)?
            }
        };
        let (durability, identity) = (options.durability, cluster.identity()?);
        Ok(Self {
            cluster,
            identity,
            binaries,
            account,
            durability,
            address,
            password,
            use_lock: Some(use_lock),
            _unfinished: Unfinished::begin(),
        })
    }

    /// The server's `DATABASE_URL`, including the password.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The same for another database of the same server.
    pub fn url_of(&self, database: &str) -> String {
        Login { address: &self.address, user: ROLE, password: &self.password }.url(database)
    }

    /// The same for `role`.
    ///
    /// # Errors
    /// When the superuser's password cannot be read.
    pub fn url_as(&self, role: Role, database: &str) -> Result<String, Error> {
        let (user, password) = self.credentials(role)?;
        Ok(Login { address: &self.address, user, password: &password }.url(database))
    }

    /// The program `name` of the server's installation, such as `psql`, with an environment for `database` and `role`:
    /// all users can read a process's arguments.
    ///
    /// # Errors
    /// When the superuser's password cannot be read.
    pub fn client(&self, name: &str, role: Role, database: &str) -> Result<Command, Error> {
        let (user, password) = self.credentials(role)?;
        let mut command = Command::new(self.binaries.program(name));
        without_libpq(&mut command).env("PGSSLMODE", "disable");
        command.env("PGUSER", user).env("PGPASSWORD", password).env("PGDATABASE", database);
        match &self.address {
            Address::Socket(folder) => {
                command.env("PGHOST", folder).env("PGPORT", socket::PORT.to_string());
            }
            Address::Loopback(port) => {
                command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string());
            }
        }
        Ok(command)
    }

    /// Locks the exchange of a database for another one until the result is dropped; `None` while another process has the
    /// lock.
    ///
    /// # Errors
    /// When the lock's file cannot be opened.
    pub fn lock_exchange(&self) -> Result<Option<ExchangeLock>, Error> {
        let file = self.cluster.private_file("exchange.lock")?;
        let locked = LockedFile::try_exclusive(file);
        let locked = locked.during("lock", self.cluster.folder.join("exchange.lock"))?;
        Ok(locked.map(|lock| ExchangeLock { _lock: lock }))
    }

    fn credentials(&self, role: Role) -> Result<(&'static str, String), Error> {
        match (role, self.cluster.access) {
            (Role::Superuser, Access::Private) => Ok((SUPERUSER, self.cluster.superuser_password()?)),
            (Role::Owner, _) | (Role::Superuser, Access::Loopback) => Ok((ROLE, self.password.clone())),
        }
    }

    /// The folder of the cluster.
    pub fn folder(&self) -> &std::path::Path {
        &self.cluster.folder
    }

    /// The program `name` of the server's installation, such as `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.program(name)
    }

    /// Restarts the server, on the same port, if its process has ended; returns whether it had. Cheap otherwise, so that
    /// it may be called often.
    ///
    /// # Errors
    /// When the server does not start, or another cluster is in its place.
    pub fn revive(&self, progress: Progress<'_>) -> Result<bool, Error> {
        if self.cluster.identity().ok() != Some(self.identity) {
            return Err(Error::ClusterReplaced { path: self.cluster.data() });
        }
        if is_postmaster_alive(&self.cluster.data()) {
            return Ok(false);
        }
        let _starting = lock_life(&self.cluster)?;
        // Another user may have restarted it.
        if is_postmaster_alive(&self.cluster.data()) {
            return Ok(false);
        }
        let port = match self.address {
            Address::Socket(_) => None,
            Address::Loopback(port) => Some(port),
        };
        self.postgres().start(Port { first: port, last: port }, progress)?;
        Ok(true)
    }

    /// Keeps the server running after its last user has released it, until [`Self::stop_cluster`].
    ///
    /// # Errors
    /// When the marker file cannot be written.
    pub fn keep_running(&self) -> Result<(), Error> {
        self.cluster.private_file(KEEP_MARKER).map(drop)
    }

    /// Stops the server of `options.cluster` even if it is in use; returns whether one was running.
    ///
    /// # Errors
    /// When the server does not stop.
    pub fn stop_cluster(options: &ServerOptions) -> Result<bool, Error> {
        if !options.cluster.is_dir() {
            return Ok(false);
        }
        let cluster = Cluster::open(&options.cluster, options.access)?;
        let Some(major) = cluster.major()? else { return Ok(false) };
        let _stopping = lock_life(&cluster)?;
        remove_keep_marker(&cluster)?;
        let port = port_of_running_server(&cluster.data())?;
        if port.is_none() && !answers_on_socket(&cluster.data(), &cluster.socket_folder())? {
            return Ok(false);
        }
        let binaries = options
            .binaries
            .exclusively(|data| Binaries::find(data, Some(major), &|_| {}))?
            .ok_or_else(|| Error::ClusterVersion { path: cluster.data(), found: major })?;
        let account = Account::choose(&cluster.data())?;
        let durability = options.durability;
        Postgres { cluster: &cluster, binaries: &binaries, account: &account, durability }.stop()?;
        Ok(true)
    }

    /// Releases the server, and stops it if we were its last user.
    ///
    /// # Errors
    /// When the server does not stop.
    pub fn release(mut self) -> Result<(), Error> {
        self.release_lock()
    }

    fn release_lock(&mut self) -> Result<(), Error> {
        let Some(use_lock) = self.use_lock.take() else { return Ok(()) };
        let _stopping = lock_life(&self.cluster)?;
        drop(use_lock);
        let alone =
            LockedFile::try_exclusive(use_lock_file(&self.cluster)?).during("lock", &self.cluster.folder)?;
        if alone.is_none() || self.cluster.folder.join(KEEP_MARKER).exists() {
            return Ok(());
        }
        if self.postgres().running()?.is_none() {
            return Ok(());
        }
        self.postgres().stop()
    }

    fn postgres(&self) -> Postgres<'_> {
        Postgres {
            cluster: &self.cluster,
            binaries: &self.binaries,
            account: &self.account,
            durability: self.durability,
        }
    }
}

/// While this lives, no other process exchanges a database of the server.
#[derive(Debug)]
pub struct ExchangeLock {
    _lock: LockedFile,
}

impl std::fmt::Debug for Server {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("cluster", &self.cluster)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.release_lock() {
            // A destructor cannot return an error; the server itself is intact, and the next user finds it.
            eprintln!("warning: the embedded PostgreSQL was left running: {error}");
        }
    }
}

/// While this file exists, the server keeps running without users.
const KEEP_MARKER: &str = "keep-running";

/// Locked while a server is started or stopped.
fn lock_life(cluster: &Cluster) -> Result<LockedFile, Error> {
    let file = cluster.private_file("life.lock")?;
    LockedFile::exclusive(file).during("lock", cluster.folder.join("life.lock"))
}

fn use_lock_file(cluster: &Cluster) -> Result<File, Error> {
    cluster.private_file("use.lock")
}

fn remove_keep_marker(cluster: &Cluster) -> Result<(), Error> {
    let marker = cluster.folder.join(KEEP_MARKER);
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).during("remove", marker),
        _ => Ok(()),
    }
}

/// The port for the first attempt to start, and that for the others. `None` is any free port.
#[derive(Clone, Copy)]
struct Port {
    first: Option<u16>,
    last: Option<u16>,
}

/// PostgreSQL on a cluster. The life lock must be held to start or stop it.
struct Postgres<'p> {
    cluster: &'p Cluster,
    binaries: &'p Binaries,
    account: &'p Account,
    durability: Durability,
}

impl Postgres<'_> {
    /// The address of the server, if it is running, ready and listens as configured.
    fn running(&self) -> Result<Option<Address>, Error> {
        match self.cluster.access {
            Access::Private => {
                let folder = self.cluster.socket_folder();
                let answers = answers_on_socket(&self.cluster.data(), &folder)?;
                Ok(answers.then_some(Address::Socket(folder)))
            }
            Access::Loopback => Ok(port_of_running_server(&self.cluster.data())?.map(Address::Loopback)),
        }
    }

    /// Whether an earlier version created the cluster, or started the server on a port of 127.0.0.1.
    fn is_of_earlier_version(&self) -> bool {
        let is_elsewhere = || matches!(port_of_running_server(&self.cluster.data()), Ok(Some(_)));
        self.cluster.is_of_earlier_version() || (self.cluster.access == Access::Private && is_elsewhere())
    }

    /// Stops the earlier version's server, which must not be in use, and creates our roles in the cluster.
    fn upgrade(&self, progress: Progress<'_>) -> Result<(), Error> {
        let folder = &self.cluster.folder;
        let Some(_alone) = LockedFile::try_exclusive(use_lock_file(self.cluster)?).during("lock", folder)?
        else {
            return Err(Error::EarlierVersion { path: folder.clone() });
        };
        // The lock file of a dead server may name an unrelated process by now: only a server that answers is stopped.
        if self.running()?.is_some() || port_of_running_server(&self.cluster.data())?.is_some() {
            self.stop()?;
        }
        take_over_from_zombie(&self.cluster.data(), None, self.account)?;
        if self.cluster.is_of_earlier_version() {
            self.cluster.upgrade(self.binaries, self.account, progress)?;
        }
        Ok(())
    }

    fn start(&self, ports: Port, progress: Progress<'_>) -> Result<Address, Error> {
        progress("starting the embedded PostgreSQL");
        let Self { cluster, binaries, account, .. } = self;
        let socket_folder = match cluster.access {
            Access::Private => Some(cluster.socket_folder()),
            Access::Loopback => None,
        };
        if let Some(folder) = &socket_folder {
            socket::prepare(folder, account)?;
        }
        take_over_from_zombie(&cluster.data(), socket_folder.as_deref(), account)?;
        let settings = settings(Memory::of_this_machine(), self.durability, socket_folder.as_deref());
        account.write(&cluster.settings(), &settings)?;
        let log = cluster.log();
        let opened = cluster.open_log(account)?;
        // Each start has a new log: `pg_ctl` appends as the server's account, which must own it.
        opened.set_len(0).during("empty", &log)?;
        account.own(&opened, &log)?;

        let mut attempt = 1;
        loop {
            let (port, address) = match &socket_folder {
                Some(folder) => (socket::PORT, Address::Socket(folder.clone())),
                None => {
                    let port = match if attempt == 1 { ports.first } else { ports.last } {
                        Some(port) => port,
                        None => free_port()?,
                    };
                    (port, Address::Loopback(port))
                }
            };
            let mut command = Command::new(binaries.program("pg_ctl"));
            command.args(["start", "--silent", "--wait", "--timeout", START_TIMEOUT_SECONDS]);
            command.arg("--pgdata").arg(cluster.data()).arg("--log").arg(&log);
            command.arg("--options").arg(format!("-p {port}"));
            match run(account.run(&mut command), "pg_ctl start") {
                Ok(_) => return Ok(address),
                Err(_) if attempt < START_ATTEMPTS && is_transient(cluster) => {
                    attempt += 1;
                    std::thread::sleep(START_PAUSE);
                }
                Err(source) => {
                    // The error names the log, so its last lines are optional.
                    let tail = last_lines(read_untrusted(&log).unwrap_or_default().as_bytes(), 3);
                    return Err(Error::Start { log, tail, source: Box::new(source) });
                }
            }
        }
    }

    fn stop(&self) -> Result<(), Error> {
        let mut command = Command::new(self.binaries.program("pg_ctl"));
        command.args(["stop", "--silent", "--wait", "--mode", "fast", "--timeout", START_TIMEOUT_SECONDS]);
        command.arg("--pgdata").arg(self.cluster.data());
        run(self.account.run(&mut command), "pg_ctl stop").map(drop)
    }
}

fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).during("bind a port of", "127.0.0.1")?;
    Ok(listener.local_addr().during("read a port of", "127.0.0.1")?.port())
}

/// Whether the log shows a transient failure: another program took the port between our choice and the server's bind, or
/// processes of a killed server are still ending.
fn is_transient(cluster: &Cluster) -> bool {
    const TRANSIENT: [&str; 2] = ["Address already in use", "pre-existing shared memory block"];
    read_untrusted(&cluster.log()).is_ok_and(|log| TRANSIENT.iter().any(|message| log.contains(message)))
}
