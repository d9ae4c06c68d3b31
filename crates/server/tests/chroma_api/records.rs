//! Records.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{Api, error};

const ALL: [&str; 5] = ["documents", "embeddings", "metadatas", "uris", "distances"];

#[tokio::test]
async fn added_records_are_read_in_the_order_of_insertion() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "docs"})).await;
    let empty = api.done(&format!("{path}/query"), json!({"query_embeddings": [[1, 2]]})).await;
    assert_eq!((&empty["ids"], &empty["distances"]), (&json!([[]]), &json!([[]])));
    let add = format!("{path}/add");
    // The first of two with one id is stored.
    let first = json!({
        "ids": ["z", "a", "z"], "embeddings": [[1, 2], [3, 4], [5, 6]],
        "documents": ["first", null, "third"], "metadatas": [{"n": 1}, null, {"n": 3}], "uris": [null, "u", null],
    });
    let answer = api.post(&add, first).await;
    assert_eq!((answer.status, answer.json()), (201, json!({})));
    // A known id is skipped, its neighbours are stored.
    api.done(&add, json!({"ids": ["a", "m"], "embeddings": ["AACAPwAAAIA=", "AAAAPwAAAEA="]})).await;
    let read = api.done(&format!("{path}/get"), json!({"ids": ["m", "a", "z", "m"], "include": ALL})).await;
    assert_eq!(
        read,
        json!({
            "ids": ["z", "a", "m"],
            "embeddings": [[1.0, 2.0], [3.0, 4.0], [0.5, 2.0]],
            "documents": ["first", null, null],
            // A record with a URI has metadata, which are hidden.
            "metadatas": [{"n": 1}, {}, null],
            "uris": [null, "u", null],
            "include": ALL,
        })
    );
    let read = api.done(&format!("{path}/get"), json!({"limit": 1, "offset": 1})).await;
    assert_eq!(
        read,
        json!({
            "ids": ["a"], "embeddings": null, "documents": [null], "uris": null, "metadatas": [{}],
            "include": ["documents", "metadatas"],
        })
    );
    // Deleted and added again, it is the last.
    assert_eq!(
        api.done(&format!("{path}/delete"), json!({"ids": ["z", "unknown"]})).await,
        json!({"deleted": 1})
    );
    api.done(&add, json!({"ids": ["z"], "embeddings": [[0, 0]]})).await;
    assert_eq!(api.ids(&path, json!({})).await, json!(["a", "m", "z"]));
    assert_eq!(api.get(&format!("{path}/count")).await.json(), json!(3));
    for (body, expected) in [
        (json!({"ids": []}), json!([])),
        (json!({"ids": null}), json!(["a", "m", "z"])),
        (json!({"limit": 0}), json!([])),
        (json!({"limit": 4_294_967_295_u32}), json!(["a", "m", "z"])),
    ] {
        assert_eq!(api.ids(&path, body.clone()).await, expected, "{body}");
    }
    for wrong in [
        json!({"limit": -1}),
        json!({"limit": 1.5}),
        json!({"limit": 4_294_967_296_u64}),
        json!({"ids": [1]}),
    ] {
        assert_eq!(
            error(&api.post(&format!("{path}/get"), wrong.clone()).await, 422).0,
            "ChromaError",
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn values_are_kept_exactly() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "exact", "configuration": {"hnsw": {"space": "cosine"}}})).await;
    let metadata = json!({
        "int": 9_007_199_254_740_993_i64, "min": i64::MIN, "float": 1.0, "tiny": 5e-324, "large": 1e300,
        "true": true, "text": "\u{0}\u{10fffe}ü", "quote\"'{}->>": "k", "list": [3, 1, 3], "mixed": [1.0, 2.5],
        "nul\u{0}key": "v",
    });
    let id = "i\u{0}d".repeat(5_000);
    let body = json!({
        "ids": [id, "plain"], "embeddings": [[-0.0, 0.1, 3e-45], [2, 0, 0]],
        "documents": ["d\u{0}\u{0}", ""], "uris": ["u\u{0}", "\u{10fffe}0"], "metadatas": [metadata, {"a": []}],
    });
    api.done(&format!("{path}/add"), body).await;
    let read = api.done(&format!("{path}/get"), json!({"include": ALL})).await;
    assert_eq!(read["ids"], json!([id, "plain"]));
    assert_eq!(read["documents"], json!(["d\u{0}\u{0}", ""]));
    assert_eq!(read["uris"], json!(["u\u{0}", "\u{10fffe}0"]));
    assert_eq!(read["metadatas"][1], json!({}));
    let shown = read["metadatas"][0].as_object().expect("an object");
    assert_eq!(shown.len(), 11);
    for (key, value) in metadata.as_object().expect("an object") {
        let shown = &shown[key];
        let is_same = match value.is_f64() {
            true => shown.is_f64() && shown.as_f64() == value.as_f64(),
            false => shown == value,
        };
        assert!(is_same, "{key}: {shown}");
    }
    let vector = read["embeddings"][0].as_array().expect("a list");
    let bits: Vec<u32> = vector.iter().map(|x| (x.as_f64().expect("a number") as f32).to_bits()).collect();
    assert_eq!(bits, [-0.0_f32, 0.1, 3e-45].map(f32::to_bits));
    assert_eq!(api.ids(&path, json!({"ids": [id]})).await, json!([id]));
    // The whole record is found by an update, and escaped no more.
    api.done(&format!("{path}/update"), json!({"ids": ["plain"], "documents": ["now \u{0}"]})).await;
    let read = api.done(&format!("{path}/get"), json!({"ids": ["plain"], "include": ALL})).await;
    assert_eq!((&read["documents"], &read["uris"]), (&json!(["now \u{0}"]), &json!(["\u{10fffe}0"])));
}

