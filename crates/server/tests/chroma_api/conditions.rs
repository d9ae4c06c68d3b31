//! `where` and `where_document`.

use serde_json::{Value, json};

use super::{Api, error};

/// Records of many types of values.
async fn filled(api: &Api) -> String {
    let path = api.collection(json!({"name": "conditions"})).await;
    let body = json!({
        "ids": ["one", "float", "text", "true", "list", "none", "nul"],
        "embeddings": [[1], [2], [3], [4], [5], [6], [7]],
        "metadatas": [
            {"k": 1}, {"k": 1.5}, {"k": "1"}, {"k": true}, {"k": [1, 2], "t": ["a", "b"]}, null,
            {"k\u{0}": "x\u{0}y"},
        ],
        "documents": ["The CAT", "50%_\\", "", "naïve", null, "abc", "nul \u{0} here"],
    });
    api.done(&format!("{path}/add"), body).await;
    path
}

#[tokio::test]
async fn metadata_conditions_compare_as_chroma_does() {
    let api = Api::start().await;
    let path = filled(&api).await;
    let check = async |condition: Value, expected: &[&str]| {
        assert_eq!(api.ids(&path, json!({"where": condition})).await, json!(expected), "{condition}");
        // Many tests are made on decompressed columns.
        let others = (0..40).map(|number| json!({"other": {"$ne": number}}));
        let many: Vec<Value> = [condition].into_iter().chain(others).collect();
        let many = json!({"where": {"$and": many}});
        assert_eq!(api.ids(&path, many.clone()).await, json!(expected), "{many}");
    };
    check(json!({"k": 1}), &["one"]).await;
    check(json!({"k": 1.0}), &["one"]).await;
    check(json!({"k": "1"}), &["text"]).await;
    check(json!({"k": true}), &["true"]).await;
    check(json!({"k": {"$ne": 1}}), &["float", "text", "true", "list", "none", "nul"]).await;
    check(json!({"k": {"$gt": 0}}), &["one", "float"]).await;
    check(json!({"k": {"$lte": 1}}), &["one"]).await;
    check(json!({"k": {"$in": [1, 7]}}), &["one"]).await;
    check(json!({"k": {"$in": (0..50).collect::<Vec<_>>()}}), &["one"]).await;
    check(
        json!({"k": {"$nin": (0..50).collect::<Vec<_>>()}}),
        &["float", "text", "true", "list", "none", "nul"],
    )
    .await;
    check(json!({"k": {"$nin": ["1", "2"]}}), &["one", "float", "true", "list", "none", "nul"]).await;
    check(json!({"k": {"$contains": 2}}), &["list"]).await;
    check(json!({"k": {"$contains": 2.0}}), &[]).await;
    check(json!({"t": {"$not_contains": "a"}}), &["one", "float", "text", "true", "none", "nul"]).await;
    check(json!({"$or": []}), &[]).await;
    check(json!({"$and": []}), &["one", "float", "text", "true", "list", "none", "nul"]).await;
    check(json!({"$or": [{"k": 1}, {"#document": {"$contains": "abc"}}]}), &["one", "none"]).await;
    check(json!({"k\u{0}": "x\u{0}y"}), &["nul"]).await;
    check(json!({"k\u{0}": {"$in": ["x\u{0}y"]}}), &["nul"]).await;
    for wrong in [
        json!({}),
        json!({"a": 1, "b": 2}),
        json!({"a": {"$gt": "x"}}),
        json!({"a": {"$in": []}}),
        json!({"a": {"$in": [1, "x"]}}),
        json!({"a": {"$unknown": 1}}),
        json!({"$unknown": []}),
        json!({"a": null}),
        json!({"a": [1]}),
        json!("x"),
        json!({"#document": "x"}),
        // As Chroma reads numbers.
        json!({"a": u64::MAX}),
        json!({"a": {"$in": [1, 2.5]}}),
    ] {
        let answer = api.post(&format!("{path}/get"), json!({"where": wrong})).await;
        assert_eq!(error(&answer, 400).0, "InvalidArgumentError", "{wrong}");
    }
}

