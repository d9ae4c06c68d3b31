//! A server that goes on sending, and never comes to an end.

use std::{ops::ControlFlow, time::Duration};

use store::chroma::{ChromaServer, Error, ServerOptions};
use test_support::DrippingServer;
use tokio::task::JoinSet;

/// Far more than the limits of the test, and far less than the answer would take.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn answer_that_comes_in_drops_is_given_up() {
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
        assert!(error.to_string().contains("has not sent its whole answer"), "{error}");
    }
}

/// Reads the one collection of the server.
async fn read(options: &ServerOptions) -> Result<(), Error> {
    let server = ChromaServer::connect(options).await?;
    let collections = server.collections().await?;
    let collection = collections.first().expect("there is one");
    server.read(collection, |_| ControlFlow::Continue(())).await.map(drop)
}
