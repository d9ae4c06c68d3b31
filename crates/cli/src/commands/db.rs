//! `panopticon db`: for people who want to look inside the embedded server.

use anyhow::Context as _;
use provision::{Server, ServerOptions};

use crate::{
    arguments::DbCommand,
    configuration::Configuration,
    connection::{DEMO_DATABASE, blocking, start_embedded},
    exit::{ExitCode, Failure},
    output::print,
};

pub(crate) async fn run(configuration: &Configuration, command: DbCommand) -> Result<ExitCode, Failure> {
    match command {
        DbCommand::Url { demo } => {
            let server = start_embedded(configuration).await?;
            server.keep_running()?;
            print(&url(&server, demo))?;
            eprintln!("the server keeps running; stop it with `panopticon db stop`");
            blocking(move || server.release()).await?;
            Ok(ExitCode::Complete)
        }
        DbCommand::Psql { demo, arguments } => {
            psql(start_embedded(configuration).await?, demo, arguments).await
        }
        DbCommand::Stop => {
            let options = ServerOptions::in_data_dir(&configuration.data_dir());
            let folder = options.cluster.clone();
            let was_running = blocking(move || Server::stop_cluster(&options)).await?;
            let state = if was_running { "stopped" } else { "was not running" };
            eprintln!("the embedded PostgreSQL in {} {state}", folder.display());
            Ok(ExitCode::Complete)
        }
    }
}

fn url(server: &Server, demo: bool) -> String {
    if demo { server.url_of(DEMO_DATABASE) } else { server.url() }
}

async fn psql(server: Server, demo: bool, arguments: Vec<String>) -> Result<ExitCode, Failure> {
    let mut command = tokio::process::Command::new(server.program("psql"));
    // psql takes whatever follows the database name for a user name, so ours comes last. The password goes by the
    // environment: a process's arguments are anybody's to read.
    let mut url = url::Url::parse(&url(&server, demo)).context("failed to read the server's URL")?;
    let password = url.password().map(str::to_owned);
    url.set_password(None).expect("a URL with a host has a password to remove");
    command
        .args(arguments)
        .arg("--dbname")
        .arg(url.as_str())
        .envs(password.map(|password| ("PGPASSWORD", password)));
    let status = command.status().await.context("failed to run psql")?;
    blocking(move || server.release()).await?;
    Ok(if status.success() { ExitCode::Complete } else { ExitCode::Failed })
}
