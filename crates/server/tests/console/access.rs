//! Who may see the console, and what its pages may do in a browser.

use reqwest::Method;
use serde_json::json;
use server::{ApiKey, ServerConfig};

use super::Browser;
use crate::{gateway::Gateway, served::Served};

const PAGES: [&str; 23] = [
    "/",
    "/console/queries",
    "/console/evaluation-metrics",
    "/console/outputs",
    "/console/collections",
    "/console/runs",
    "/console/compare",
    "/console/compare/runs",
    "/console/judges",
    "/console/judges/agreement",
    "/console/label",
    "/console/label/import",
    "/console/migrations",
    "/console/quality",
    "/console/quality/findings",
    "/console/settings",
    "/console/queries/new",
    "/console/queries/import",
    "/console/runs/new",
    "/console/outputs/new",
    "/console/queries/map",
    "/console/evaluation-metrics/map",
    "/console/outputs/map",
];

fn with_key() -> ServerConfig {
    ServerConfig { api_key: Some(ApiKey::new("s3cret")), ..ServerConfig::default() }
}

#[tokio::test]
async fn pages_load_nothing_from_other_hosts_and_have_no_inline_parts() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    for path in PAGES.into_iter().chain(["/console/nowhere", "/console/queries/record?id=none"]) {
        let page = browser.get(path).await;
        assert!(page.header("content-type").starts_with("text/html"), "{path}: {}", page.text);
        let policy = page.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{path}: {policy}");
        for forbidden in
            ["<style", " style=", " onclick", " onload", "http://", "https://", "href=\"//", "src=\"//"]
        {
            assert!(!page.text.contains(forbidden), "{path} has {forbidden}");
        }
        let scripts: Vec<&str> =
            page.text.match_indices("<script").map(|(at, _)| &page.text[at..at + 30]).collect();
        assert!(scripts.iter().all(|script| script.contains("src=")), "{scripts:?}");
        assert!(page.text.len() <= 150_000, "{path} has {} bytes", page.text.len());
        for asset in page.text.split(['"', '\'']).filter(|part| part.starts_with("/console/assets/")) {
            let answer = served.get(asset).await;
            assert_eq!(answer.status, 200, "{asset}");
            assert!(answer.header("cache-control").contains("immutable"), "{asset}");
        }
    }
    let other = served.get("/console/assets/console.0123.js").await;
    assert_eq!((other.status, other.header("cache-control")), (200, "no-store"), "of another version");
    assert_eq!(served.get("/console/assets/other.0123.js").await.status, 404);
}

#[tokio::test]
async fn key_opens_the_console_by_a_session_that_is_not_the_key() {
    let served = Served::start_with(with_key()).await;
    let mut browser = Browser::new(&served);
    for path in PAGES {
        let page = browser.get(path).await;
        assert_eq!(page.status, 303, "{path}");
        assert!(page.header("location").starts_with("/console/sign-in?next=%2F"), "{path}");
        let data = browser.get(&format!("{path}?format=json")).await;
        assert_eq!(data.message(401), "expected the server's API key in the header X-API-Key");
        let data = format!("{path}?format=json");
        let by_header = served.send(Method::GET, &data, &[("x-api-key", "s3cret")], None);
        assert_eq!(by_header.await.status, 200, "{path}");
    }
    let place = "/console/sign-in?next=%2Fconsole%2Fqueries%3Fq%3Da";
    let refused = browser.submit((place, "/console/sign-in"), &[("key", "wrong")]).await;
    assert_eq!(refused.status, 303);
    let refused = refused.header("location").to_owned();
    assert!(refused.starts_with("/console/sign-in") && refused.contains("refused"), "{refused}");
    assert!(
        browser.get(&refused).await.text.contains("not the server&#39;s API key")
            || browser.get(&refused).await.text.contains("not the server's API key")
    );
    let opened = browser.submit((place, "/console/sign-in"), &[("key", "s3cret")]).await;
    assert_eq!((opened.status, opened.header("location")), (303, "/console/queries?q=a"));
    let cookie = opened.header("set-cookie").to_owned();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains("s3cret"), "{cookie}");
    for path in PAGES {
        assert_eq!(browser.get(path).await.status, 200, "{path}");
    }
    let api = served.send(Method::GET, "/api/v1/queries", &[("cookie", &cookie)], None).await;
    assert_eq!(api.status, 401, "the cookie is only for the console");
    let ended = browser.submit(("/", "/console/sign-out"), &[]).await;
    assert_eq!((ended.status, ended.header("location")), (303, "/console/sign-in"));
    assert_eq!(browser.get("/").await.status, 303, "the session has ended");
}

