//! Connecting to a server: detection, credentials, tenant and database.

use std::sync::{Arc, Mutex};

use store::chroma::{Api, ChromaServer, Error, ServerOptions, Token, TokenHeader};
use test_support::{HttpAnswer, HttpRequest, HttpStub};

use super::Fixture;

const HEARTBEAT: &str = r#"{"nanosecond heartbeat":1}"#;

async fn connect_error(url: &str) -> String {
    let error = ChromaServer::connect(&ServerOptions::new(url)).await.expect_err("the connection fails");
    error.to_string().replace(|c: char| c.is_ascii_digit(), "")
}

#[tokio::test]
async fn other_servers_are_reported_as_not_chroma() {
    expect_test::expect![
        "failed to reach a Chroma server at http://...:: check the URL and that the server is running"
    ]
    .assert_eq(&connect_error("http://127.0.0.1:9").await);

    let page =
        HttpStub::start(|_| Some(HttpAnswer { status: 200, headers: Vec::new(), body: "<html>".into() }));
    expect_test::expect![
        "expected a Chroma server at http://...:, found a response to the heartbeat that \
        is not Chroma's: check host, port and path of the URL"
    ]
    .assert_eq(&connect_error(&page.url()).await);

    let missing = HttpStub::start(|_| Some(HttpAnswer::json(404, "nothing here")));
    expect_test::expect![
        "expected a Chroma server at http://...:, found status  (nothing here) in response \
        to the heartbeat: check host, port and path of the URL"
    ]
    .assert_eq(&connect_error(&missing.url()).await);
}

#[tokio::test]
async fn redirects_are_not_followed_with_the_token() {
    let redirect = HttpStub::start(|_| {
        Some(HttpAnswer::json(307, "").with_header("location", "http://elsewhere.example/"))
    });
    let error = connect_error(&redirect.url()).await;
    assert!(error.contains("redirects to http://elsewhere.example/, which is not followed"), "{error}");
}