#[tokio::test]
async fn updates_merge_metadata_and_keep_what_is_not_given() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "merged"})).await;
    let add = json!({
        "ids": ["a", "b"], "embeddings": [[1, 1], [2, 2]], "documents": ["da", "db"],
        "metadatas": [{"k": 1, "l": 2}, {"k": 1}], "uris": ["ua", "ub"],
    });
    api.done(&format!("{path}/add"), add).await;
    let update = json!({
        "ids": ["a", "unknown", "a"], "metadatas": [{"k": null, "m": 3}, {"x": 1}, {"m": 4, "n": 5}],
        "documents": [null, "x", ""],
    });
    api.done(&format!("{path}/update"), update).await;
    let upsert = json!({
        "ids": ["b", "c", "c"], "embeddings": [[3, 3], [4, 4], [5, 5]],
        "metadatas": [null, {"p": 1, "q": null}, {"r": 2}], "documents": [null, "first", null],
    });
    api.done(&format!("{path}/upsert"), upsert).await;
    let read = api.done(&format!("{path}/get"), json!({"include": ALL})).await;
    assert_eq!(read["ids"], json!(["a", "b", "c"]));
    assert_eq!(read["metadatas"], json!([{"l": 2, "m": 4, "n": 5}, {"k": 1}, {"p": 1, "r": 2}]));
    assert_eq!(read["documents"], json!(["", "db", "first"]));
    assert_eq!(read["embeddings"], json!([[1.0, 1.0], [3.0, 3.0], [5.0, 5.0]]));
    assert_eq!(read["uris"], json!(["ua", "ub", null]));
}

