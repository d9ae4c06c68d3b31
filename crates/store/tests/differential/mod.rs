//! Both storages return the same results for the same random sequences of all operations: on real servers, for each
//! service, and for one also on Chroma 1.0.20.
//!
//! A run prints its seed; `DIFFERENTIAL_SEED` repeats one. `DIFFERENTIAL_CHROMA_URL` names the Chroma server to use
//! instead of our own, such as one of a still older version; its collections of the services are deleted first.

mod answers;
mod inputs;
mod operations;
mod random;

use std::{
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use records::Service;
use store::{StorageConfig, chroma::ServerOptions, open_storage, postgres::Database, storage::Storage};
use test_support::{ChromaServer, HttpRequest, TestDatabase, count};

use self::{operations::Operation, random::Random};

/// For each change, and at night. 400 take some 20 seconds.
const OPERATIONS: (usize, usize) = (150, 400);

/// Two storages with the same content.
struct Pair {
    postgres: Arc<dyn Storage>,
    chroma: Arc<dyn Storage>,
}

#[tokio::test]
async fn queries_are_the_same_in_both_storages() {
    check(Service::Query, ChromaServer::start).await;
}

#[tokio::test]
async fn metrics_are_the_same_in_both_storages() {
    check(Service::Evaluation, ChromaServer::start).await;
}

#[tokio::test]
async fn outputs_are_the_same_in_both_storages() {
    check(Service::Judge, ChromaServer::start).await;
}

#[tokio::test]
async fn queries_are_the_same_in_an_older_chroma() {
    check(Service::Query, ChromaServer::start_older).await;
}

async fn check(service: Service, start: fn(&Path) -> ChromaServer) {
    let seed = match std::env::var("DIFFERENTIAL_SEED") {
        Ok(seed) => seed.parse().expect("DIFFERENTIAL_SEED is a number"),
        Err(_) => {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
            u64::from(time.subsec_nanos()) ^ time.as_secs()
        }
    };
    println!("DIFFERENTIAL_SEED={seed}");
    let directory = tempfile::tempdir().expect("a temporary folder");
    let (_server, url) = match std::env::var("DIFFERENTIAL_CHROMA_URL") {
        Ok(url) => {
            clear(&url, service);
            (None, url)
        }
        Err(_) => {
            let server = start(directory.path());
            let url = server.url();
            (Some(server), url)
        }
    };
    let test_database = TestDatabase::create().await;
    let database = Database::connect(&test_database.url()).await.expect("the database answers");
    let open = async |config| open_storage(service, &config).await.expect("the storage opens");
    let pair = Pair {
        postgres: open(StorageConfig::Postgres(database)).await,
        chroma: open(StorageConfig::Chroma(ServerOptions::new(url))).await,
    };

    let mut random = Random::new(seed);
    let mut inputs = inputs::Inputs::new(service, &mut random);
    let mut telling = 0;
    let operations = count(OPERATIONS.0, OPERATIONS.1);
    for number in 0..operations {
        let operation = Operation::random(&mut random, &mut inputs);
        let (expected, found) = tokio::join!(operation.run(&*pair.postgres), operation.run(&*pair.chroma));
        let (expected, found) = (expected.plain(), found.plain());
        if let Err(difference) = answers::compare(&expected, &found) {
            panic!("DIFFERENTIAL_SEED={seed}, operation {number}: {}\n{difference}", operation.describe());
        }
        telling += usize::from(expected.is_telling());
    }
    assert!(telling > operations / 2, "{telling} of {operations} answers have something in them");
}

/// Deletes the service's collection of another server, which has either version of the API.
fn clear(url: &str, service: Service) {
    let port = url.rsplit_once(':').expect("a URL with a port").1.parse().expect("a port");
    for api in [crate::chroma_server::DATABASE, "/api/v1"] {
        let path = format!("{api}/collections/{}", service.collection());
        HttpRequest::new("DELETE", &path, "").send(port).expect("the server answers");
    }
}
