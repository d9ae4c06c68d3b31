//! Migration of the data of all three old services: directories that a real Chroma wrote, and evaluation results, which
//! have always been in PostgreSQL.

use std::collections::HashMap;

use embed::Model;
use records::stored_id;
use serde_json::{Map, Value, json};
use sqlx::PgConnection;
use test_support::{ResultRow, ServiceDirectory, TestDatabase, model_dir, three_services};

use crate::{panopticon, run};

/// A row of a service's table: id, ChromaDB's id, text, metadata, time, embedding.
type Row = (String, String, String, String, String, Vec<f32>);

#[tokio::test]
async fn three_services_are_migrated_with_ids_times_references_and_exact_vectors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = tokio::task::spawn_blocking({
        let path = folder.path().to_owned();
        move || {
            let model = Model::load(&model_dir()).expect("the model loads");
            let embed = |texts: &[&str]| -> Vec<Vec<f32>> {
                let embeddings = model.embed(texts).expect("texts are embedded");
                embeddings.iter().map(|embedding| embedding.as_slice().to_owned()).collect()
            };
            three_services(&path, &embed)
        }
    });
    let Some(services) = made.await.expect("making them does not panic") else { return };
    let database = TestDatabase::create().await;
    let mut connection = database.connection().await;
    store_results(&mut connection, &services.results).await;
    let before = digest_of_results(&mut connection).await;

    let environment = [
        ("DATABASE_URL", database.url()),
        ("CHROMA_PERSIST_DIRECTORY", services.query.path.display().to_string()),
        ("EVALUATION_PERSIST_DIRECTORY", services.evaluation.path.display().to_string()),
        ("JUDGE_PERSIST_DIRECTORY", services.judge.path.display().to_string()),
    ];
    for verb in ["migrate", "verify", "migrate"] {
        let mut command = panopticon(folder.path(), &[verb, "all", "--json"]);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        let ended = tokio::task::spawn_blocking(move || run(&mut command)).await.expect("it does not panic");
        assert_eq!(ended.code, 0, "{verb}: {ended:?}");
        let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
        assert_eq!(report["status"], "verified");
        assert_eq!(report["verify"]["search_parity"], 1.0);
    }

    let queries = "select id::text, source_id, query_text, metadata::text,
        to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), embedding::real[] from queries";
    let metrics = "select id::text, source_id, prompt, metadata::text,
        to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), embedding::real[] from evaluation_metrics";
    let outputs = "select id::text, source_id, output_text, metadata::text,
        to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), embedding::real[] from llm_outputs";
    for (service, select) in
        [(&services.query, queries), (&services.evaluation, metrics), (&services.judge, outputs)]
    {
        let rows: Vec<Row> = sqlx::query_as(select).fetch_all(&mut connection).await.expect("rows are read");
        compare(service, rows);
    }
    assert_eq!(digest_of_results(&mut connection).await, before, "results are unchanged");
    let resolved: i64 = sqlx::query_scalar(
        "select count(*)
         from evaluation_results result
         join queries query on query.id::text = result.query_id and query.query_text = result.query_text
         join evaluation_metrics metric on metric.id::text = result.evaluation_prompt_id
         join llm_outputs output on output.source_id = result.result_metadata ->> 'output_id'",
    )
    .fetch_one(&mut connection)
    .await
    .expect("references can be counted");
    assert_eq!(resolved.cast_unsigned(), services.results.len() as u64, "each reference resolves");
}

/// Compares the rows with the records that were sent to Chroma.
fn compare(service: &ServiceDirectory, rows: Vec<Row>) {
    let name = service.collection;
    let sent: HashMap<&str, _> = service.records.iter().map(|record| (record.id.as_str(), record)).collect();
    assert_eq!(rows.len(), sent.len(), "{name}");
    for (id, source_id, text, metadata, created_at, embedding) in rows {
        let sent = sent[source_id.as_str()];
        assert_eq!(id, stored_id(&source_id).to_string(), "{name}");
        assert_eq!(text, sent.document, "{name} {source_id}");
        let metadata: Map<String, Value> = serde_json::from_str(&metadata).expect("an object");
        assert_eq!(metadata, sent.metadata, "{name} {source_id}");
        let time = &sent.timestamp;
        let time = if time.contains('.') { time.clone() } else { format!("{time}.000000") };
        assert_eq!(created_at, time, "{name} {source_id}");
        assert_eq!(embedding.len(), sent.embedding.len());
        for (found, sent) in embedding.iter().zip(&sent.embedding) {
            let ulps = found.to_bits().abs_diff(sent.to_bits());
            assert!(ulps <= service.max_ulps, "{name} {source_id}: {found}, sent as {sent}");
        }
    }
}

async fn store_results(connection: &mut PgConnection, results: &[ResultRow]) {
    let rows: Vec<Value> = results
        .iter()
        .map(|row| {
            json!({
                "id": row.id, "query_id": row.query_id, "query_text": row.query_text,
                "output_text": row.output_text, "model_id": row.model_id, "theme": row.theme,
                "evaluation_prompt_id": row.evaluation_prompt_id, "evaluation_prompt": row.evaluation_prompt,
                "score": row.score, "judge_model": row.judge_model, "timestamp": row.timestamp,
                "result_metadata": row.result_metadata,
            })
        })
        .collect();
    let create = "create table evaluation_results (id varchar primary key, query_id varchar, query_text text,
        output_text text, model_id varchar, theme varchar, evaluation_prompt_id varchar,
        evaluation_prompt text, score float, judge_model varchar, timestamp timestamp, result_metadata json)";
    sqlx::query(create).execute(&mut *connection).await.expect("the table can be made");
    let insert = "insert into evaluation_results
        select * from jsonb_populate_recordset(null::evaluation_results, $1::text::jsonb)";
    let rows = Value::from(rows).to_string();
    let stored = sqlx::query(insert).bind(rows).execute(connection).await.expect("results can be stored");
    assert_eq!(stored.rows_affected(), results.len() as u64);
}

async fn digest_of_results(connection: &mut PgConnection) -> String {
    sqlx::query_scalar("select md5(string_agg(result::text, '' order by id)) from evaluation_results result")
        .fetch_one(connection)
        .await
        .expect("results can be read")
}
