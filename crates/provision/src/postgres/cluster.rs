//! The cluster on disk: made once, complete or not at all.

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

/// Who may use a cluster's server, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// We, on a Unix socket in a folder that nobody else may enter, by a role that is no superuser. There is a superuser,
    /// whose password is in a file.
    Private,
    /// Any account of this machine that has the password, on a port of 127.0.0.1, by a superuser: for tests, whose data
    /// are nobody's, and whose proxies need a port.
    Loopback,
}

/// The database that `DATABASE_URL` would name.
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
    /// Makes `folder` ours alone if it is not there, and refuses one that is another account's: who owns it can put
    /// links in the places where we write.
    pub(crate) fn open(folder: &Path, access: Access) -> Result<Self, Error> {
        let folder = own_folder(folder)?;
        let opened = open_folder(&folder).during("open", &folder)?;
        let owner = opened.metadata().during("look at", &folder)?.uid();
        let ourselves = rustix::process::geteuid();
        if owner != ourselves.as_raw() {
            return Err(Error::OtherOwner { path: folder, owner, ourselves: ourselves.as_raw() });
        }
        // Root's server passes through the folder to its cluster; we keep our own files next to it.
        let mode = if ourselves.is_root() { 0o711 } else { 0o700 };
        opened.set_permissions(fs::Permissions::from_mode(mode)).during("set mode of", &folder)?;
        Ok(Self { folder, access })
    }

    /// The file `name`, which we alone may open.
    pub(crate) fn private_file(&self, name: &str) -> Result<File, Error> {
        private_file(&self.folder.join(name), rustix::process::geteuid().as_raw())
    }

    /// The server's log, which is `account`'s once its server has been started.
    pub(crate) fn open_log(&self, account: &Account) -> Result<File, Error> {
        private_file(&self.log(), account.uid())
    }

    /// Where a private server listens.
    pub(crate) fn socket_folder(&self) -> PathBuf {
        socket::folder(&self.folder)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Settings of ours, included by `postgresql.conf` and written again at each start.
    pub(crate) fn settings(&self) -> PathBuf {
        self.data().join("panopticon.conf")
    }

    /// Read by us alone; the server keeps only its hash.
    fn password_file(&self) -> PathBuf {
        self.folder.join("password")
    }

    pub(crate) fn password(&self) -> Result<String, Error> {
        read_own(&self.password_file())
    }

    /// Of a private cluster alone. Its presence says that the cluster has the roles of this version.
    fn superuser_password_file(&self) -> PathBuf {
        self.folder.join("superuser-password")
    }

    pub(crate) fn superuser_password(&self) -> Result<String, Error> {
        read_own(&self.superuser_password_file())
    }

    /// Whether an earlier version made the cluster, when our role was its superuser.
    pub(crate) fn is_of_earlier_version(&self) -> bool {
        self.access == Access::Private && !self.superuser_password_file().exists()
    }

    /// Major version of the cluster, if there is one. A cluster that cannot be read is an error: taking it for
    /// none would make another in its place.
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

        let (password, superuser_password) = (new_password(), new_password());
        write_private(&self.password_file(), &password)?;
        let initial = match self.access {
            Access::Private => (SUPERUSER, &superuser_password),
            Access::Loopback => (ROLE, &password),
        };
        let handed_over = scratch.with_extension("password");
        account.own(&write_private(&handed_over, initial.1)?, &handed_over)?;
        let initialised = initdb(binaries, account, &scratch, (initial.0, &handed_over));
        fs::remove_file(&handed_over).during("remove", &handed_over)?;
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

    /// Gives a cluster of an earlier version, whose server must not run, the roles of this one.
    pub(crate) fn upgrade(
        &self,
        binaries: &Binaries,
        account: &Account,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        progress("giving the embedded PostgreSQL cluster a role that is no superuser");
        let superuser = new_password();
        let single_user = SingleUser { binaries, account, data: &self.data() };
        single_user.demote(&Passwords { role: &self.password()?, superuser: &superuser })?;
        write_private(&self.superuser_password_file(), &superuser).map(drop)
    }
}

/// Who logs in to a server of ours, and where.
pub(crate) struct Login<'l> {
    pub(crate) address: &'l Address,
    pub(crate) user: &'l str,
    pub(crate) password: &'l str,
}

impl Login<'_> {
    /// The way to `database` as a `DATABASE_URL`, which says all that the reader's environment might say otherwise.
    pub(crate) fn url(&self, database: &str) -> String {
        let Self { address, user, password } = self;
        let database: String = url::form_urlencoded::byte_serialize(database.as_bytes()).collect();
        match address {
            Address::Socket(folder) => {
                // The folder's name needs no escaping, as its maker sees to.
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

/// Runs `initdb` with a superuser of this name, whose password is in this file.
fn initdb(
    binaries: &Binaries,
    account: &Account,
    data: &Path,
    superuser: (&str, &Path),
) -> Result<(), Error> {
    // PostgreSQL 17 brought its own C.UTF-8; before it, plain C is the one locale that every machine has.
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

/// Has PostgreSQL read our settings after its own.
fn include_settings(account: &Account, data: &Path) -> Result<(), Error> {
    let path = data.join("postgresql.conf");
    let own = read_untrusted(&path).during("read", &path)?;
    account.write(&path, &format!("{own}include_if_exists = 'panopticon.conf'\n"))
}

/// Writes a new file that only we may read, in place of one that is there.
fn write_private(path: &Path, content: &str) -> Result<File, Error> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).during("replace", path)?;
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).during("create", path)?;
    file.write_all(content.as_bytes()).during("write", path)?;
    Ok(file)
}
