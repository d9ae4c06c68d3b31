//! Other servers, poolers and roles than on a developer's machine, and secrets that must never be printed.

mod poolers;
mod privileges;
mod secrets;
mod versions;

use std::path::Path;

use crate::{Run, json, run_with};

/// Runs `arguments` on the database of `url`, outside the async threads.
async fn run_on_url(url: &str, arguments: &[&str]) -> Run {
    run_with(arguments, &[("DATABASE_URL", url)]).await
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}
