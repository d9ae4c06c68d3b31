//! IVFFlat as the old service used it: created on the empty table, searched with one probe.

use anyhow::Result;
use bench::psql;
use provision::Server;
use serde_json::{Value, json};

use super::{
    embeddings::Corpus,
    ours::number,
    truth::{LIMIT, Truth},
};

const QUESTIONS: usize = 100;

/// The recall of the index that the old service created before it had any rows.
pub(super) fn measure(server: &Server, database: &str, corpus: &Corpus, truth: &Truth) -> Result<Value> {
    psql(
        server,
        database,
        &[
            "drop table if exists old_service",
            "create table old_service (id text, embedding vector(384))",
            "create index old_service_index on old_service using ivfflat (embedding vector_cosine_ops) with (lists = 100)",
            "insert into old_service select source_id, embedding from queries",
            "analyze old_service",
        ],
    )?;
    let mut recall = 0.0;
    let questions = truth.questions().len().min(QUESTIONS);
    for place in 0..questions {
        let vector = format!("{:?}", corpus.vector(truth.questions()[place]));
        let search = format!("select id from old_service order by embedding <=> '{vector}' limit {LIMIT}");
        let found = psql(server, database, &["set enable_seqscan = off", "set ivfflat.probes = 1", &search])?;
        let found = found.lines().map(number).collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
        recall += truth.recall(corpus, place, &found);
    }
    psql(server, database, &["drop table old_service"])?;
    Ok(json!({ "recall": recall / questions as f64, "questions": questions }))
}
