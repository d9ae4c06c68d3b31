//! Collections that Chroma clients see, as the console shows them.

use serde_json::{Value, json};

use super::Browser;
use crate::served::Served;

const DATABASE: &str = "/api/v2/tenants/default_tenant/databases/default_database";

/// Creates a collection with records, and returns its id.
async fn collection(served: &Served, name: &str, records: &Value) -> String {
    let body = json!({"name": name, "configuration": {"hnsw": {"space": "l2"}}});
    let created = served.post(&format!("{DATABASE}/collections"), body).await;
    assert_eq!(created.status, 200, "{}", created.text);
    let id = created.json()["id"].as_str().expect("an id").to_owned();
    if *records != Value::Null {
        let added = served.post(&format!("{DATABASE}/collections/{id}/add"), records.clone()).await;
        assert_eq!(added.status, 201, "{}", added.text);
    }
    id
}

fn cats() -> Value {
    json!({
        "ids": ["a", "b <i>", "c/../d", "e"],
        "embeddings": [[1.0, 0.0, 0.0], [1.0, 0.5, 0.0], [5.0, 0.0, 0.0], [9.0, 9.0, 9.0]],
        "documents": ["a <b>cat</b>", "another cat", null, "a dog"],
        "metadatas": [{"kind": "cat", "age": 3}, {"kind": "cat", "age": 5}, null, {"kind": "dog", "age": 9}],
    })
}

#[tokio::test]
async fn collections_are_listed_with_their_records_and_neighbours() {
    let served = Served::start().await;
    let id = collection(&served, "pets", &cats()).await;
    let empty = collection(&served, "empty", &Value::Null).await;
    let mut browser = Browser::new(&served);
    let list = browser.data("/console/collections").await;
    let named = |name: &str| {
        let found = list["collections"].as_array().expect("a list").iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("{name}: {list}")).clone()
    };
    assert_eq!((&named("pets")["dimension"], &named("pets")["distance"]), (&json!(3), &json!("l2")));
    assert_eq!(named("empty")["dimension"], Value::Null);
    // The services' records are collections, too.
    named("queries");
    let page = browser.get("/console/collections").await.text;
    assert!(page.contains(&format!("/console/collections/records?collection={id}")), "{page}");

    let path = format!("/console/collections/records?collection={id}");
    let data = browser.data(&path).await;
    let ids = |data: &Value| -> Vec<String> {
        let items = data["items"].as_array().expect("a list").iter();
        items.map(|item| item["id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(
        (ids(&data), &data["count"]),
        (vec!["a".into(), "b <i>".into(), "c/../d".into(), "e".into()], &json!(4))
    );
    for (filter, expected) in [
        ("where=kind%3Dcat", vec!["a", "b <i>"]),
        ("where=%7B%22age%22%3A%7B%22%24gte%22%3A5%7D%7D", vec!["b <i>", "e"]),
        ("contains=cat", vec!["a", "b <i>"]),
        ("contains=cat&where=age%3D5", vec!["b <i>"]),
        ("offset=3", vec!["e"]),
        ("where=kind%3Dbird", vec![]),
    ] {
        assert_eq!(ids(&browser.data(&format!("{path}&{filter}")).await), expected, "{filter}");
    }
    let first = browser.data(&format!("{path}&limit=2&where=%7B%22age%22%3A%7B%22%24gt%22%3A0%7D%7D")).await;
    assert_eq!((ids(&first), &first["next_offset"]), (vec!["a".into(), "b <i>".into()], &json!(2)));
    let page = browser.get(&format!("{path}&limit=2&contains=a")).await.text;
    assert!(page.contains("offset=2") && page.contains("contains=a"), "{page}");
    assert!(page.contains("a &lt;b&gt;cat&lt;/b&gt;") && !page.contains("<b>"), "{page}");
    assert!(page.contains("These pages only read."), "{page}");

    let record = format!("/console/collections/record?collection={id}&id=a");
    let data = browser.data(&record).await;
    assert_eq!((&data["document"], &data["metadata"]["age"]), (&json!("a <b>cat</b>"), &json!(3)));
    let near = data["neighbours"].as_array().expect("a list");
    let near: Vec<(&str, f64)> = near
        .iter()
        .map(|one| (one["id"].as_str().expect("an id"), one["distance"].as_f64().expect("a number")))
        .collect();
    assert_eq!(near[..2], [("b <i>", 0.25), ("c/../d", 16.0)], "as Chroma defines them");
    let page = browser.get(&record).await.text;
    assert!(page.contains("id=c%2F..%2Fd"), "ids cannot leave the page: {page}");
    let odd = browser.data(&format!("/console/collections/record?collection={id}&id=c%2F..%2Fd")).await;
    assert_eq!((&odd["document"], &odd["metadata"]), (&Value::Null, &Value::Null));

    let nothing = browser.get(&format!("/console/collections/records?collection={empty}")).await.text;
    assert!(nothing.contains("The collection is empty."), "{nothing}");
    for (path, status) in [
        (format!("/console/collections/records?collection={id}x"), 404),
        (format!("/console/collections/records?collection={id}&tenant=other"), 404),
        ("/console/collections/records".to_owned(), 422),
        (format!("{path}&where=%7B"), 422),
        (format!("{path}&where=%7B%22age%22%3A%7B%22%24odd%22%3A1%7D%7D"), 422),
        (format!("/console/collections/record?collection={id}&id=none"), 404),
        ("/console/collections?tenant=unknown".to_owned(), 200),
    ] {
        assert_eq!(browser.get(&path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn process_without_a_database_says_so() {
    use std::sync::Arc;

    use records::Service;
    use reqwest::Method;
    use server::{Probes, Process, ServerConfig, services};
    use store::{postgres::PostgresStorage, storage::Storage};

    use crate::served::{client, listen, model, send_to};

    let served = Served::start().await;
    let storage: Arc<dyn Storage> = Arc::new(PostgresStorage::new(served.database.clone(), Service::Query));
    let process = Process::new(ServerConfig::default(), Probes::default());
    let url = listen(services(&[storage], None, &model(), None, &process)).await;
    for (path, status) in [
        ("/console/collections", 200),
        ("/console/queries/map", 200),
        ("/console/collections/records?collection=a0000000-0000-4000-8000-00000000000a", 404),
    ] {
        let page = send_to(&client(), &url, Method::GET, path, &[], None).await;
        assert_eq!(page.status, status, "{path}: {}", page.text);
        assert!(status != 200 || page.text.contains("class=\"empty\""), "{path}: {}", page.text);
    }
}
