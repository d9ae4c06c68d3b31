//! The one folder that holds everything Panopticon keeps on a machine.

use std::{
    fs::{self, File},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::error::{Error, FileContext as _};

/// Where root keeps data: PostgreSQL has to run as another user then, who cannot enter root's home.
const ROOT_DATA_DIR: &str = "/var/lib/panopticon";

/// The data folder: models, PostgreSQL binaries and the embedded cluster, each in a folder of its own.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// A data folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where data belongs when nobody says otherwise: the platform's folder for user data, or
    /// `/var/lib/panopticon` for root.
    ///
    /// # Errors
    /// When the user has no home folder.
    pub fn platform_default() -> Result<Self, Error> {
        if rustix::process::geteuid().is_root() {
            return Ok(Self(ROOT_DATA_DIR.into()));
        }
        dirs::data_dir().map(|folder| Self(folder.join("panopticon"))).ok_or(Error::NoDataDir)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder's absolute path, created if absent.
    pub(crate) fn create(&self) -> Result<PathBuf, Error> {
        fs::create_dir_all(&self.0).during("create data folder", &self.0)?;
        self.0.canonicalize().during("resolve data folder", &self.0)
    }

    /// Runs `setup` while no other process sets up in this folder.
    pub(crate) fn exclusively<T>(&self, setup: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
        let folder = self.create()?;
        let path = folder.join("setup.lock");
        // Whoever can open a lock file can hold the lock.
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .during("create", &path)?;
        lock.set_permissions(fs::Permissions::from_mode(0o600)).during("set mode of", &path)?;
        lock.lock().during("lock", &path)?;
        setup(&folder)
    }
}
