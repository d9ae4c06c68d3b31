//! The cluster on disk: created once, completely or not at all.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    account::{Account, open_folder, read_untrusted},
    binaries::Binaries,
    running::Address,
    single_user::{Passwords, ROLE, SUPERUSER, SingleUser},
    socket,
};
use crate::{
    Progress,
    error::{Error, FileContext as _},
    ownership::{own_folder, private_file, read_own},
    program::run,
};

/// Access to a cluster's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only this account, on a Unix socket in a private folder, by a role that is not a superuser. There is a superuser,
    /// whose password is in a file.
    Private,
    /// Any account of this machine with the password, on a port of 127.0.0.1, by a superuser: for tests, whose data is
    /// not sensitive and whose proxies need a port.
    Loopback,
}

/// The default database.
pub const DATABASE: &str = "panopticon";
/// The server's log, next to the cluster.
pub(crate) const LOG: &str = "server.log";

/// The folder of the embedded server: the cluster itself, its passwords, log, locks and socket.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) folder: PathBuf,
    pub(crate) access: Access,
}

impl Cluster {
    /// Creates `folder` with access only for this account if it is missing, and refuses one of another account, which
    /// could put links in place of files that we write.
    pub(crate) fn open(folder: &Path, access: Access) -> Result<Self, Error> {
        let folder = own_folder(folder)?;
        let opened = open_folder(&folder).during("open", &folder)?;
        let owner = opened.metadata().during("examine", &folder)?.uid();
        let ourselves = rustix::process::geteuid();
        if owner != ourselves.as_raw() {
            return Err(Error::OtherOwner { path: folder, owner, ourselves: ourselves.as_raw() });
        }
        // If we are root, the server's account passes through this folder to its cluster; our own files are next to it.
        let mode = if ourselves.is_root() { 0o711 } else { 0o700 };
        opened.set_permissions(fs::Permissions::from_mode(mode)).during("set mode of", &folder)?;
        Ok(Self { folder, access })
    }

    /// The file `name`, which only this account may open.
    pub(crate) fn private_file(&self, name: &str) -> Result<File, Error> {
        private_file(&self.folder.join(name), rustix::process::geteuid().as_raw())
    }

    /// The server's log, which belongs to `account` once the server has been started.
    pub(crate) fn open_log(&self, account: &Account) -> Result<File, Error> {
        private_file(&self.log(), account.uid())
    }

    /// The folder of a private server's socket.
    pub(crate) fn socket_folder(&self) -> PathBuf {
        socket::folder(&self.folder)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Our settings, included by `postgresql.conf` and rewritten at each start.
    pub(crate) fn settings(&self) -> PathBuf {
        self.data().join("panopticon.conf")
    }

    /// Readable only by this account; the server stores only its hash.
    fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    pub(crate) fn password(&self) -> Result<String, Error> {
        read_own(&self.password_file())
    }

    pub(crate) fn write_password(&self, password: &str) -> Result<(), Error> {
        write_private(&self.password_file(), password).map(drop)
    }

    /// Only in a private cluster. It exists if the cluster has the roles of this version.
    fn superuser_password_file(&self) -> PathBuf {
        self.folder.join("superuser-password")
    }

    pub(crate) fn superuser_password(&self) -> Result<String, Error> {
        read_own(&self.superuser_password_file())
    }

    /// Whether an earlier version created the cluster, in which our role was the superuser.
    pub(crate) fn is_of_earlier_version(&self) -> bool {
        self.access == Access::Private && !self.superuser_password_file().exists()
    }

    /// Device and inode of the cluster's data, by which another cluster in its place is noticed.
    pub(crate) fn identity(&self) -> Result<(u64, u64), Error> {
        let data = fs::metadata(self.data()).during("examine", self.data())?;
        Ok((data.dev(), data.ino()))
    }

    /// Major version of the cluster, if there is one. A cluster that cannot be read is an error, since ignoring it would
    /// create another in its place.
    pub(crate) fn major(&self) -> Result<Option<u32>, Error> {
        let path = self.data().join("PG_VERSION");
        match read_untrusted(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some(major)),
                Err(_) => Err(Error::VersionFile { path, found: text }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).during("read", path),
        }
    }

