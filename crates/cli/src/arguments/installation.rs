//! Commands for the life of an installation: its database, its health, its files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub(crate) struct HealthArguments {
    /// URL of the service, or which one of this machine: query, evaluation, judge or gateway [default: gateway]
    #[arg(value_name = "URL|SERVICE")]
    pub(crate) what: Option<String>,
    /// Seconds after which a service without an answer is not ready
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// New or empty folder for the backup; it contains no passwords of roles and no .env
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Print the manifest of the backup as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// Folder of the backup
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Replace a database that has rows, which are lost
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print one JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GenerateCommand {
    /// Prints a script that completes this command line in a shell
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Writes a manual page for each command
    Man {
        /// Folder for the pages, created if it is missing
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Prints the help texts of all commands as Markdown
    Reference,
    /// Prints a .env file with all settings, as comments with their defaults
    Env,
    /// Prints a compose file with PostgreSQL, the services and the gateway
    Compose,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Prints the embedded server's URL, including its password, and leaves the server running
    Url {
        #[command(flatten)]
        database: DatabaseArguments,
    },
    /// Opens psql on the embedded server
    Psql {
        #[command(flatten)]
        database: DatabaseArguments,
        /// Arguments for psql
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Stops the embedded server
    Stop,
    /// Distributes the services' tables over the workers of Citus while they are in use; rerun it to resume
    Distribute(DistributeArguments),
}

/// What `db distribute` does.
#[derive(Debug, Args)]
pub(crate) struct DistributeArguments {
    /// Tables of services: queries, evaluation_metrics, llm_outputs [default: those that exist]
    #[arg(value_name = "TABLE")]
    pub(crate) tables: Vec<String>,
    /// Shards of each table [default: one for each worker]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), conflicts_with = "undo")]
    pub(crate) shards: Option<u32>,
    /// Only print what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Store the tables on the coordinator again; each is locked meanwhile
    #[arg(long)]
    pub(crate) undo: bool,
}

/// The database of the embedded server, and the role to connect as.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArguments {
    /// The demo's database
    #[arg(long)]
    pub(crate) demo: bool,
    /// Connect as the server's superuser, to create roles or change extensions; no other command does
    #[arg(long)]
    pub(crate) superuser: bool,
}
