//! Tenants, databases and collections.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use store::postgres::Database;

use super::{Api, DEFAULT, error};
use crate::served::send_to;

#[tokio::test]
async fn databases_are_listed_by_name_and_deleted_with_their_collections() {
    let api = Api::start().await;
    api.done("/api/v2/tenants", json!({"name": "acme"})).await;
    let taken = api.post("/api/v2/tenants", json!({"name": "acme"})).await;
    assert_eq!(error(&taken, 409).1, "Tenant [acme] already exists");
    assert_eq!(api.post("/api/v2/tenants", json!({"name": "ab"})).await.status, 400);
    let databases = "/api/v2/tenants/acme/databases";
    for name in ["beta", "Alpha", "gamma"] {
        api.done(databases, json!({"name": name})).await;
    }
    assert_eq!(api.post(databases, json!({"name": "beta"})).await.status, 409);
    let listed = api.get(&format!("{databases}?limit=2")).await.json();
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["Alpha", "beta"]);
    assert_eq!(api.get(&format!("{databases}?limit=-1")).await.status, 400);
    let place = format!("{databases}/beta/collections");
    let created = api.done(&place, json!({"name": "docs"})).await;
    let id = created["id"].as_str().expect("an id");
    api.done(&format!("{place}/{id}/add"), json!({"ids": ["a"], "embeddings": [[1, 2]]})).await;
    // Of another database, the collection is unknown.
    assert_eq!(api.get(&format!("{DEFAULT}/collections/{id}/count")).await.status, 404);
    assert_eq!(api.send(Method::DELETE, &format!("{databases}/beta"), None).await.json(), json!({}));
    let gone = api.send(Method::DELETE, &format!("{databases}/beta"), None).await;
    assert_eq!(error(&gone, 404).1, "Database [beta] not found");
    assert_eq!(api.get(&format!("{place}/{id}/count")).await.status, 404);
    let nowhere = api.post(&place, json!({"name": "docs"})).await;
    assert_eq!(error(&nowhere, 400).1, "Database [beta] does not exist");
}

#[tokio::test]
async fn collection_is_shown_with_configuration_and_schema() {
    let api = Api::start().await;
    let collections = format!("{DEFAULT}/collections");
    let body = json!({
        "name": "docs",
        "metadata": {"hnsw:space": "cosine", "hnsw:search_ef": 7, "a": 1, "b": 1.0, "c": true},
        "configuration": {"embedding_function": {"type": "known", "name": "mine", "config": {"k": 1}}},
    });
    let created = api.done(&collections, body).await;
    assert_eq!(
        created["metadata"],
        json!({"hnsw:space": "cosine", "hnsw:search_ef": 7, "a": 1, "b": 1.0, "c": true})
    );
    assert_eq!(created["dimension"], json!(null));
    let configuration = &created["configuration_json"];
    assert_eq!(
        configuration["hnsw"],
        json!({
            "space": "cosine", "ef_construction": 100, "ef_search": 7, "max_neighbors": 16,
            "resize_factor": 1.2, "sync_threshold": 1000,
        })
    );
    assert_eq!(configuration["embedding_function"]["name"], "mine");
    let index = created.pointer("/schema/keys/#embedding/float_list/vector_index/config").expect("an index");
    assert_eq!((&index["space"], &index["hnsw"]["ef_search"]), (&json!("cosine"), &json!(7)));
    let path = format!("{collections}/{}", created["id"].as_str().expect("an id"));
    // get_or_create changes nothing.
    let same =
        api.done(&collections, json!({"name": "docs", "get_or_create": true, "metadata": {"x": 1}})).await;
    assert_eq!(same, created);
    assert_eq!(api.get(&format!("{collections}/docs")).await.json(), created);
    let changed = json!({
        "new_name": "papers", "new_metadata": {"z": [1, 2.5]}, "new_configuration": {"hnsw": {"ef_search": 50}},
    });
    assert_eq!(api.send(Method::PUT, &path, Some(changed)).await.json(), json!({}));
    assert_eq!(api.get(&format!("{collections}/docs")).await.status, 404);
    let shown = api.get(&format!("{collections}/papers")).await.json();
    assert_eq!(shown["metadata"], json!({"z": [1.0, 2.5]}));
    assert_eq!(shown["configuration_json"]["hnsw"]["ef_search"], 50);
    assert_eq!(shown["id"], created["id"]);
    api.done(&collections, json!({"name": "other"})).await;
    let taken = api.send(Method::PUT, &path, Some(json!({"new_name": "other"}))).await;
    assert_eq!(error(&taken, 409).1, "Collection [other] already exists");
    let names = ["docs:", "ab", "a..b", "1.2.3.4", "-abc"];
    for name in names {
        assert_eq!(
            error(&api.post(&collections, json!({"name": name})).await, 400).0,
            "InvalidArgumentError"
        );
    }
    for wrong in [
        json!({"name": "abc", "metadata": {"hnsw:unknown": 1}}),
        json!({"name": "abc", "metadata": {"hnsw:space": "x"}}),
        json!({"name": "abc", "metadata": {}}),
        json!({"name": "abc", "configuration": {"hnsw": {"space": "l2"}, "spann": {}}}),
    ] {
        assert_eq!(api.post(&collections, wrong.clone()).await.status, 400, "{wrong}");
    }
    for wrong in [
        json!({"name": "abc", "metadata": {"a": null}}),
        json!({"name": "abc", "configuration": {"hnsw": {"space": "x"}}}),
        json!({"name": "abc", "configuration": {"hnsw": {"unknown": 1}}}),
        json!({"name": "abc", "schema": {"defaults": {}}}),
    ] {
        assert_eq!(api.post(&collections, wrong.clone()).await.status, 422, "{wrong}");
    }
}