#[tokio::test]
async fn refused_batch_changes_nothing_and_does_not_fix_the_dimension() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "atomic"})).await;
    let add = format!("{path}/add");
    for (body, status) in [
        (json!({"ids": ["a", "b"], "embeddings": [[1, 2], [1, 2, 3]]}), 400),
        (json!({"ids": ["a"], "embeddings": [[1e39, 1]]}), 400),
        (json!({"ids": ["a"], "embeddings": [[]]}), 400),
        (json!({"ids": ["a", ""], "embeddings": [[1], [1]]}), 400),
        (json!({"ids": ["a"], "embeddings": []}), 400),
        (json!({"ids": ["a"], "embeddings": [[1]], "documents": []}), 400),
        (json!({"ids": ["a"], "embeddings": [[1]], "metadatas": [{"$k": 1}]}), 400),
        (json!({"ids": ["a"], "embeddings": [[1]], "metadatas": [{"#k": 1}]}), 400),
        (json!({"ids": ["a"], "embeddings": [[1]], "metadatas": [{"": 1}]}), 400),
        (json!({"ids": ["a"], "embeddings": [[1]], "metadatas": [{"k": null}]}), 422),
        (json!({"ids": ["a"], "embeddings": [[1]], "metadatas": [{"k": {"l": 1}}]}), 422),
        (json!({"ids": ["a"], "embeddings": [null]}), 422),
        (json!({"ids": ["a"], "embeddings": [vec![1; 16_001]]}), 400),
        (
            json!({"ids": ["a"], "embeddings": [[1]], "metadatas": [{"s": {"indices": [1], "values": [1.5]}}]}),
            501,
        ),
        (json!({"ids": ["a"]}), 422),
    ] {
        assert_eq!(
            api.post(&add, body.clone()).await.status,
            status,
            "{}",
            &body.to_string()[..body.to_string().len().min(200)]
        );
    }
    api.done(&add, json!({"ids": ["a"], "embeddings": [[1, 2, 3]]})).await;
    let refused =
        api.post(&format!("{path}/upsert"), json!({"ids": ["b", "a"], "embeddings": [[1, 2, 3], [1]]})).await;
    assert_eq!(error(&refused, 400).1, "Collection expecting embedding with dimension of 3, got 1");
    assert_eq!(api.ids(&path, json!({})).await, json!(["a"]));
    // It stays when all records are deleted.
    api.done(&format!("{path}/delete"), json!({"where_document": {"$not_contains": "x"}})).await;
    assert_eq!(api.post(&add, json!({"ids": ["a"], "embeddings": [[1]]})).await.status, 400);
}

#[tokio::test]
async fn nearest_records_have_the_distances_of_chroma() {
    let api = Api::start().await;
    for (space, expected) in [
        ("l2", json!([0.0, 1.0, 25.0])),
        ("cosine", json!([0.0, 1.0, 1.0])),
        ("ip", json!([-24.0, 1.0, 1.0])),
    ] {
        let path = api
            .collection(json!({"name": format!("in-{space}"), "configuration": {"hnsw": {"space": space}}}))
            .await;
        let records = match space {
            "l2" => json!([[3, 4], [3, 3], [0, 0]]),
            _ => json!([[3, 4], [-4, 3], [0, 0]]),
        };
        let body = json!({"ids": ["a", "b", "zero"], "embeddings": records, "metadatas": [{"k": 1}, {"k": 2}, {"k": 2}]});
        api.done(&format!("{path}/add"), body).await;
        let query = json!({"query_embeddings": [[3, 4], [3, 4]], "n_results": 7, "include": ["distances", "embeddings"]});
        let found = api.done(&format!("{path}/query"), query).await;
        assert_eq!(found["ids"], json!([["a", "b", "zero"], ["a", "b", "zero"]]), "{space}");
        let distances = found["distances"][1].as_array().expect("a list");
        for (found, expected) in distances.iter().zip(expected.as_array().expect("a list")) {
            let difference = found.as_f64().expect("a number") - expected.as_f64().expect("a number");
            assert!(difference.abs() < 1e-5, "{space}: {distances:?}");
        }
        assert_eq!(found["embeddings"][0][0], json!([3.0, 4.0]));
        let query = json!({"query_embeddings": [[3, 4]], "where": {"k": 2}, "n_results": 1});
        assert_eq!(api.done(&format!("{path}/query"), query).await["ids"], json!([["b"]]));
        let query = json!({"query_embeddings": [[3, 4]], "ids": ["zero"]});
        assert_eq!(api.done(&format!("{path}/query"), query).await["ids"], json!([["zero"]]));
        let query = json!({"query_embeddings": [[3, 4]], "ids": ["zero", "unknown"]});
        assert_eq!(error(&api.post(&format!("{path}/query"), query).await, 500).0, "InternalError");
        let query = json!({"query_embeddings": [], "n_results": 1});
        assert_eq!(api.done(&format!("{path}/query"), query).await["ids"], json!([]));
        assert_eq!(api.post(&format!("{path}/query"), json!({"query_embeddings": [[1]]})).await.status, 400);
    }
}

