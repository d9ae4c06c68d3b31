//! The cluster on disk: made once, complete or not at all.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use url::Url;

use super::{account::Account, binaries::Binaries};
use crate::{
    Progress,
    error::{Error, FileContext as _},
    wheel::last_lines,
};

/// Superuser of the embedded server.
const USER: &str = "panopticon";
/// The database that `DATABASE_URL` would name.
pub(crate) const DATABASE: &str = "panopticon";

/// The folder of the embedded server: the cluster itself, its password, log and locks.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) folder: PathBuf,
}

impl Cluster {
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    /// Settings of ours, included by `postgresql.conf` and written anew at each start.
    pub(crate) fn settings(&self) -> PathBuf {
        self.data().join("panopticon.conf")
    }

    /// Read by us alone; the server keeps only its hash.
    fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    pub(crate) fn password(&self) -> Result<String, Error> {
        let path = self.password_file();
        fs::read_to_string(&path).during("read", path)
    }

    /// Major version of the cluster, if there is one. A cluster that cannot be read is an error: taking it for
    /// none would make another in its place.
    pub(crate) fn major(&self) -> Result<Option<u32>, Error> {
        let path = self.data().join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some(major)),
                Err(_) => Err(Error::VersionFile { path, found: text }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).during("read", path),
        }
    }

    /// Makes the cluster with its database. Killed half-way, it leaves only a scratch folder that the next
    /// attempt removes.
    pub(crate) fn create(
        &self,
        binaries: &Binaries,
        account: &Account,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        progress("creating the embedded PostgreSQL cluster");
        let scratch = self.folder.join("data.new");
        if scratch.exists() {
            fs::remove_dir_all(&scratch).during("remove", &scratch)?;
        }
        account.create_folder(&scratch)?;

        let password = uuid::Uuid::new_v4().simple().to_string();
        write_private(&self.password_file(), &password)?;
        let handed_over = scratch.with_extension("password");
        write_private(&handed_over, &password)?;
        account.own(&handed_over)?;
        let initialised = initdb(binaries, account, &scratch, &handed_over);
        fs::remove_file(&handed_over).during("remove", &handed_over)?;
        initialised?;
        create_database(binaries, account, &scratch)?;

        let configuration = scratch.join("postgresql.conf");
        let mut file =
            fs::OpenOptions::new().append(true).open(&configuration).during("open", &configuration)?;
        file.write_all(b"include_if_exists = 'panopticon.conf'\n").during("write", &configuration)?;
        fs::rename(&scratch, self.data()).during("create", self.data())
    }
}

/// How to log in to `database` of a server of ours on `port`, as a `DATABASE_URL`.
pub(crate) fn database_url(port: u16, password: &str, database: &str) -> String {
    let mut url = Url::parse("postgresql://127.0.0.1").expect("the literal is a URL");
    let settable = "a URL with a host takes a user, a password and a port";
    url.set_username(USER).expect(settable);
    url.set_password(Some(password)).expect(settable);
    url.set_port(Some(port)).expect(settable);
    url.set_path(database);
    url.into()
}

fn initdb(binaries: &Binaries, account: &Account, data: &Path, password_file: &Path) -> Result<(), Error> {
    // PostgreSQL 17 brought its own C.UTF-8; before it, plain C is the one locale that every machine has.
    let locale: &[&str] = if binaries.major() >= 17 {
        &["--locale-provider=builtin", "--locale=C.UTF-8", "--lc-collate=C", "--lc-ctype=C"]
    } else {
        &["--locale=C"]
    };
    let mut command = Command::new(binaries.program("initdb"));
    command.arg("--pgdata").arg(data).arg("--pwfile").arg(password_file);
    command.args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]);
    command.args(locale);
    run(account.run(&mut command), "initdb").map(drop)
}

/// A single-user back end creates the database before any server runs, so that no start ever finds a cluster
/// without it.
fn create_database(binaries: &Binaries, account: &Account, data: &Path) -> Result<(), Error> {
    let mut command = Command::new(binaries.program("postgres"));
    command.args(["--single", "-D"]).arg(data).arg("postgres");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| Error::Spawn { program: "postgres --single".into(), source };
    let mut child = account.run(&mut command).spawn().map_err(failed)?;
    let mut input = child.stdin.take().expect("standard input is piped");
    input.write_all(format!("create database {DATABASE}\n").as_bytes()).map_err(failed)?;
    drop(input);
    let output = child.wait_with_output().map_err(failed)?;
    // A single-user back end exits 0 even when a statement failed, but says so.
    if output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("ERROR:") {
        return Ok(());
    }
    let printed = last_lines(&output.stderr, 3);
    Err(Error::Program { program: "postgres --single".into(), status: output.status, output: printed })
}

/// Runs `command` to its end and gives what it printed.
pub(crate) fn run(command: &mut Command, program: &str) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Spawn { program: program.to_owned(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let printed = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    Err(Error::Program { program: program.to_owned(), status: output.status, output: last_lines(printed, 3) })
}

fn write_private(path: &Path, content: &str) -> Result<(), Error> {
    if path.exists() {
        fs::remove_file(path).during("replace", path)?;
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).during("create", path)?;
    file.write_all(content.as_bytes()).during("write", path)
}
