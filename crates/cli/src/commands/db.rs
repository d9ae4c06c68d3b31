//! `panopticon db`: access to the embedded server.

use anyhow::Context as _;
use provision::{Role, Server, ServerOptions, postgres::DATABASE};

use super::distribute;
use crate::{
    arguments::{DatabaseArguments, DbCommand},
    configuration::Configuration,
    connection::{DEMO_DATABASE, blocking, start_embedded},
    exit::{ExitCode, Failure},
    output::print,
};

pub(crate) async fn run(configuration: &Configuration, command: DbCommand) -> Result<ExitCode, Failure> {
    match command {
        DbCommand::Url { database } => {
            let server = start_embedded(configuration).await?;
            server.keep_running()?;
            print(&server.url_as(role(&database), name(&database))?)?;
            eprintln!("the server keeps running; stop it with `panopticon db stop`");
            blocking(move || server.release()).await?;
            Ok(ExitCode::Complete)
        }
        DbCommand::Psql { database, arguments } => {
            psql(start_embedded(configuration).await?, &database, arguments).await
        }
        DbCommand::Stop => {
            let options = ServerOptions::in_data_dir(&configuration.data_dir()?);
            let folder = options.cluster.clone();
            let was_running = blocking(move || Server::stop_cluster(&options)).await?;
            let state = if was_running { "stopped" } else { "was not running" };
            eprintln!("the embedded PostgreSQL in {} {state}", folder.display());
            Ok(ExitCode::Complete)
        }
        DbCommand::Distribute(arguments) => distribute::run(configuration, &arguments).await,
    }
}

fn role(arguments: &DatabaseArguments) -> Role {
    if arguments.superuser { Role::Superuser } else { Role::Owner }
}

fn name(arguments: &DatabaseArguments) -> &'static str {
    if arguments.demo { DEMO_DATABASE } else { DATABASE }
}

async fn psql(
    server: Server,
    database: &DatabaseArguments,
    arguments: Vec<String>,
) -> Result<ExitCode, Failure> {
    let command = server.client("psql", role(database), name(database))?;
    let status = tokio::process::Command::from(command).args(arguments).status().await;
    let status = status.context("failed to run psql")?;
    blocking(move || server.release()).await?;
    Ok(if status.success() { ExitCode::Complete } else { ExitCode::Failed })
}
