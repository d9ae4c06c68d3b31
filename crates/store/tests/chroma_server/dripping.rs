//! A server that keeps sending and never completes its response.

use std::{ops::ControlFlow, time::Duration};

use store::chroma::{ChromaServer, Error, ServerOptions};
use test_support::DrippingServer;
use tokio::task::JoinSet;

/// Far longer than the limits of the test, and far shorter than the response would take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn slow_endless_response_is_aborted() {
    let mut asked = JoinSet::new();
    for dripping in ["heartbeat", "version", "identity", "databases", "collections", "count", "get"] {
        for before in ["", "[", "{\"ids\": ["] {
            asked.spawn(async move {
                let server = DrippingServer::start("c", dripping, before);
                let mut options = ServerOptions::new(server.url());
                options.silence_timeout = Duration::from_millis(500);
                let ended = tokio::time::timeout(PATIENCE, read(&options)).await;
                (dripping, ended.expect("it is given up"))
            });
        }
    }
    for (dripping, ended) in asked.join_all().await {
        let error = ended.expect_err("the answer has no end");
        assert!(matches!(error, Error::TooSlow { .. }), "{dripping}: {error:?}");
        assert!(error.to_string().contains("did not complete its response"), "{error}");
    }
}

/// Reads the one collection of the server.
async fn read(options: &ServerOptions) -> Result<(), Error> {
    let server = ChromaServer::connect(options).await?;
    let collections = server.collections().await?;
    let collection = collections.first().expect("there is one");
    server.read(collection, |_| ControlFlow::Continue(())).await.map(drop)
}
