//! Calls of the routes of Chroma's API, also for the collection that shows the queries of the service.

use serde_json::{Value, json};

use super::Client;

const TENANT: &str = "/api/v2/tenants/default_tenant";
const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

pub(super) async fn send(client: &mut Client<'_>) {
    for rest in ["", "/heartbeat", "/healthcheck", "/version", "/pre-flight-checks", "/auth/identity"] {
        client.get(&format!("/api/v2{rest}")).await;
    }
    client.post("/api/v2/reset", json!({})).await;
    manage_databases(client).await;
    let own = manage_collections(client).await;
    let queries = id_of(client, "queries").await;
    use_records(client, &own, 2).await;
    use_records(client, &queries, records::MODEL_DIMENSION).await;
    delete_collections(client, &own).await;
}

async fn id_of(client: &mut Client<'_>, name: &str) -> String {
    let shown = client.get(&format!("{COLLECTIONS}/{name}")).await.json();
    shown["id"].as_str().expect("the collection has an id").to_owned()
}

async fn manage_databases(client: &mut Client<'_>) {
    for _ in 0..2 {
        client.post("/api/v2/tenants", json!({"name": "acme"})).await;
    }
    for tenant in ["/api/v2/tenants/acme", "/api/v2/tenants/none", TENANT] {
        client.get(tenant).await;
    }
    client.call("PATCH", "/api/v2/tenants/acme", json!({"resource_name": "named"})).await;
    let databases = "/api/v2/tenants/acme/databases";
    for name in ["beta", "beta", "alpha"] {
        client.post(databases, json!({"name": name})).await;
    }
    client.post(&format!("{databases}/beta/collections"), json!({"name": "docs"})).await;
    client.get(&format!("{databases}?limit=1")).await;
    client.get(&format!("{databases}/beta")).await;
    client.get("/api/v2/collections/named:beta:docs").await;
    for _ in 0..2 {
        client.delete(&format!("{databases}/beta")).await;
    }
}

/// The id of a collection that stays.
async fn manage_collections(client: &mut Client<'_>) -> String {
    let docs = json!({"name": "docs", "metadata": {"hnsw:space": "cosine", "n": 1}});
    client.post(COLLECTIONS, docs.clone()).await;
    client.post(COLLECTIONS, docs.clone()).await;
    client.post(COLLECTIONS, json!({"name": "docs", "get_or_create": true})).await;
    let own = id_of(client, "docs").await;
    client.call("PUT", &format!("{COLLECTIONS}/{own}"), json!({"new_name": "papers"})).await;
    client.get(COLLECTIONS).await;
    client.get(&format!("{COLLECTIONS}_count")).await;
    client.get(&format!("{COLLECTIONS}/by-id/{own}")).await;
    client.get(&format!("{COLLECTIONS}/papers")).await;
    client.get(&format!("{COLLECTIONS}/none")).await;
    for rest in ["fork_count", "indexing_status", "functions/f"] {
        client.get(&format!("{COLLECTIONS}/{own}/{rest}")).await;
    }
    for rest in ["fork", "functions/attach", "attached_functions/f/detach", "search"] {
        client
            .post(&format!("{COLLECTIONS}/{own}/{rest}"), json!({"new_name": "copy", "searches": []}))
            .await;
    }
    own
}

/// A unit vector.
fn vector(dimension: usize, angle: f32) -> Vec<f32> {
    let mut components = vec![0.0; dimension];
    (components[0], components[1]) = (angle.cos(), angle.sin());
    components
}

async fn use_records(client: &mut Client<'_>, id: &str, dimension: usize) {
    let path = |verb: &str| format!("{COLLECTIONS}/{id}/{verb}");
    let records = |numbers: std::ops::Range<u16>, words: &str| {
        let each = |make: &dyn Fn(u16) -> Value| numbers.clone().map(make).collect::<Vec<_>>();
        json!({
            "ids": each(&|n| json!(format!("r{n}"))),
            "embeddings": each(&|n| json!(vector(dimension, f32::from(n) / 20.0))),
            "documents": each(&|n| json!(format!("{words} {n}"))),
            "metadatas": each(&|n| json!({"theme": "chroma", "n": n, "timestamp": "2026-01-31T12:00:00"})),
        })
    };
    client.post(&path("add"), records(0..12, "added")).await;
    client.post(&path("add"), records(10..14, "again")).await;
    client.post(&path("upsert"), records(12..16, "upserted")).await;
    client.post(&path("update"), records(0..3, "updated")).await;
    client.post(&path("update"), json!({"ids": ["none"], "documents": ["lost"]})).await;
    client.post(&path("add"), json!({"ids": ["wrong"], "embeddings": [[1.0, 2.0, 3.0]]})).await;
    client.get(&path("count")).await;
    let all = ["documents", "metadatas", "embeddings", "uris"];
    let mine = json!({"theme": "chroma"});
    for body in [
        json!({"ids": ["r3", "r1", "none"], "include": all}),
        json!({"where": mine, "limit": 3, "offset": 2}),
        json!({"where": {"$and": [mine, {"n": {"$gt": 12}}]}}),
        json!({"where_document": {"$contains": "updated"}, "include": ["documents"]}),
    ] {
        client.post(&path("get"), body).await;
    }
    let sought = [vector(dimension, 0.11), vector(dimension, 0.52)];
    for condition in [json!({}), json!({"where": {"n": {"$lt": 5}}}), json!({"ids": ["r9", "r4"]})] {
        let mut body = json!({
            "query_embeddings": sought, "n_results": 4, "include": ["documents", "distances", "metadatas"],
        });
        body.as_object_mut().expect("it is an object").extend(condition.as_object().cloned().expect("too"));
        client.post(&path("query"), body).await;
    }
    client.post(&path("delete"), json!({"ids": ["r0", "none"]})).await;
    client.post(&path("delete"), json!({"where": {"n": 5}})).await;
    client.post(&path("delete"), json!({"where": mine, "limit": 3})).await;
    client.get(&path("count")).await;
    client.post(&path("get"), json!({"where": mine})).await;
}

async fn delete_collections(client: &mut Client<'_>, own: &str) {
    for _ in 0..2 {
        client.delete(&format!("{COLLECTIONS}/papers")).await;
    }
    client.get(&format!("{COLLECTIONS}/{own}/count")).await;
    client.get(COLLECTIONS).await;
}
