//! Samples of records in two dimensions.

use serde_json::{Value, json};

use super::Browser;
use crate::served::Served;

#[tokio::test]
async fn map_has_a_point_for_each_sampled_record_linked_to_it() {
    let served = Served::start().await;
    let mut browser = Browser::new(&served);
    let path = "/console/queries/map";
    assert!(browser.get(path).await.text.contains("There is nothing to show."));
    for (theme, texts) in [
        ("physics", ["Why is the sky blue?", "What is a quark?", "How heavy is an atom?"]),
        ("cook <i>", ["How do I bake bread?", "How long do eggs boil?", "What is umami?"]),
    ] {
        for text in texts {
            served.post("/api/v1/queries", json!({"query": text, "theme": theme})).await.data();
        }
    }
    let data = browser.data(path).await;
    let map = &data["map"];
    let points = map["points"].as_array().expect("a list");
    assert_eq!((points.len(), &map["count"], &map["dimension"]), (6, &json!(6), &json!(384)), "{data}");
    let [first, second] = [0, 1].map(|axis| map["explained"][axis].as_f64().expect("a number"));
    assert!(first >= second && second > 0.0 && first + second <= 1.0, "{data}");
    assert_eq!(
        map["groups"],
        json!([{"category": "cook <i>", "count": 3}, {"category": "physics", "count": 3}])
    );
    let number = |point: &Value, axis: &str| point[axis].as_f64().expect("a number");
    assert!(points.iter().any(|point| number(point, "x").abs() > 0.01), "{data}");
    assert_eq!(browser.data(path).await, data, "the same records are sampled again");
    let page = browser.get(path).await.text;
    for point in points {
        let id = point["id"].as_str().expect("an id");
        let link = format!("href=\"/console/queries/record?id={id}\"");
        assert_eq!(page.matches(&link).count(), 2, "{link} in the picture and in the table: {page}");
    }
    assert!(page.contains("<title>Why is the sky blue?</title>") && page.contains("spot-1"), "{page}");
    assert!(page.contains("cook &lt;i&gt;") && !page.contains("<i>"), "{page}");
    // A record without a vector is left out, and counted.
    served.execute("update queries set embedding = null where query_text like 'How heavy%'").await;
    let data = browser.data(path).await;
    assert_eq!(
        (&data["map"]["without_vector"], data["map"]["points"].as_array().map(Vec::len)),
        (&json!(1), Some(5))
    );
    assert!(browser.get(path).await.text.contains("Left out: 1 record without a vector."));
    let few = browser.data(&format!("{path}?limit=2")).await;
    assert!(few["map"]["points"].as_array().is_some_and(|points| points.len() <= 2), "{few}");
}

#[tokio::test]
async fn map_of_a_collection_has_its_vectors() {
    let served = Served::start().await;
    let database = "/api/v2/tenants/default_tenant/databases/default_database";
    let created = served.post(&format!("{database}/collections"), json!({"name": "line"})).await.json();
    let id = created["id"].as_str().expect("an id");
    let path = format!("/console/collections/map?collection={id}");
    let mut browser = Browser::new(&served);
    assert!(browser.get(&path).await.text.contains("There is nothing to show."), "before the first record");
    // On a line, so that one axis has everything, and the distances are those of the vectors.
    let records = json!({
        "ids": ["a", "b", "nul \u{0}"],
        "embeddings": [[0.0, 0.0, 1.0], [3.0, 4.0, 1.0], [6.0, 8.0, 1.0]],
        "documents": ["one", null, "three \u{0}"],
    });
    let added = served.post(&format!("{database}/collections/{id}/add"), records).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let data = browser.data(&path).await;
    let map = &data["map"];
    let x = |id: &str| {
        let found = map["points"].as_array().expect("a list").iter().find(|point| point["id"] == id);
        found.and_then(|point| point["x"].as_f64()).unwrap_or_else(|| panic!("{id}: {data}"))
    };
    assert!((x("b")).abs() < 1e-6 && (x("a") - x("nul \u{0}")).abs() - 10.0 < 1e-6, "{data}");
    assert!(map["explained"][0].as_f64().is_some_and(|part| part > 0.999_999), "{data}");
    let page = browser.get(&path).await.text;
    assert!(page.contains(&format!("/console/collections/record?collection={id}&amp;id=a")), "{page}");
    assert!(page.contains("100 %"), "{page}");
}

#[tokio::test]
async fn page_of_a_map_is_small() {
    let served = Served::start().await;
    // In a plane, which is found in few steps: of random vectors, a debug build takes seconds for each of the hundred.
    served
        .execute(
            "insert into queries (id, source_id, query_text, theme, metadata, created_at, embedding) \
             select gen_random_uuid(), 'id of a record ' || n, repeat('some words of a text ', 20), 'theme ' || n % 9, '{}', now(), \
                (select array_agg(10 * sin(n) * k + 5 * cos(7 * n)) from generate_series(1, 384) k)::vector \
             from generate_series(1, 2000) n",
        )
        .await;
    let mut browser = Browser::new(&served);
    let data = browser.data("/console/queries/map").await;
    assert_eq!(
        (data["map"]["points"].as_array().map(Vec::len), &data["map"]["count"]),
        (Some(300), &json!(2_000))
    );
    let page = browser.get("/console/queries/map").await.text;
    assert!(page.len() <= 200_000, "{}", page.len());
    let most = browser.data("/console/queries/map?limit=1000").await;
    assert_eq!(most["map"]["points"].as_array().map(Vec::len), Some(1_000));
}