#[tokio::test]
async fn forms_need_the_token_of_the_session() {
    for config in [ServerConfig::default(), with_key()] {
        let served = Served::start_with(config.clone()).await;
        let mut browser = Browser::new(&served);
        if config.api_key.is_some() {
            browser.submit(("/console/sign-in", "/console/sign-in"), &[("key", "s3cret")]).await;
        }
        let page = "/console/queries/new";
        let fields = [("text", "Why?"), ("category", "a"), ("metadata", "")];
        let forged: Vec<(String, String)> = fields
            .into_iter()
            .chain([("id", "forged"), ("_token", "0123")])
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for forged in [&forged[..], &forged[..4]] {
            let refused = browser.post(page, forged).await;
            assert_eq!(refused.status, 403, "{}", refused.text);
            assert!(refused.text.contains("the form has expired"), "{}", refused.text);
        }
        let stored = browser.submit((page, page), &fields).await;
        assert_eq!(stored.status, 303, "{}", stored.text);
        assert_eq!(browser.data("/console/queries").await["count"], 1);
    }
}

#[tokio::test]
async fn pages_of_other_origins_cannot_use_the_console_without_a_key() {
    let served = Served::start().await;
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
        &[("host", "evil.example")],
    ] {
        let refused = served.send(Method::GET, "/console/queries", headers, None).await;
        assert!([403, 421].contains(&refused.status), "{headers:?}: {}", refused.status);
    }
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-user", "?1")];
    assert_eq!(served.send(Method::GET, "/", &link, None).await.status, 200, "links are followed");
}

#[tokio::test]
async fn errors_of_the_query_string_name_the_parameter() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    for (path, message) in [
        ("/?format=xml", "`format`: expected `json` or `html`"),
        ("/console/settings?x=%zz", "`x`: expected percent-encoded UTF-8"),
        ("/console/queries?q=%FF", "`q`: expected percent-encoded UTF-8"),
        ("/console/queries?category=a&category=b", "`category`: expected one value, found two"),
        ("/console/queries?categroy=a", "`categroy`: unknown field: did you mean `category`?"),
        ("/console/queries?mode=best", "`mode`: unknown variant"),
        ("/console/runs?state=odd", "`state`: unknown variant"),
        ("/console/runs?statte=running", "`statte`: unknown field: did you mean `state`?"),
        ("/console/compare?model_i=m", "`model_i`: unknown field: did you mean `model_"),
        ("/console/compare?model_a=m&model_c=m", "`model_c`: expected a model other than those before it"),
        ("/console/compare/runs?run_b=x", "`run_b`: expected a run's id, which is a UUID"),
        ("/console/compare/export?table=odd", "`table`: unknown variant"),
        ("/console/queries/map?limit=1", "`limit`: "),
        ("/console/collections?offset=-1", "`offset`: "),
        ("/console/compare?seed=x", "`seed`: "),
        ("/console/queries/record?id=1&hole=true", "`hole`: unknown field: did you mean `whole`?"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 422, "{path}");
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        let shown = page.text.replace("&#39;", "'");
        assert!(shown.contains(message), "{path}: {shown}");
    }
    let data = browser.get("/console/queries?categroy=a&format=json").await;
    assert_eq!(data.message(422), "`categroy`: unknown field: did you mean `category`?");
}

#[tokio::test]
async fn gateway_has_the_pages_of_its_services() {
    let served = Served::start().await;
    served.post("/api/v1/queries", json!({"query": "Why?", "theme": "a"})).await.data();
    let gateway = Gateway::before_with(&served.url, ServerConfig::default()).await;
    let home = gateway.send(Method::GET, "/?format=json", &[], None).await.json();
    let counts: Vec<_> =
        home["stores"].as_array().expect("a list").iter().map(|store| store["records"].clone()).collect();
    assert_eq!(counts, [json!(1), json!(0), json!(0)]);
    assert_eq!(home["unavailable"], json!([]));
    for path in PAGES {
        let page = gateway.send(Method::GET, path, &[], None).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        for section in ["/console/queries", "/console/evaluation-metrics", "/console/outputs"] {
            assert!(page.text.contains(&format!("href=\"{section}\"")), "{path} links to {section}");
        }
    }
    let nowhere = Gateway::before_with("http://127.0.0.1:1", ServerConfig::default()).await;
    let home = nowhere.send(Method::GET, "/?format=json", &[], None).await.json();
    assert_eq!(home["unavailable"][0]["reason"], "the query service does not answer");
}
