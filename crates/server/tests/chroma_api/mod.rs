//! Chroma's API over real HTTP. Expected answers are those of Chroma 1.5.9, except where the documentation lists a
//! difference.

mod access;
mod collections;
mod conditions;
mod gateway;
mod migrated;
mod records;

use std::net::Ipv4Addr;

use judge::runs::Shutdown;
use reqwest::Method;
use serde_json::{Value, json};
use server::{ChromaApi, Listener, Probes, Process, Reset, ServerConfig, chroma};
use store::postgres::{Database, collection_records::Collections};
use test_support::{Template, TestDatabase};

use crate::served::{Answer, TIMES, client, send_to};

/// The path of the default database.
const DEFAULT: &str = "/api/v2/tenants/default_tenant/databases/default_database";

/// Chroma's API on a database of its own.
struct Api {
    url: String,
    client: reqwest::Client,
    shutdown: Shutdown,
    /// Dropped last.
    test_database: TestDatabase,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// What `serve chroma` makes on a database without services.
static WITHOUT_SERVICES: Template = Template::new();

impl Api {
    async fn start() -> Self {
        Self::start_with(ServerConfig::default(), Reset::Allowed).await
    }

    async fn start_with(config: ServerConfig, reset: Reset) -> Self {
        let prepare = async |database: &Database| {
            database.prepare_bookkeeping().await.expect("the schema is made");
            database.create_default_tenant().await.expect("it is created");
        };
        let test_database = TestDatabase::filled(&WITHOUT_SERVICES, prepare).await;
        let database = Database::connect(&test_database.url()).await.expect("the database answers");
        let (url, shutdown) = serve(&database, config, reset).await;
        Self { url, client: client(), shutdown, test_database }
    }

    /// A second process on the same database.
    async fn start_beside(&self) -> String {
        let database = Database::connect(&self.test_database.url()).await.expect("the database answers");
        serve(&database, ServerConfig::default(), Reset::Refused).await.0
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        send_to(&self.client, &self.url, method, path, &[], body.map(|body| body.to_string())).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// The answer to a request that succeeds.
    async fn done(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert!(answer.status == 200 || answer.status == 201, "{path}: {answer:?}");
        answer.json()
    }

    /// Creates a collection, and returns its path.
    async fn collection(&self, body: Value) -> String {
        let created = self.done(&format!("{DEFAULT}/collections"), body).await;
        format!("{DEFAULT}/collections/{}", created["id"].as_str().expect("it has an id"))
    }

    /// The ids of the records that match.
    async fn ids(&self, collection: &str, condition: Value) -> Value {
        let mut body = condition;
        body["include"] = json!([]);
        self.done(&format!("{collection}/get"), body).await["ids"].take()
    }
}

/// The OpenAPI document of Chroma's API.
pub(crate) async fn document(database: &Database) -> Value {
    let (url, shutdown) = serve(database, ServerConfig::default(), Reset::Refused).await;
    let document = send_to(&client(), &url, Method::GET, "/openapi.json", &[], None).await.json();
    shutdown.begin();
    document
}

async fn serve(database: &Database, config: ServerConfig, reset: Reset) -> (String, Shutdown) {
    let process = Process::new(config, Probes::default());
    let router = chroma(&ChromaApi::new(Collections::new(database.clone()), reset), &process);
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a free port");
    let (url, shutdown) = (format!("http://{}", listener.address()), Shutdown::default());
    drop(tokio::spawn(listener.serve(router, shutdown.clone(), TIMES)));
    (url, shutdown)
}

/// Kind and message of an error with this status.
fn error(answer: &Answer, status: u16) -> (String, String) {
    assert_eq!(answer.status, status, "{answer:?}");
    let json = answer.json();
    let text = |field: &str| json[field].as_str().expect("it is text").to_owned();
    (text("error"), text("message"))
}
