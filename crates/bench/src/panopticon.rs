//! The released program, as users run it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

/// The program under test.
pub struct Panopticon {
    binary: PathBuf,
}

impl Panopticon {
    /// The binary in `PANOPTICON_BENCH_BINARY`, or the release build, rebuilt if outdated.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn find_or_build() -> Result<Self> {
        if let Some(binary) = env::var_os("PANOPTICON_BENCH_BINARY") {
            return Ok(Self { binary: binary.into() });
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let build = ["build", "--release", "--locked", "--quiet", "--package", "panopticon"];
        let status = Command::new(cargo).args(build).current_dir(&workspace).status();
        ensure!(status.context("failed to run cargo")?.success(), "failed to build the program");
        Ok(Self { binary: workspace.join("target/release/panopticon") })
    }

    /// A command that runs it.
    pub fn command(&self) -> Command {
        Command::new(&self.binary)
    }
}

/// The program `chroma`: the one in `PANOPTICON_BENCH_CHROMA`, or the one on `PATH`, if any.
pub fn chroma_program() -> Option<PathBuf> {
    if let Some(program) = env::var_os("PANOPTICON_BENCH_CHROMA") {
        return Some(program.into());
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join("chroma"))
        .find(|program| program.is_file())
}