#[tokio::test]
async fn schema_or_configuration_may_be_given_but_not_both() {
    let api = Api::start().await;
    let collections = format!("{DEFAULT}/collections");
    let schema = json!({
        "defaults": {"string": {"string_inverted_index": {"enabled": false, "config": {}}}},
        "keys": {"year": {"int": {"int_inverted_index": {"enabled": false, "config": {}}}}},
    });
    let both = json!({"name": "abc", "schema": schema, "configuration": {"hnsw": {"space": "ip"}}});
    let refused = error(&api.post(&collections, both).await, 400).1;
    assert!(refused.contains("Cannot set both collection config and schema"), "{refused}");
    let sparse = json!({"sparse_vector": {"sparse_vector_index": {"enabled": true, "config": {}}}});
    let sparse = json!({"name": "abc", "schema": {"defaults": {}, "keys": {"s": sparse}}});
    let refused = error(&api.post(&collections, sparse).await, 400).1;
    assert!(refused.contains("Sparse vector indexing is not enabled in local"), "{refused}");
    let path = api
        .collection(json!({"name": "abc", "schema": schema, "configuration": {"hnsw": {"space": "l2"}}}))
        .await;
    for (condition, key) in [(json!({"a": "x"}), "a"), (json!({"year": {"$gt": 1}}), "year")] {
        let refused = api.post(&format!("{path}/get"), json!({"where": condition})).await;
        let message = error(&refused, 400).1;
        assert!(message.starts_with(&format!("Cannot filter using metadata key '{key}'")), "{message}");
    }
    assert_eq!(api.ids(&path, json!({"where": {"year": 1.5}})).await, json!([]));
}

#[tokio::test]
async fn racing_clients_of_two_processes_create_one_collection() {
    let api = Api::start().await;
    let other = api.start_beside().await;
    let path = format!("{DEFAULT}/collections");
    let body = json!({"name": "raced", "get_or_create": true}).to_string();
    let create = async |index: usize| {
        let url = if index.is_multiple_of(2) { &api.url } else { &other };
        let answer = send_to(&api.client, url, Method::POST, &path, &[], Some(body.clone())).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["id"].clone()
    };
    let ids = join_all((0..30).map(create)).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(api.get(&format!("{DEFAULT}/collections_count")).await.json(), json!(1));
    let body = json!({"name": "contended"});
    let statuses = join_all((0..10).map(|_| api.post(&path, body.clone()))).await;
    let mut statuses: Vec<u16> = statuses.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![200], vec![409; 9]].concat());
}

