//! The folder with all files that Panopticon stores on a machine.

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::{
    error::{Error, FileContext as _},
    lock::LockedFile,
    ownership::{own_folder, own_present_folder, private_file},
};

/// Root's data folder: PostgreSQL then runs as another user, who cannot enter root's home.
const ROOT_DATA_DIR: &str = "/var/lib/panopticon";

/// The data folder: models, PostgreSQL binaries and the embedded cluster, each in a separate folder.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// A data folder at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The default: the platform's folder for user data, or `/var/lib/panopticon` for root.
    ///
    /// # Errors
    /// When the user has no home folder.
    pub fn platform_default() -> Result<Self, Error> {
        if geteuid().is_root() {
            return Ok(Self(ROOT_DATA_DIR.into()));
        }
        dirs::data_dir().map(|folder| Self(folder.join("panopticon"))).ok_or(Error::NoDataDir)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A folder in the data folder that only this account can write; created if it is missing.
    ///
    /// # Errors
    /// When another account could have created it, or could write in it or in a folder of its path.
    pub fn own_folder(&self, name: &str) -> Result<PathBuf, Error> {
        let folder = own_folder(&self.0)?.join(name);
        own_folder(&folder)
    }

    /// The data folder's absolute path, if the folder exists.
    ///
    /// # Errors
    /// When another account can write in it.
    pub(crate) fn present(&self) -> Result<Option<PathBuf>, Error> {
        match self.0.try_exists().during("examine", &self.0)? {
            true => own_present_folder(&self.0).map(Some),
            false => Ok(None),
        }
    }

    /// Runs `setup` while no other process sets up in this folder, which is created if it is missing.
    pub(crate) fn exclusively<T>(&self, setup: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
        let folder = own_folder(&self.0)?;
        let path = folder.join("setup.lock");
        let file = private_file(&path, geteuid().as_raw())?;
        let _lock = LockedFile::exclusive(file).during("lock", &path)?;
        setup(&folder)
    }
}