#[tokio::test]
async fn searches_by_several_vectors_find_what_each_of_them_finds() {
    let api = Api::start().await;
    let path =
        api.collection(json!({"name": "several", "configuration": {"hnsw": {"space": "cosine"}}})).await;
    let ids: Vec<String> = (0..60).map(|number| format!("r{number}")).collect();
    let vector = |number: i32| json!([number % 7 - 3, number % 5, number % 11 - 5]);
    let embeddings: Vec<Value> = (0..60).map(vector).collect();
    let metadatas: Vec<Value> = (0..60).map(|number| json!({"n": number % 4})).collect();
    let body = json!({"ids": ids, "embeddings": embeddings, "metadatas": metadatas, "documents": ids});
    api.done(&format!("{path}/add"), body).await;
    let search = async |vectors: Vec<Value>, limit: usize, condition: &Value| {
        let mut body = json!({"query_embeddings": vectors, "n_results": limit});
        if !condition.is_null() {
            body["where"] = condition.clone();
        }
        body["include"] = json!(["distances", "documents", "embeddings", "metadatas", "uris"]);
        api.done(&format!("{path}/query"), body).await
    };
    for condition in [Value::Null, json!({"n": 1}), json!({"n": 9})] {
        let vectors: Vec<Value> = [1, 2, 0, 2].map(vector).to_vec();
        let few = search(vectors.clone(), 7, &condition).await;
        // More than are read by one message.
        let many = search(vectors.clone(), 2_000, &condition).await;
        for (place, vector) in vectors.into_iter().enumerate() {
            let alone = search(vec![vector], 7, &condition).await;
            for part in ["ids", "distances", "documents", "embeddings", "metadatas"] {
                assert_eq!(few[part][place], alone[part][0], "{part}");
                let first: Vec<&Value> = many[part][place].as_array().into_iter().flatten().take(7).collect();
                let expected: Vec<&Value> = few[part][place].as_array().into_iter().flatten().collect();
                assert_eq!(first, expected, "{part}");
            }
        }
    }
}

#[tokio::test]
async fn cosine_distance_does_not_depend_on_the_length_of_the_searched_vector() {
    let api = Api::start().await;
    let path =
        api.collection(json!({"name": "lengths", "configuration": {"hnsw": {"space": "cosine"}}})).await;
    let body = json!({"ids": ["a", "b", "c"], "embeddings": [[1, 0], [1, 1], [-3, 1]]});
    api.done(&format!("{path}/add"), body).await;
    let search = async |length: f64, limit: u32| {
        let body = json!({"query_embeddings": [[length, length * 0.5]], "n_results": limit});
        let found = api.done(&format!("{path}/query"), body).await;
        let distances = found["distances"][0].as_array().into_iter().flatten();
        let distances: Vec<f64> = distances.filter_map(Value::as_f64).collect();
        (found["ids"].clone(), distances)
    };
    let (ids, expected) = search(1.0, 3).await;
    assert_eq!(ids, json!([["b", "a", "c"]]));
    for length in [1e-37, 1e-30, 1e-20, 1e-11, 1e11, 1e30, 3e38] {
        // Few and many are found by different statements.
        for limit in [3, 2_000] {
            let (ids, distances) = search(length, limit).await;
            assert_eq!(ids, json!([["b", "a", "c"]]), "{length}");
            let is_near = |(one, other): (&f64, &f64)| (one - other).abs() < 1e-6;
            assert!(
                distances.iter().zip(&expected).all(is_near),
                "{length}: {distances:?}, not {expected:?}"
            );
        }
    }
}

#[tokio::test]
async fn texts_of_conditions_are_never_read_as_sql() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "odd_texts"})).await;
    let texts =
        ["it's", r"\", r"\'", "$1", "$2 $1::real[]", "E'x'", "'; drop table x; --", "ä\n\t'", "\u{10ffff}"];
    let count = texts.len();
    let body = json!({
        "ids": texts,
        "embeddings": vec![[1, 2]; count],
        "documents": texts.map(|text| format!("before {text} after")),
        "metadatas": texts.map(|text| json!({text.replace('$', "§"): text, "text": text})),
    });
    api.done(&format!("{path}/add"), body).await;
    for text in texts {
        let conditions = [
            json!({"ids": [text]}),
            json!({"where": {"text": text}}),
            json!({"where": {text.replace('$', "§"): text}}),
            json!({"where": {"text": {"$in": [text, "another"]}}}),
            json!({"where_document": {"$contains": format!("before {text} after")}}),
        ];
        for condition in conditions {
            assert_eq!(api.ids(&path, condition.clone()).await, json!([text]), "{condition}");
            if condition["ids"].is_null() {
                let mut body = condition.clone();
                body["query_embeddings"] = json!([[2, 1]]);
                let found = api.done(&format!("{path}/query"), body).await;
                assert_eq!(found["ids"], json!([[text]]), "{condition}");
            }
        }
        let others = api.ids(&path, json!({"where": {"text": {"$ne": text}}})).await;
        assert_eq!(others.as_array().map(Vec::len), Some(count - 1), "{text}");
    }
}