#[tokio::test]
async fn changes_of_another_process_are_seen_at_once() {
    let api = Api::start().await;
    let other = api.start_beside().await;
    let send = async |method, path: &str, body: Option<Value>| {
        let body = body.map(|body| body.to_string());
        send_to(&api.client, &other, method, path, &[], body).await
    };
    let nearest = json!({"query_embeddings": [[1, 0]], "include": []});
    let path = api.collection(json!({"name": "watched"})).await;
    assert_eq!(api.ids(&path, json!({})).await, json!([]));
    assert_eq!(api.done(&format!("{path}/query"), nearest.clone()).await["ids"], json!([[]]));

    // The first record, which creates the table.
    let first = json!({"ids": ["a"], "embeddings": [[1, 0]], "metadatas": [{"n": 1}]});
    assert_eq!(send(Method::POST, &format!("{path}/add"), Some(first)).await.status, 201);
    for _ in 0..2 {
        assert_eq!(api.ids(&path, json!({})).await, json!(["a"]));
        assert_eq!(api.done(&format!("{path}/query"), nearest.clone()).await["ids"], json!([["a"]]));
        assert_eq!(api.get(&format!("{path}/count")).await.json(), json!(1));
    }

    // A change that leaves the records as they are.
    assert_eq!(send(Method::PUT, &path, Some(json!({"new_name": "renamed"}))).await.status, 200);
    assert_eq!(api.ids(&path, json!({"where": {"n": 1}})).await, json!(["a"]));
    let second = json!({"ids": ["b"], "embeddings": [[0, 1]]});
    assert_eq!(api.post(&format!("{path}/add"), second).await.status, 201);
    assert_eq!(api.ids(&path, json!({})).await, json!(["a", "b"]));
    let elsewhere = path.replace("default_database", "another_database");
    assert_eq!(api.post(&format!("{elsewhere}/get"), json!({})).await.status, 404);

    // Its deletion.
    let by_name = format!("{DEFAULT}/collections/renamed");
    assert_eq!(send(Method::DELETE, &by_name, None).await.status, 200);
    let written = json!({"ids": ["c"], "embeddings": [[1, 1]]});
    let requests = [
        ("get", json!({})),
        ("query", nearest),
        ("add", written.clone()),
        ("upsert", written.clone()),
        ("update", written),
        ("delete", json!({"ids": ["a"]})),
    ];
    let id = path.rsplit('/').next().expect("the id is last");
    let missing = ("NotFoundError".to_owned(), format!("Collection [{id}] does not exist."));
    for (operation, body) in requests {
        let answer = api.post(&format!("{path}/{operation}"), body).await;
        assert_eq!(error(&answer, 404), missing, "{operation}");
    }
    assert_eq!(error(&api.get(&format!("{path}/count")).await, 404), missing);
}

#[tokio::test]
async fn services_have_collections_in_the_default_database() {
    let api = Api::start().await;
    let database = Database::connect(&api.test_database.url()).await.expect("the database answers");
    let collections = format!("{DEFAULT}/collections");
    let other = api.start_beside().await;
    assert_eq!(api.get(&format!("{collections}/queries")).await.status, 404);
    assert_eq!(api.get(&format!("{DEFAULT}/collections_count")).await.json(), json!(0));
    // The services start after the servers.
    database.prepare_schema().await.expect("the schema is made");
    let path = format!("{collections}/llm_outputs");
    let named = send_to(&api.client, &other, Method::GET, &path, &[], None).await;
    assert_eq!(named.status, 200, "{named:?}");
    assert_eq!(api.get(&format!("{DEFAULT}/collections_count")).await.json(), json!(3));
    let body = json!({"name": "evaluation_metrics"});
    assert_eq!(error(&api.post(&collections, body).await, 409).0, "ChromaError");
    let listed = api.get(&collections).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(3), "{listed}");
    let queries = api.get(&format!("{collections}/queries")).await.json();
    assert_eq!(
        (&queries["dimension"], &queries["metadata"]),
        (&json!(384), &json!({"hnsw:space": "cosine"}))
    );
    assert_eq!(queries["configuration_json"]["hnsw"]["space"], "cosine");
    let path = format!("{collections}/{}", queries["id"].as_str().expect("an id"));
    let mut vector = vec![0.0; 384];
    vector[3] = 1.0;
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let metadata = json!({"theme": "physics", "timestamp": "2026-01-31T12:00:00", "n": 1});
    let body = json!({"ids": [id, "b"], "embeddings": [vector, vector], "documents": ["Why?", null], "metadatas": [metadata, null]});
    api.done(&format!("{path}/add"), body).await;
    let rows =
        "select concat_ws('|', id, source_id, query_text, theme, created_at) from queries order by position";
    let rows = api.test_database.texts(rows).await;
    assert_eq!(rows[0], format!("{id}|Why?|physics|2026-01-31 12:00:00"));
    assert!(rows[1].contains("|b||unknown|"), "{rows:?}");
    assert_eq!(api.ids(&path, json!({"where": {"theme": "physics"}})).await, json!([id]));
    api.done(&format!("{path}/update"), json!({"ids": [id], "metadatas": [{"theme": "biology"}]})).await;
    let themes = api.test_database.texts("select theme from queries order by position").await;
    assert_eq!(themes, ["biology", "unknown"]);
    // The service keeps its table, and its name.
    let renamed = api.send(Method::PUT, &path, Some(json!({"new_name": "stolen"}))).await;
    assert!(error(&renamed, 400).1.contains("keeps its name"), "{renamed:?}");
    let deleted = api.send(Method::DELETE, &format!("{collections}/queries"), None).await;
    assert!(error(&deleted, 400).1.contains("is that of a service and stays"), "{deleted:?}");
    assert_eq!(api.send(Method::POST, "/api/v2/reset", None).await.status, 200);
    assert_eq!(api.get(&format!("{path}/count")).await.json(), json!(2));
}