    /// Creates the cluster with its database. If it is killed, it leaves only a scratch folder, which the next attempt
    /// removes.
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

        let (password, superuser_password) = (new_password(), new_password());
        self.write_password(&password)?;
        let initial = match self.access {
            Access::Private => (SUPERUSER, &superuser_password),
            Access::Loopback => (ROLE, &password),
        };
        let password_file = scratch.with_extension("password");
        account.own(&write_private(&password_file, initial.1)?, &password_file)?;
        let initialised = initdb(binaries, account, &scratch, (initial.0, &password_file));
        fs::remove_file(&password_file).during("remove", &password_file)?;
        initialised?;
        let single_user = SingleUser { binaries, account, data: &scratch };
        match self.access {
            Access::Private => {
                single_user.set_up(DATABASE, &password)?;
                write_private(&self.superuser_password_file(), &superuser_password)?;
            }
            Access::Loopback => {
                single_user.run("postgres", &[&format!("create database {DATABASE}")])?;
            }
        }
        include_settings(account, &scratch)?;
        fs::rename(&scratch, self.data()).during("create", self.data())
    }

    /// Creates the roles of this version in a cluster of an earlier version, whose server must not run.
    pub(crate) fn upgrade(
        &self,
        binaries: &Binaries,
        account: &Account,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        progress("creating a role that is not a superuser in the embedded PostgreSQL cluster");
        let superuser = new_password();
        let single_user = SingleUser { binaries, account, data: &self.data() };
        single_user.demote(&Passwords { role: &self.password()?, superuser: &superuser })?;
        write_private(&self.superuser_password_file(), &superuser).map(drop)
    }
}

/// A login to one of our servers.
pub(crate) struct Login<'l> {
    pub(crate) address: &'l Address,
    pub(crate) user: &'l str,
    pub(crate) password: &'l str,
}

impl Login<'_> {
    /// The `DATABASE_URL` of `database`. It sets every parameter that libpq's environment variables could change.
    pub(crate) fn url(&self, database: &str) -> String {
        let Self { address, user, password } = self;
        let database: String = url::form_urlencoded::byte_serialize(database.as_bytes()).collect();
        match address {
            Address::Socket(folder) => {
                // `socket::folder` chooses names that need no escaping.
                let (folder, port) = (folder.display(), socket::PORT);
                format!(
                    "postgresql://{user}:{password}@/{database}?host={folder}&port={port}&sslmode=disable&options="
                )
            }
            Address::Loopback(port) => format!("postgresql://{user}:{password}@127.0.0.1:{port}/{database}"),
        }
    }
}

fn new_password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Runs `initdb` with this superuser: its name, and the file with its password.
fn initdb(
    binaries: &Binaries,
    account: &Account,
    data: &Path,
    superuser: (&str, &Path),
) -> Result<(), Error> {
    // PostgreSQL 17 introduced a built-in C.UTF-8; before, C is the only locale that every machine has.
    let locale: &[&str] = if binaries.major() >= 17 {
        &["--locale-provider=builtin", "--locale=C.UTF-8", "--lc-collate=C", "--lc-ctype=C"]
    } else {
        &["--locale=C"]
    };
    let mut command = Command::new(binaries.program("initdb"));
    command.arg("--pgdata").arg(data).arg("--pwfile").arg(superuser.1);
    command.args(["--username", superuser.0, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"]);
    command.args(locale);
    run(account.run(&mut command), "initdb").map(drop)
}

/// Makes PostgreSQL read our settings after its own.
fn include_settings(account: &Account, data: &Path) -> Result<(), Error> {
    let path = data.join("postgresql.conf");
    let own = read_untrusted(&path).during("read", &path)?;
    account.write(&path, &format!("{own}include_if_exists = 'panopticon.conf'\n"))
}

/// Writes a new file that only this account may read, replacing an existing one.
fn write_private(path: &Path, content: &str) -> Result<File, Error> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).during("replace", path)?;
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).during("create", path)?;
    file.write_all(content.as_bytes()).during("write", path)?;
    Ok(file)
}
