//! Contestants that are programs of their own.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

/// Runs a script of `rivals/` with `PANOPTICON_BENCH_PYTHON` (default `python3`); returns its last line.
///
/// # Errors
/// When it cannot be run or fails.
pub fn run_rival(script: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
    let python = env::var_os("PANOPTICON_BENCH_PYTHON").unwrap_or_else(|| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(script);
    let output = Command::new(&python).arg(script).args(arguments).envs(environment.iter().copied()).output();
    let output = output.with_context(|| format!("failed to run `{}`", python.display()))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "the rival failed, does `{}` have what rivals/requirements.txt lists? {stderr}",
            python.display()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned())
}