#[tokio::test]
async fn list_of_too_large_collections_is_refused_and_can_be_read_in_pages() {
    let api = Api::start().await;
    let collections = format!("{DEFAULT}/collections");
    let (large, too_large) = ("m".repeat(1_000_000), "m".repeat(1 << 20));
    for number in 0..18 {
        api.collection(json!({"name": format!("large-{number}"), "metadata": {"k": large}})).await;
    }
    let body = json!({"name": "refused", "metadata": {"k": too_large}});
    assert!(error(&api.post(&collections, body).await, 400).1.contains("1048576 bytes"));
    assert_eq!(api.get(&format!("{collections}/refused")).await.status, 404);
    let first = api.get(&format!("{collections}/large-0")).await.json();
    let path = format!("{collections}/{}", first["id"].as_str().expect("an id"));
    let change = api.send(Method::PUT, &path, Some(json!({"new_metadata": {"k": too_large}}))).await;
    error(&change, 400);
    let (_, message) = error(&api.get(&collections).await, 413);
    assert!(message.contains("use a smaller limit"), "{message}");
    let page = api.get(&format!("{collections}?limit=2&offset=1")).await.json();
    assert_eq!([&page[0]["name"], &page[1]["name"]], [&json!("large-1"), &json!("large-2")]);
}

#[tokio::test]
async fn service_tables_take_only_what_the_service_takes() {
    let api = Api::start().await;
    let database = Database::connect(&api.test_database.url()).await.expect("the database answers");
    database.prepare_schema().await.expect("the schema is made");
    database.register_services().await.expect("they are registered");
    let vector = vec![0.5; 384];
    for (name, metadata, field) in [
        ("queries", json!({"theme": 5}), "theme"),
        ("queries", json!({"theme": ["a"]}), "theme"),
        ("queries", json!({"theme": "t".repeat(4_097)}), "theme"),
        ("queries", json!({"timestamp": 7}), "timestamp"),
        ("queries", json!({"timestamp": "yesterday"}), "timestamp"),
        ("queries", json!({"k": "a\u{0}"}), "NUL"),
        ("evaluation_metrics", json!({"metric_type": true}), "metric_type"),
        ("llm_outputs", json!({"model_id": 1.5}), "model_id"),
        ("llm_outputs", json!({"query": 1}), "query"),
    ] {
        let collection = api.get(&format!("{DEFAULT}/collections/{name}")).await.json();
        let path = format!("{DEFAULT}/collections/{}", collection["id"].as_str().expect("an id"));
        for route in ["add", "upsert", "update"] {
            let body = json!({
                "ids": ["good", "bad"], "embeddings": [vector, vector], "documents": ["one", "two"],
                "metadatas": [{"theme": "physics", "n": 1}, metadata],
            });
            let (_, message) = error(&api.post(&format!("{path}/{route}"), body).await, 400);
            assert!(message.contains("[bad]") && message.contains(field), "{message}");
        }
        for (id, document) in [("i".repeat(513), "text"), ("nul".to_owned(), "a\u{0}")] {
            let body = json!({"ids": [id], "embeddings": [vector], "documents": [document]});
            error(&api.post(&format!("{path}/add"), body).await, 400);
        }
        assert_eq!(api.get(&format!("{path}/count")).await.json(), json!(0));
        let body = json!({
            "ids": ["good"], "embeddings": [vector], "documents": ["one"],
            "metadatas": [{"theme": "physics", "timestamp": "2026-01-31T12:00:00", "n": 1}],
        });
        api.done(&format!("{path}/add"), body).await;
        api.done(&format!("{path}/delete"), json!({"ids": ["good"]})).await;
    }
}

