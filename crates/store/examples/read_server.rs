//! Reads all records of a Chroma server and reports the rate: `read_server URL [TENANT]`.
//!
//! For measuring page sizes, and for recording the traffic in `testdata/`.

use std::{ops::ControlFlow, time::Instant};

use store::chroma::{ChromaServer, ServerOptions};

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut options = ServerOptions::new(arguments.next().ok_or("expected a URL")?);
    options.tenant = arguments.next();
    if let Some(records) = arguments.next() {
        options.page_records = records.parse()?;
    }
    let server = ChromaServer::connect(&options).await?;
    println!("{} version {} api {}", server.address(), server.version(), server.api());
    for warning in server.warnings() {
        println!("! {warning}");
    }
    for collection in server.collections().await? {
        let start = Instant::now();
        let (mut vectors, mut problems) = (0u64, Vec::new());
        let report = server
            .read(&collection, |record| {
                vectors += u64::from(matches!(record.vector, chroma::Vector::Present { .. }));
                problems
                    .extend(record.problems.into_iter().map(|problem| (record.id.clone(), problem.field)));
                ControlFlow::Continue(())
            })
            .await;
        let seconds = start.elapsed().as_secs_f64();
        let place = format!("{}/{}/{}", collection.tenant, collection.database, collection.name);
        match report {
            Ok(report) => {
                let rate = report.records as f64 / seconds;
                println!(
                    "{place} {} {:?}: {} records, {vectors} vectors, {rate:.0}/s",
                    collection.space, collection.dimension, report.records
                );
                for warning in collection.warnings.iter().chain(&report.warnings) {
                    println!("  ! {warning}");
                }
                for (id, field) in problems.iter().take(5) {
                    println!("  ? {id}: {field:?}");
                }
            }
            Err(error) => println!("{place}: {:#}", chain(&error)),
        }
    }
    Ok(())
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
