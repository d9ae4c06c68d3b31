//! A connection pooler in front of PostgreSQL.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Signal, geteuid};
use tempfile::TempDir;
use url::Url;

use crate::{
    data_dir,
    process::{OwnedProcess, free_port, passable_folder, run, with_port},
    skip,
};

/// Enough for a slow machine under load; usually a few milliseconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval between checks of a starting pooler.
const POLL: Duration = Duration::from_millis(10);

/// PgBouncer in transaction mode in front of a server, with Debian's settings except for the pool size. It ends when this
/// value is dropped, and when the test is killed.
pub struct PgBouncer {
    url: Url,
    folder: TempDir,
    process: Option<OwnedProcess>,
}

/// A program, and the folders of libraries that the system lacks.
struct Installation {
    program: PathBuf,
    libraries: Vec<PathBuf>,
}

impl PgBouncer {
    /// A pooler in front of the server of `url`, which needs a user and a password, with up to `pool_size` connections to
    /// each database. A skip and `None` if PgBouncer is not installed and `apt-get` cannot download it: it is unpacked into
    /// the data folder, so that neither root nor an installation is needed.
    pub async fn start(url: &str, pool_size: u32) -> Option<Self> {
        let url = Url::parse(url).expect("the server's URL is one");
        let installation = tokio::task::spawn_blocking(Installation::find).await;
        let installation = match installation.expect("looking for PgBouncer does not panic") {
            Ok(installation) => installation,
            Err(reason) => {
                skip(&format!("needs PgBouncer, which is not installed and cannot be fetched: {reason}"));
                return None;
            }
        };
        let end = Instant::now() + START_TIMEOUT;
        loop {
            let (mut pooler, port) = Self::spawn(&installation, &url, pool_size);
            while pooler.is_alive() {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Some(pooler);
                }
                assert!(Instant::now() < end, "PgBouncer answers within {START_TIMEOUT:?}: {}", pooler.log());
                tokio::time::sleep(POLL).await;
            }
            // Another process took the port meanwhile.
            let may_pass = pooler.log().contains("Address already in use");
            assert!(may_pass && Instant::now() < end, "PgBouncer starts: {}", pooler.log());
        }
    }

    fn spawn(installation: &Installation, server: &Url, pool_size: u32) -> (Self, u16) {
        // A pooler that root starts switches to another user, which rereads its files.
        let folder = passable_folder(&std::env::temp_dir()).expect("a temporary folder");
        let port = free_port();
        let password = server.password().expect("the server's URL has a password");
        let users = folder.path().join("users.txt");
        write(&users, &format!("\"{}\" \"{password}\"\n", server.username()));
        let configuration = folder.path().join("pgbouncer.ini");
        let server_port = server.port().expect("a server of this machine has a port");
        write(
            &configuration,
            &format!(
                "[databases]\n\
                 * = host=127.0.0.1 port={server_port}\n\
                 [pgbouncer]\n\
                 listen_addr = 127.0.0.1\n\
                 listen_port = {port}\n\
                 unix_socket_dir =\n\
                 auth_type = scram-sha-256\n\
                 auth_file = {}\n\
                 pool_mode = transaction\n\
                 default_pool_size = {pool_size}\n",
                users.display()
            ),
        );
        let log = File::create(folder.path().join("log")).expect("the log can be made");
        let mut command = installation.command();
        if geteuid().is_root() {
            command.args(["-u", "nobody"]);
        }
        command.arg(configuration).current_dir("/");
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        let process = OwnedProcess::spawn(&mut command, Signal::TERM, folder.path());
        (Self { url: with_port(server, port), folder, process: Some(process) }, port)
    }

    /// The URL of the server through the pooler.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Its log.
    pub fn log(&self) -> String {
        // There is no log before it has created the file.
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(OwnedProcess::is_alive)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.end();
        }
    }
}

impl Installation {
    /// The system's, else the one in the data folder, which is downloaded at the first call on a machine.
    fn find() -> Result<Self, String> {
        // Debian's is in a folder that is only in root's PATH.
        for program in ["pgbouncer", "/usr/sbin/pgbouncer"] {
            let installation = Self { program: program.into(), libraries: Vec::new() };
            if installation.command().arg("--version").output().is_ok_and(|output| output.status.success()) {
                return Ok(installation);
            }
        }
        let data_dir = data_dir();
        let target = data_dir.path().join("pgbouncer");
        fs::create_dir_all(data_dir.path()).map_err(|error| error.to_string())?;
        let lock = File::create(data_dir.path().join("pgbouncer.lock")).map_err(|error| error.to_string())?;
        lock.lock().map_err(|error| error.to_string())?;
        if !target.is_dir() {
            fetch(data_dir.path(), &target)?;
        }
        // `usr/lib/x86_64-linux-gnu` and its like.
        let folders = fs::read_dir(target.join("usr/lib")).into_iter().flatten().filter_map(Result::ok);
        let libraries = folders.map(|entry| entry.path()).collect();
        Ok(Self { program: target.join("usr/sbin/pgbouncer"), libraries })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if !self.libraries.is_empty() {
            let path = std::env::join_paths(&self.libraries).expect("folders of packages have plain names");
            command.env("LD_LIBRARY_PATH", path);
        }
        command
    }
}

/// Downloads Debian's package and the needed libraries that the system lacks, and unpacks them into `target`, completely or
/// not at all.
fn fetch(data_dir: &Path, target: &Path) -> Result<(), String> {
    println!("downloading PgBouncer (0.3 MB)");
    let scratch = tempfile::Builder::new().prefix(".setup-").tempdir_in(data_dir);
    let scratch = scratch.map_err(|error| error.to_string())?;
    let mut archives = vec![download(scratch.path(), "pgbouncer")?];
    let depends = run(Command::new("dpkg-deb").arg("--field").arg(&archives[0]).arg("Depends"))?;
    let names = depends.split(',').filter_map(|name| name.split_whitespace().next());
    for library in names.filter(|name| name.starts_with("lib")) {
        let query = ["--show", "--showformat", "${db:Status-Status}", library];
        if run(Command::new("dpkg-query").args(query)).is_ok_and(|status| status == "installed") {
            continue;
        }
        archives.push(download(scratch.path(), library)?);
    }
    let unpacked = scratch.path().join("unpacked");
    for archive in archives {
        run(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(&unpacked))?;
    }
    fs::rename(unpacked, target).map_err(|error| error.to_string())
}

/// Downloads the package `name` into a separate folder in `folder`, and returns the archive.
fn download(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let target = folder.join(name);
    fs::create_dir(&target).map_err(|error| error.to_string())?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.arg("--quiet").current_dir(&target);
        command
    };
    if run(apt_get().args(["download", name])).is_err() {
        // The system's package lists are missing, as in container images, or old. Separate lists need no root.
        let lists = folder.join("lists");
        let options = [
            format!("--option=Dir::State::lists={}", lists.display()),
            format!("--option=Dir::Cache={}", folder.join("cache").display()),
        ];
        if !lists.exists() {
            run(apt_get().args(&options).arg("update"))?;
        }
        run(apt_get().args(&options).args(["download", name]))?;
    }
    let mut files = fs::read_dir(&target).map_err(|error| error.to_string())?;
    let archive = files.next().ok_or_else(|| format!("apt-get has left no archive of {name}"))?;
    archive.map(|entry| entry.path()).map_err(|error| error.to_string())
}

fn write(path: &Path, content: &str) {
    fs::write(path, content).expect("a file can be written");
}
