//! Exports of results.

use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::Field,
};
use serde_json::{Value, json};
use store::postgres::EvaluationResult;
use time::{Duration, macros::datetime};

use crate::served::{Served, client};

/// A result whose values are hard to encode, or with nulls only.
fn result(number: u32) -> EvaluationResult {
    let bare = number.is_multiple_of(3);
    let text = |text: &str| (!bare).then(|| text.to_owned());
    EvaluationResult {
        id: format!("r{number:05}"),
        query_id: text(""),
        query_text: text("Why, \"exactly\"?"),
        output_text: text("two\nlines\r\nand größer \u{1F600}"),
        model_id: text(if number.is_multiple_of(2) { "even" } else { "odd" }),
        theme: text("t"),
        evaluation_prompt_id: None,
        evaluation_prompt: text("p"),
        score: (!bare).then_some(f64::from(number) + 0.5),
        judge_model: text("gpt-4"),
        timestamp: (number > 2)
            .then(|| (datetime!(2026-01-01 12:00:00.000137) + Duration::minutes(number.into())).into()),
        result_metadata: (!bare).then(|| json!({"n": number, "raw_text": "a,\"b\"\n"})),
    }
}

async fn stored(count: u32) -> Served {
    let served = Served::start().await;
    let results: Vec<EvaluationResult> = (0..count).map(result).collect();
    served.database.insert_evaluation_results(&results).await.expect("they are stored");
    served
}

/// The fields of each record by RFC 4180; `None` for an empty field without quotes.
fn records(csv: &str) -> Vec<Vec<Option<String>>> {
    let (mut records, mut record, mut rest) = (Vec::new(), Vec::new(), csv);
    while !rest.is_empty() {
        let field;
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            loop {
                let (part, after) = quoted.split_once('"').expect("a quotation ends");
                text.push_str(part);
                match after.strip_prefix('"') {
                    Some(after) => {
                        text.push('"');
                        quoted = after;
                    }
                    None => {
                        rest = after;
                        break;
                    }
                }
            }
            field = Some(text);
        } else {
            let end = rest.find([',', '\r']).expect("a field ends");
            field = (end > 0).then(|| rest[..end].to_owned());
            rest = &rest[end..];
        }
        record.push(field);
        match rest.strip_prefix("\r\n") {
            Some(after) => {
                records.push(std::mem::take(&mut record));
                rest = after;
            }
            None => rest = rest.strip_prefix(',').expect("a comma between fields"),
        }
    }
    records
}

#[tokio::test]
async fn exports_contain_the_listed_results() {
    const COUNT: u32 = 600;
    let served = stored(COUNT).await;
    let lines = served.get("/api/v1/results/export?format=jsonl").await;
    assert_eq!((lines.status, lines.header("content-type")), (200, "application/x-ndjson"));
    assert_eq!(lines.header("content-disposition"), "attachment; filename=\"results.jsonl\"");
    let lines: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(lines.len(), COUNT as usize);
    assert_eq!(lines[..100], *served.get("/results?limit=100").await.json().as_array().expect("a list"));

    let csv = served.get("/api/v1/results/export?format=csv").await;
    assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"results.csv\"");
    let records = records(&csv.text);
    let names: Vec<&str> = records[0].iter().map(|name| name.as_deref().expect("a name")).collect();
    assert_eq!(records.len(), lines.len() + 1);
    for (record, line) in records[1..].iter().zip(&lines) {
        assert_eq!(record.len(), names.len());
        for (name, field) in names.iter().zip(record) {
            let shown = match (*name, field) {
                (_, None) => Value::Null,
                ("score", Some(field)) => json!(field.parse::<f64>().expect("a number")),
                ("metadata", Some(field)) => serde_json::from_str(field).expect("JSON"),
                (_, Some(field)) => json!(field),
            };
            // A key absent from the line is null in the column.
            assert_eq!(shown, line[name], "{name} of {}", line["id"]);
        }
    }

    let odd = served.get("/api/v1/results/export?format=csv&model_id=odd").await;
    assert_eq!(self::records(&odd.text).len(), 201, "a third of 600, and the names");
    let none = served.get("/api/v1/results/export?format=csv&model_id=nobody").await;
    assert_eq!(self::records(&none.text).len(), 1);
    for (query, field) in [("", "format"), ("format=xml", "format"), ("format=csv&status=x", "status")] {
        let refused = served.get(&format!("/api/v1/results/export?{query}")).await;
        assert_eq!((refused.status, &refused.json()["data"]["field"]), (422, &json!(field)), "{refused:?}");
    }
}

#[tokio::test]
async fn parquet_files_have_typed_columns_and_bounded_row_groups() {
    const COUNT: u32 = 5_000;
    let served = stored(COUNT).await;
    let response = client().get(format!("{}/api/v1/results/export?format=parquet", served.url)).send().await;
    let response = response.expect("it answers");
    assert_eq!(response.headers()["content-type"], "application/vnd.apache.parquet");
    let bytes = response.bytes().await.expect("the file is complete");
    let file = SerializedFileReader::new(bytes).expect("it is a Parquet file");
    let groups: Vec<i64> = file.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(groups, [4_096, 904]);
    let lines = served.get("/api/v1/results/export?format=jsonl").await;
    let mut lines = lines.text.lines();
    let mut last = 0;
    for row in file.get_row_iter(None).expect("it has rows") {
        let row = row.expect("a row");
        let line: Value = serde_json::from_str(lines.next().expect("a line a row")).expect("a line of JSON");
        for (name, field) in row.get_column_iter() {
            let shown = match field {
                Field::Null => Value::Null,
                Field::Double(number) => json!(number),
                Field::TimestampMicros(micros) => {
                    let time = datetime!(1970-01-01 0:00) + Duration::microseconds(*micros);
                    json!(records::timestamp::format(time))
                }
                Field::Str(text) if name == "metadata" => serde_json::from_str(text).expect("JSON"),
                Field::Str(text) => json!(text),
                other => panic!("{name}: {other:?}"),
            };
            // A key absent from the line is null in the column.
            assert_eq!(shown, line[name], "{name} of {}", line["id"]);
        }
        last += 1;
    }
    assert_eq!((last, lines.next()), (COUNT, None));
}

/// Otherwise a client would take a truncated file for a complete one.
#[tokio::test]
async fn export_that_fails_midway_is_not_terminated() {
    let served = Served::start().await;
    // More than fits into the buffers, so that the failing statement has not run when the response begins.
    let long = "x".repeat(1 << 19);
    let results: Vec<EvaluationResult> =
        (0..96).map(|n| EvaluationResult { output_text: Some(long.clone()), ..result(n) }).collect();
    for part in results.chunks(16) {
        served.database.insert_evaluation_results(part).await.expect("they are stored");
    }
    for format in ["csv", "jsonl", "parquet"] {
        let url = format!("{}/api/v1/results/export?format={format}", served.url);
        let mut response = client().get(url).send().await.expect("it answers");
        assert_eq!(response.status(), 200);
        let mut seen = 0;
        let ended = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    if seen == 0 {
                        served.execute("alter table evaluation_results rename to gone").await;
                    }
                    seen += chunk.len();
                }
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert!(!ended && seen > 0, "{format}: {seen} bytes");
        served.execute("alter table gone rename to evaluation_results").await;
    }
}