#[tokio::test]
async fn answer_that_repeats_a_record_too_often_is_refused() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "repeated"})).await;
    let (mebibyte, vectors) = ("m".repeat(1 << 20), vec![[1]; 65]);
    api.done(&format!("{path}/add"), json!({"ids": ["a"], "embeddings": [[1]], "documents": [mebibyte]}))
        .await;
    let query = |include: &[&str]| json!({"query_embeddings": vectors, "include": include});
    let (kind, message) = error(&api.post(&format!("{path}/query"), query(&["documents"])).await, 413);
    assert_eq!(kind, "ChromaError");
    assert!(message.contains("use a smaller limit"), "{message}");
    let found = api.done(&format!("{path}/query"), query(&["distances"])).await;
    assert_eq!(found["ids"].as_array().map(Vec::len), Some(65));
}

#[tokio::test]
async fn update_of_too_large_records_is_refused() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "large"})).await;
    let (document, ids) = ("d".repeat(14 << 20), ["a", "b", "c", "d", "e"]);
    for id in ids {
        let body = json!({"ids": [id], "embeddings": [[1]], "documents": [document]});
        api.done(&format!("{path}/add"), body).await;
    }
    let update = json!({"ids": ids, "metadatas": vec![json!({"k": 1}); ids.len()]});
    let (_, message) = error(&api.post(&format!("{path}/update"), update).await, 413);
    assert!(message.contains("change fewer records at once"), "{message}");
    api.done(&format!("{path}/update"), json!({"ids": ["a", "b"], "metadatas": [{"k": 1}, {"k": 1}]})).await;
    assert_eq!(api.ids(&path, json!({"where": {"k": 1}})).await, json!(["a", "b"]));
}

#[tokio::test]
async fn deletions_need_a_condition() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "deleted"})).await;
    let ids: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    let metadatas: Vec<Value> = (0..10).map(|n| json!({"n": n})).collect();
    let body = json!({"ids": ids, "embeddings": vec![[1]; 10], "metadatas": metadatas});
    api.done(&format!("{path}/add"), body).await;
    let delete = format!("{path}/delete");
    assert_eq!(api.done(&delete, json!({})).await, json!({"deleted": 0}));
    for wrong in [json!({"ids": []}), json!({"limit": 1}), json!({"where": {"$and": []}})] {
        assert_eq!(api.post(&delete, wrong.clone()).await.status, 400, "{wrong}");
    }
    let first = json!({"where": {"n": {"$gte": 4}}, "limit": 2});
    assert_eq!(api.done(&delete, first).await, json!({"deleted": 2}));
    assert_eq!(api.ids(&path, json!({})).await, json!(["0", "1", "2", "3", "6", "7", "8", "9"]));
    let both = json!({"ids": ["0", "9"], "where": {"n": {"$lt": 5}}});
    assert_eq!(api.done(&delete, both).await, json!({"deleted": 1}));
}

#[tokio::test]
async fn concurrent_writes_of_one_record_end_with_one_of_them_whole() {
    let api = Api::start().await;
    let path = api.collection(json!({"name": "raced"})).await;
    let upsert = async |n: usize| {
        let ids: Vec<String> =
            (0..30).map(|id| format!("{}", if n.is_multiple_of(2) { id } else { 29 - id })).collect();
        let body = json!({
            "ids": ids, "embeddings": vec![[n, n]; 30], "documents": vec![n.to_string(); 30],
            "metadatas": vec![json!({"n": n}); 30],
        });
        api.done(&format!("{path}/upsert"), body).await;
    };
    join_all((0..20).map(upsert)).await;
    let read = api.done(&format!("{path}/get"), json!({"include": ALL})).await;
    let last = &read["metadatas"][0]["n"];
    let n = last.as_f64().expect("a number");
    assert_eq!(read["ids"].as_array().map(Vec::len), Some(30));
    for index in 0..30 {
        assert_eq!(&read["metadatas"][index]["n"], last);
        assert_eq!(read["documents"][index], json!(last.to_string()));
        assert_eq!(read["embeddings"][index], json!([n, n]));
    }
}