#[tokio::test]
async fn document_conditions_are_literal_and_case_sensitive() {
    let api = Api::start().await;
    let path = filled(&api).await;
    let check = async |condition: Value, expected: &[&str]| {
        let found = api.ids(&path, json!({"where_document": condition})).await;
        assert_eq!(found, json!(expected), "{condition}");
        let others = (0..40).map(|number| json!({"$not_contains": format!("other {number}")}));
        let many: Vec<Value> = [condition].into_iter().chain(others).collect();
        let many = json!({"where_document": {"$and": many}});
        assert_eq!(api.ids(&path, many.clone()).await, json!(expected), "{many}");
    };
    check(json!({"$contains": "CAT"}), &["one"]).await;
    check(json!({"$contains": "cat"}), &[]).await;
    check(json!({"$contains": "%_\\"}), &["float"]).await;
    check(json!({"$contains": ""}), &["one", "float", "text", "true", "none", "nul"]).await;
    check(json!({"$not_contains": "CAT"}), &["float", "text", "true", "list", "none", "nul"]).await;
    check(json!({"$contains": " \u{0} "}), &["nul"]).await;
    check(json!({"$regex": "^[a-c]{3}$"}), &["none"]).await;
    check(json!({"$regex": "(?i)cat"}), &["one"]).await;
    check(json!({"$regex": "[0-9]"}), &["float"]).await;
    check(json!({"$regex": "^nul . here$"}), &["nul"]).await;
    // NUL is a character as others are.
    for pattern in
        ["l \u{0} h", "^nul \\x00 here$", "l [\\x00-\\x05] h", "l [^a] h", "CAR|\u{0}", " \u{0}? here$"]
    {
        check(json!({"$regex": pattern}), &["nul"]).await;
    }
    for pattern in ["l [^\\x00] h", "\u{0}l"] {
        check(json!({"$regex": pattern}), &[]).await;
    }
    check(json!({"$regex": "CAT|\u{0}"}), &["one", "nul"]).await;
    check(json!({"$not_regex": "\u{0}"}), &["one", "float", "text", "true", "list", "none"]).await;
    check(json!({"$not_regex": "a"}), &["one", "float", "text", "list", "nul"]).await;
    check(json!({"$and": [{"$contains": "a"}, {"$not_contains": "b"}]}), &["true"]).await;
    for wrong in
        [json!({}), json!({"$contains": 5}), json!({"$regex": "(?=x)"}), json!({"x": "y"}), json!("x")]
    {
        let answer = api.post(&format!("{path}/get"), json!({"where_document": wrong})).await;
        assert_eq!(error(&answer, 400).0, "InvalidArgumentError", "{wrong}");
    }
    let answer = api.post(&format!("{path}/get"), json!({"where_document": {"$regex": "a("}})).await;
    let expected = "Regex syntax errror: regex parse error:\n    a(\n     ^\nerror: unclosed group";
    assert_eq!(error(&answer, 400).1, expected);
}

#[tokio::test]
async fn excessive_conditions_are_rejected_and_the_server_survives() {
    let api = Api::start().await;
    let path = filled(&api).await;
    let mut deep = json!({"k": 1});
    for _ in 0..100 {
        deep = json!({"$and": [deep, {"k": 1}]});
    }
    let wide = json!({"$or": (0..20_000).map(|n| json!({"k": n})).collect::<Vec<_>>()});
    for condition in [deep, wide] {
        assert_eq!(api.post(&format!("{path}/get"), json!({"where": condition})).await.status, 400);
    }
    let many = json!({"$or": (0..2_000).map(|n| json!({"k": n})).collect::<Vec<_>>()});
    assert_eq!(api.ids(&path, json!({"where": many})).await, json!(["one"]));
    let many = json!({"k": {"$in": (0..20_000).collect::<Vec<_>>()}});
    assert_eq!(api.ids(&path, json!({"where": many})).await, json!(["one"]));
}
