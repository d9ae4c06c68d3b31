//! `panopticon --version`: the version, and with `--json` what this build is and what it works with.

use provision::postgres::PACKAGED;
use records::oldest;
use serde_json::json;
use store::postgres::schema_version;

use crate::{
    exit::{ExitCode, Failure},
    output::{print, print_json},
};

/// Set by the script that builds a release, so that a build needs neither git nor a repository.
const COMMIT: Option<&str> = option_env!("PANOPTICON_COMMIT");

pub(crate) fn run(as_json: bool) -> Result<ExitCode, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if !as_json {
        print(&format!("panopticon {version}"))?;
        return Ok(ExitCode::Complete);
    }
    let [major, minor] = oldest::PGVECTOR;
    print_json(&json!({
        "version": version,
        "commit": COMMIT.filter(|commit| !commit.is_empty()),
        "schema_version": schema_version(),
        "target": env!("PANOPTICON_BUILD_TARGET"),
        "profile": env!("PANOPTICON_BUILD_PROFILE"),
        "postgresql": { "oldest": oldest::POSTGRESQL.to_string(), "packaged": PACKAGED.postgresql },
        "pgvector": { "oldest": format!("{major}.{minor}"), "packaged": PACKAGED.pgvector },
    }))?;
    Ok(ExitCode::Complete)
}
