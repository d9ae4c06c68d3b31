//! A cluster whose server the caller runs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    account::Account,
    binaries::Binaries,
    cluster::{Access, Cluster, Login},
    running::Address,
    single_user::ROLE,
};
use crate::{Progress, error::Error, program::run};

/// A new cluster that no [`Server`](super::Server) manages: the caller runs PostgreSQL on it, with its own programs and
/// settings.
#[derive(Clone, Debug)]
pub struct UnservedCluster {
    cluster: Cluster,
    binaries: Binaries,
    account: Account,
}

impl UnservedCluster {
    /// Creates a cluster in `folder`, which must not contain one yet.
    ///
    /// # Errors
    /// When `initdb` fails, or the account that runs PostgreSQL cannot reach the folder.
    pub fn create(folder: &Path, binaries: Binaries, progress: Progress<'_>) -> Result<Self, Error> {
        let cluster = Cluster::open(folder, Access::Loopback)?;
        let account = Account::choose(&cluster.data())?;
        cluster.create(&binaries, &account, progress)?;
        Ok(Self { cluster, binaries, account })
    }

    /// Copies this cluster, whose server listens on `port`, into `folder`, which must not contain one yet, by
    /// `pg_basebackup`: a server of the copy is a standby that follows it.
    ///
    /// # Errors
    /// When `pg_basebackup` fails, or the account that runs PostgreSQL cannot reach the folder.
    pub fn standby(&self, folder: &Path, port: u16) -> Result<Self, Error> {
        let cluster = Cluster::open(folder, Access::Loopback)?;
        cluster.write_password(&self.cluster.password()?)?;
        let standby = Self { cluster, binaries: self.binaries.clone(), account: self.account.clone() };
        standby.account.create_folder(&standby.data())?;
        let mut command = standby.command("pg_basebackup");
        command.arg("--pgdata").arg(standby.data()).arg("--dbname").arg(self.url_of(port, "postgres")?);
        command.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        run(&mut command, "pg_basebackup")?;
        Ok(standby)
    }

    /// PostgreSQL's data folder, for `postgres -D`.
    pub fn data(&self) -> PathBuf {
        self.cluster.data()
    }

    /// The program `name` of the cluster's installation, as a command of the account that owns the cluster.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.program(name));
        self.account.run(&mut command);
        command
    }

    /// The URL of `database`, including the password, for a server of this cluster that listens on `port` of this machine.
    ///
    /// # Errors
    /// When the password cannot be read.
    pub fn url_of(&self, port: u16, database: &str) -> Result<String, Error> {
        let (address, password) = (Address::Loopback(port), self.cluster.password()?);
        Ok(Login { address: &address, user: ROLE, password: &password }.url(database))
    }
}
