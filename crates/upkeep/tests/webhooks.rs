//! Webhooks receive alerts, and their URLs stay secret.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU16, Ordering},
};

use reqwest::Client;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use secrecy::SecretString;
use serde_json::{Value, json};
use store::postgres::searches::FilterClass;
use test_support::{HttpAnswer, HttpStub};
use time::macros::datetime;
use upkeep::monitor::{Alert, AlertChange, Change, Evidence, Webhook, WebhookError};

fn raised() -> AlertChange {
    let at = datetime!(2026-01-31 12:00);
    let evidence = Evidence::Results { missing: 3, replayed: 20 };
    let alert = Alert { table: "queries".to_owned(), filter_class: FilterClass::Text, since: at, evidence };
    AlertChange { at, change: Change::Raised, alert }
}

/// A server that responds with each of `answers` in turn, and the bodies that it received.
fn listener(answers: &'static [u16]) -> (HttpStub, Arc<Mutex<Vec<Value>>>, Arc<AtomicU16>) {
    let (told, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU16::new(0)));
    let (telling, asking) = (told.clone(), asked.clone());
    let stub = HttpStub::start(move |request| {
        let number = asking.fetch_add(1, Ordering::Relaxed);
        telling.lock().expect("no holder panics").push(serde_json::from_str(&request.text()).expect("JSON"));
        Some(HttpAnswer::json(answers[usize::from(number)], "{}"))
    });
    (stub, told, asked)
}

fn webhook(stub: &HttpStub) -> Webhook {
    // No default provider is built in, and no test here uses TLS.
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let client = Client::builder().tls_backend_preconfigured(tls).no_proxy().build();
    let url = format!("{}/hooks/secret-token", stub.url());
    Webhook::new(client.expect("a client is made"), SecretString::from(url))
}

#[tokio::test]
async fn webhook_is_retried_if_that_may_help_and_its_url_stays_secret() {
    let (stub, told, asked) = listener(&[503, 200]);
    webhook(&stub).send(&raised()).await.expect("the second attempt succeeds");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let expected = json!({
        "event": "raised",
        "alert": "results",
        "table": "queries",
        "filter_class": "text",
        "since": "2026-01-31T12:00:00.000000",
        "at": "2026-01-31T12:00:00.000000",
        "text": "searches of queries (filter: text) miss 3 existing results in 20 searches: run `panopticon \
            maintain --once`, or `panopticon index apply`",
        "measured": {"missing": 3, "replayed": 20},
    });
    assert_eq!(told.lock().expect("no holder panics")[1], expected);

    let (stub, _, asked) = listener(&[404]);
    let refused = webhook(&stub).send(&raised()).await.expect_err("it is rejected");
    assert!(matches!(refused, WebhookError::Refused { .. }), "{refused}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let webhook = webhook(&stub);
    drop(stub);
    let unreachable = webhook.send(&raised()).await.expect_err("it is unreachable");
    let chain = format!("{unreachable:?} {webhook:?}");
    assert!(!chain.contains("secret-token"), "{chain}");
}