#[tokio::test]
async fn change_replaces_metadata_and_null_leaves_a_key_out() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "changed", "metadata": {"a": 1, "b": 2}})).await;
    let metadata = async |change: serde_json::Value| {
        let answer = api.send(Method::PUT, &path, Some(json!({"new_metadata": change}))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        api.get(&format!("{DEFAULT}/collections/changed")).await.json()["metadata"].take()
    };
    assert_eq!(metadata(json!({"a": null, "c": 1})).await, json!({"c": 1}));
    assert_eq!(metadata(json!(null)).await, json!({"c": 1}));
    assert_eq!(metadata(json!({"a": null})).await, json!(null));
    let answer = api.send(Method::PUT, &path, Some(json!({"new_metadata": {}}))).await;
    assert!(error(&answer, 400).1.contains("cannot be empty"));
}

#[tokio::test]
async fn collection_is_found_by_the_resource_name_of_its_tenant() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "docs"})).await;
    let crn = |crn: &str| format!("/api/v2/collections/{crn}");
    let unknown = api.get(&crn("named:default_database:docs")).await;
    let expected = "Collection [named:default_database:docs] does not exist";
    assert_eq!(error(&unknown, 404), ("NotFoundError".to_owned(), expected.to_owned()));
    let patch = Some(json!({"resource_name": "named"}));
    assert_eq!(api.send(Method::PATCH, "/api/v2/tenants/default_tenant", patch).await.status, 200);
    let found = api.get(&crn("named:default_database:docs")).await;
    assert!(found.status == 200 && path.ends_with(found.json()["id"].as_str().expect("an id")), "{found:?}");
    for other in ["named:default_database:other", "named:other:docs", "default_tenant:default_database:docs"]
    {
        assert_eq!(api.get(&crn(other)).await.status, 404, "{other}");
    }
    for wrong in ["docs", "a:b", "a:b:c:d", "a::c", "::", ":a:b"] {
        let (kind, message) = error(&api.get(&crn(wrong)).await, 400);
        assert_eq!(kind, "InvalidArgumentError");
        assert!(message.starts_with("Validation error: crn: CRN must be in the format"), "{message}");
    }
}

#[tokio::test]
async fn document_describes_every_route_of_chroma() {
    let api = Api::start().await;
    let document = api.get("/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("it has paths");
    let mut routes: Vec<String> = Vec::new();
    for (path, methods) in paths.iter().filter(|(path, _)| path.starts_with("/api/v2")) {
        for (method, operation) in methods.as_object().expect("methods") {
            routes.push(format!("{method} {path}"));
            let variables = path.matches('{').count();
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            assert_eq!(parameters.filter(|one| one["in"] == "path").count(), variables, "{method} {path}");
            // A route that is described is there.
            let sent = path.replace(['{', '}'], "");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let answer = api.send(method, &sent, None).await;
            assert!(answer.status != 405 && (answer.status != 404 || !answer.text.is_empty()), "{answer:?}");
        }
    }
    routes.sort_unstable();
    let collection = "/api/v2/tenants/{tenant}/databases/{database}/collections/{collection}";
    for route in ["add", "update", "upsert", "get", "query", "delete", "search", "fork"] {
        assert!(routes.contains(&format!("post {collection}/{route}")), "{route}: {routes:?}");
    }
    assert_eq!(routes.len(), 36, "{routes:?}");
    let body = &document["paths"][format!("{collection}/query")]["post"]["requestBody"];
    let schema = &body["content"]["application/json"]["schema"]["$ref"];
    let name = schema.as_str().and_then(|path| path.rsplit('/').next()).expect("a name");
    let required = &document["components"]["schemas"][name]["required"];
    assert_eq!(required, &json!(["query_embeddings"]));
    let page = api.get("/docs").await;
    assert!(page.status == 200 && page.text.contains("/openapi.json"), "{page:?}");
}
