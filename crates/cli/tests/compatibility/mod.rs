//! Other servers, poolers and roles than a machine of one's own has, and what must never be printed.

mod poolers;
mod privileges;
mod secrets;
mod versions;

use std::path::Path;

use serde_json::Value;

use crate::{Run, panopticon, run};

/// Runs `arguments` on the database of `url`, away from the async threads.
async fn run_on_url(url: &str, arguments: &[&str]) -> Run {
    run_with(arguments, &[("DATABASE_URL", url)]).await
}

/// Runs `arguments` in this environment.
async fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Run {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = panopticon(folder.path(), arguments);
    command.envs(environment.iter().copied());
    tokio::task::spawn_blocking(move || {
        let ended = run(&mut command);
        drop(folder);
        ended
    })
    .await
    .expect("the run does not panic")
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a temporary folder has a plain name")
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}
