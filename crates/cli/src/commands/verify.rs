//! `panopticon verify`: compares Chroma collections with their PostgreSQL tables.

use std::time::Instant;

use migrate::{Report, VerifyOptions};

use super::migrate::{Work, conclude};
use crate::{
    arguments::{TransferArguments, VerifyArguments},
    configuration::Configuration,
    connection::Connection,
    exit::{ExitCode, Failure},
    progress::MigrationProgress,
};

pub(crate) async fn run(
    configuration: &Configuration,
    arguments: VerifyArguments,
) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let mut sources = Vec::new();
    let result = compare(configuration, &arguments.transfer, &mut sources).await;
    conclude(result, &sources, arguments.json, started)
}

async fn compare(
    configuration: &Configuration,
    transfer: &TransferArguments,
    sources: &mut Vec<String>,
) -> Result<Report, Failure> {
    let work = Work::open(configuration, transfer, sources).await?;
    let connection = Connection::open(configuration).await?;
    if let Err(refused) = work.check_names(&connection.database, transfer).await {
        connection.close().await?;
        return Err(refused);
    }
    let options = VerifyOptions { embedded_missing: transfer.embed_missing };
    let progress = MigrationProgress::new();
    let (database, observer) = (&connection.database, progress.observer());
    let result = match work {
        Work::Transfers(transfers) => migrate::verify(database, transfers, options, &observer).await,
        Work::Whole(whole) => migrate::verify_collections(database, *whole, options, &observer).await,
    };
    progress.finish();
    connection.close().await?;
    Ok(result?)
}