#[tokio::test]
async fn token_is_sent_in_the_configured_header_and_never_shown() {
    for (header, name, value) in [
        (TokenHeader::Authorization, "authorization", "Bearer sesame"),
        (TokenHeader::XChromaToken, "x-chroma-token", "sesame"),
    ] {
        let stub = HttpStub::start(move |request| {
            if request.header(name) != Some(value) {
                return Some(HttpAnswer::json(401, r#"{"error":"AuthError","message":"Unauthorized"}"#));
            }
            Some(HttpAnswer::json(
                200,
                match request.path.as_str() {
                    "/api/v2/heartbeat" => HEARTBEAT,
                    "/api/v2/version" => "\"1.0.0\"",
                    "/api/v2/auth/identity" => {
                        r#"{"user_id":"u","tenant":"cloud-tenant","databases":["mine"]}"#
                    }
                    path if path.starts_with("/api/v2/tenants/cloud-tenant/databases?") => {
                        return Some(HttpAnswer::json(
                            403,
                            r#"{"error":"ChromaError","message":"Forbidden"}"#,
                        ));
                    }
                    "/api/v2/tenants/cloud-tenant/databases/mine/collections?limit=100&offset=0" => "[]",
                    path => panic!("unexpected request for {path}"),
                },
            ))
        });
        let mut options = ServerOptions::new(stub.url());
        let refused = ChromaServer::connect(&options).await.expect_err("no token");
        assert!(matches!(refused, Error::Refused { status: 401, .. }), "{refused}");
        assert!(refused.to_string().contains("check the token"), "{refused}");

        options.token = Some(Token::new("wrong-secret"));
        options.token_header = header;
        let refused = ChromaServer::connect(&options).await.expect_err("a wrong token");
        assert!(!format!("{refused} {refused:?} {options:?}").contains("wrong-secret"));

        // Chroma Cloud: the token determines tenant and databases.
        options.token = Some(Token::new("sesame"));
        let server = ChromaServer::connect(&options).await.expect("the right token");
        assert_eq!(server.tenant(), "cloud-tenant");
        assert_eq!(server.collections().await.expect("the collections list"), []);
        assert!(!format!("{server:?}").contains("sesame"));
    }
}

#[tokio::test]
async fn password_of_the_url_is_sent_and_never_shown() {
    let sent = Arc::new(Mutex::new(None));
    let seen = sent.clone();
    let stub = HttpStub::start(move |request: &HttpRequest| {
        *seen.lock().expect("no holder panics") = request.header("authorization").map(str::to_owned);
        None
    });
    let url = stub.url().replace("http://", "http://user:secret@");
    let error = ChromaServer::connect(&ServerOptions::new(url)).await.expect_err("the connection is cut");
    let sent = sent.lock().expect("no holder panics").clone();
    assert_eq!(sent.as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[tokio::test]
async fn nonexistent_tenant_or_database_is_an_error() {
    let fixture = Fixture::with_records(1);
    let connect = async |tenant: Option<&str>, database: Option<&str>| {
        let mut options = ServerOptions::new(fixture.server.url());
        options.tenant = tenant.map(str::to_owned);
        options.database = database.map(str::to_owned);
        ChromaServer::connect(&options).await
    };
    for (tenant, database) in
        [(Some("nobody"), None), (None, Some("nothing")), (Some("nobody"), Some("nothing"))]
    {
        let error = connect(tenant, database).await.expect_err("it does not exist");
        assert!(matches!(error, Error::Missing { .. }), "{error}");
    }
    let server = connect(None, None).await.expect("the default tenant exists");
    assert_eq!((server.api(), server.version(), server.tenant()), (Api::V2, "1.0.0", "default_tenant"));
    assert!(server.warnings()[0].message.contains("only `default_tenant` is read"));
    let server = connect(Some("default_tenant"), Some("default_database")).await.expect("both exist");
    assert!(server.warnings().is_empty());
}

#[tokio::test]
async fn tenant_with_slash_space_and_percent_is_found() {
    let fixture = Fixture::with_records(0);
    let (tenant, database) = ("tenant/ein s?%", "daten.bank-1");
    fixture.server.post("/api/v2/tenants", &serde_json::json!({ "name": tenant }).to_string());
    let path = "/api/v2/tenants/tenant%2Fein%20s%3F%25/databases";
    fixture.server.post(path, &serde_json::json!({ "name": database }).to_string());
    let mut options = ServerOptions::new(fixture.server.url());
    options.tenant = Some(tenant.to_owned());
    options.database = Some(database.to_owned());
    let server = ChromaServer::connect(&options).await.expect("both exist");
    assert_eq!(server.collections().await.expect("the collections list"), []);
}

#[tokio::test]
async fn more_collections_than_a_page_holds_are_listed_once_each() {
    let fixture = Fixture::with_records(0);
    for number in 0..120 {
        let body = serde_json::json!({ "name": format!("collection{number:03}") }).to_string();
        fixture.server.post(&format!("{}/collections", super::DATABASE), &body);
    }
    let options = ServerOptions::new(format!("{}/api/v2/", fixture.server.url()));
    let server = ChromaServer::connect(&options).await.expect("the server answers");
    let mut names: Vec<_> =
        server.collections().await.expect("the collections list").into_iter().map(|c| c.name).collect();
    assert!(names.is_sorted());
    names.dedup();
    assert_eq!(names.len(), 121);
}

#[tokio::test]
async fn dropped_collection_is_an_error() {
    let fixture = Fixture::with_records(1);
    let server =
        ChromaServer::connect(&ServerOptions::new(fixture.server.url())).await.expect("the server answers");
    let collections = server.collections().await.expect("the collections list");
    fixture.server.send(&HttpRequest::new(
        "DELETE",
        &format!("{}/collections/changing", super::DATABASE),
        "",
    ));
    let error = server.count(&collections[0]).await.expect_err("it is gone");
    assert!(matches!(error, Error::Status { status: 404, .. }), "{error}");
}
