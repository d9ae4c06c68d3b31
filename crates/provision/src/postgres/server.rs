//! The embedded server's life. Every process that uses it holds a shared lock; whoever lets go last stops it.
//!
//! Locks are flock(2) locks, which the kernel releases when a process dies, however it dies:
//! 1. a user killed by SIGKILL leaves the server running and no lock behind;
//! 2. the next user finds the server by `postmaster.pid`, uses it, and as the last one stops it;
//! 3. a server killed by SIGKILL leaves a stale `postmaster.pid`; the next start recovers from its log of writes.

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
    program::{last_lines, run},
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
    /// Who may use the server, and how.
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

    /// Whether the cluster has been made. One that cannot be looked at counts as made: whoever uses it is told why.
    pub fn has_cluster(&self) -> bool {
        let version = Cluster { folder: self.cluster.clone(), access: self.access }.data().join("PG_VERSION");
        !matches!(version.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// A database role of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whom commands are: the owner of the databases.
    Owner,
    /// Who may do everything, COPY from programs included.
    Superuser,
}

/// A running embedded server that we use. Dropping it stops the server if nobody else uses it and nobody asked
/// to keep it.
pub struct Server {
    cluster: Cluster,
    binaries: Binaries,
    account: Account,
    durability: Durability,
    address: Address,
    password: String,
    /// Held shared while we use the server; `None` once released.
    use_lock: Option<File>,
    /// The end of the process waits until the server is released.
    _unfinished: Unfinished,
}

impl Server {
    /// Uses the server of `options.cluster`: finds it running, or starts it, making the cluster and fetching
    /// PostgreSQL first where they are missing.
    ///
    /// # Errors
    /// When PostgreSQL cannot be downloaded, the cluster cannot be made, or the server does not start.
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
        // What fails from here on leaves no server behind.
        let password = cluster.password()?;
        let use_lock = open_use_lock(&cluster)?;
        use_lock.lock_shared().during("lock", &cluster.folder)?;
        let address = match postgres.running()? {
            Some(address) => address,
            None => {
                // Others may have used a server that died, and find it where it was.
                let port = last_port(&cluster.data());
                postgres.start(Port { first: port, last: None }, progress)?
            }
        };
        let durability = options.durability;
        Ok(Self {
            cluster,
            binaries,
            account,
            durability,
            address,
            password,
            use_lock: Some(use_lock),
            _unfinished: Unfinished::begin(),
        })
    }

    /// Where the server listens and how to log in, as a `DATABASE_URL`. Contains the password.
    pub fn url(&self) -> String {
        self.url_of(DATABASE)
    }

    /// The same for another database of the same server.
    pub fn url_of(&self, database: &str) -> String {
        Login { address: &self.address, user: ROLE, password: &self.password }.url(database)
    }

    /// The same as `role`.
    ///
    /// # Errors
    /// When the superuser's password cannot be read.
    pub fn url_as(&self, role: Role, database: &str) -> Result<String, Error> {
        let (user, password) = self.credentials(role)?;
        Ok(Login { address: &self.address, user, password: &password }.url(database))
    }

    /// The program `name` of the server's own installation, such as `psql`, told by its environment to work on
    /// `database` as `role`: a process's arguments are anybody's to read.
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
        let port = match self.address {
            Address::Socket(_) => None,
            Address::Loopback(port) => Some(port),
        };
        self.postgres().start(Port { first: port, last: port }, progress)?;
        Ok(true)
    }

    /// Leaves the server running when its last user goes, until [`Self::stop_cluster`].
    ///
    /// # Errors
    /// When the marker file cannot be written.
    pub fn keep_running(&self) -> Result<(), Error> {
        self.cluster.private_file(KEEP_MARKER).map(drop)
    }

    /// Stops the server of `options.cluster` whoever uses it, and says whether one was running.
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
        if !last || self.cluster.folder.join(KEEP_MARKER).exists() {
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
        if let Err(error) = self.let_go() {
            // A destructor has no other way to tell; the server itself is intact and the next user finds it.
            eprintln!("warning: the embedded PostgreSQL was left running: {error}");
        }
    }
}

/// While this file is there, the server runs on without a user.
const KEEP_MARKER: &str = "keep-running";

/// Held while a server is started or stopped.
fn lock_life(cluster: &Cluster) -> Result<File, Error> {
    let lock = cluster.private_file("life.lock")?;
    lock.lock().during("lock", cluster.folder.join("life.lock"))?;
    Ok(lock)
}

fn open_use_lock(cluster: &Cluster) -> Result<File, Error> {
    cluster.private_file("use.lock")
}

fn remove_keep_marker(cluster: &Cluster) -> Result<(), Error> {
    let marker = cluster.folder.join(KEEP_MARKER);
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

/// PostgreSQL itself, on a cluster. Who starts or stops it holds the life lock.
struct Postgres<'p> {
    cluster: &'p Cluster,
    binaries: &'p Binaries,
    account: &'p Account,
    durability: Durability,
}

impl Postgres<'_> {
    /// Where the server runs, if it does, is ready and listens as it should.
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

    /// Whether an earlier version made the cluster, or started the server: on a port of 127.0.0.1.
    fn is_of_earlier_version(&self) -> bool {
        let is_elsewhere = || matches!(port_of_running_server(&self.cluster.data()), Ok(Some(_)));
        self.cluster.is_of_earlier_version() || (self.cluster.access == Access::Private && is_elsewhere())
    }

    /// Stops the earlier version's server, which nobody may be using, and gives the cluster our roles.
    fn upgrade(&self, progress: Progress<'_>) -> Result<(), Error> {
        let alone = open_use_lock(self.cluster)?;
        if alone.try_lock().is_err() {
            return Err(Error::EarlierVersion { path: self.cluster.folder.clone() });
        }
        // What the lock file of a dead server names may be any process by now: only one that answers is told to stop.
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
        // Each start begins its own log: `pg_ctl` appends as the server's account, which has to own it.
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
                Err(_) if attempt < START_ATTEMPTS && may_pass(cluster) => {
                    attempt += 1;
                    std::thread::sleep(START_PAUSE);
                }
                Err(source) => {
                    // The error names the log, whose end is a courtesy.
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

/// Whether the log shows a failure that goes away by itself: another program took the port between our choice
/// and the server's bind, or the processes of a server that was killed have not noticed yet.
fn may_pass(cluster: &Cluster) -> bool {
    const PASSING: [&str; 2] = ["Address already in use", "pre-existing shared memory block"];
    read_untrusted(&cluster.log()).is_ok_and(|log| PASSING.iter().any(|message| log.contains(message)))
}
