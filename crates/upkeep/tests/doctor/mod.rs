//! Each problem, created on purpose, is found, and its fix removes it.

mod embeddings;
mod servers;
mod tables;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use records::Embedding;
use store::postgres::Database;
use test_support::TestDatabase;
use upkeep::{
    Policy,
    doctor::{Embed, Examination, Finding, Remedy, Severity, diagnose, examine},
};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// Findings of every test server: it is not crash-safe, and its pgvector is outdated.
const OF_TEST_SERVERS: [&str; 3] = ["no_crash_safety", "no_crash_safety", "pgvector_outdated"];

/// Inserts `rows` clustered queries of norm 1, each with a different text and vector.
async fn fill_healthy(test_database: &TestDatabase, rows: u32) {
    crate::fill(test_database, rows).await;
    test_database
        .execute(
            "create table made as table queries;
            truncate queries;
            insert into queries (id, query_text, theme, embedding)
                select id, query_text, theme, l2_normalize(embedding) from made;
            drop table made",
        )
        .await;
    test_database.execute("vacuum (analyze) queries").await;
}

/// A model that returns the vectors of the current rows for their texts.
async fn model_of(test_database: &TestDatabase) -> Embed {
    let mut connection = test_database.connection().await;
    let rows: Vec<(String, Vec<f32>)> =
        sqlx::query_as("select query_text, embedding::real[] from queries where embedding is not null")
            .fetch_all(&mut connection)
            .await
            .expect("rows read");
    let known: HashMap<String, Vec<f32>> = rows.into_iter().collect();
    Arc::new(move |texts: &[&str]| {
        let embedding = |text: &&str| Embedding::from(known.get(*text).expect("a text of the table").clone());
        Ok(texts.iter().map(embedding).collect())
    })
}

async fn examined(database: &Database, embed: &Embed) -> Examination {
    examine(database, Some(embed)).await.expect("the database can be asked")
}

/// The findings, except those of every test server.
async fn found(database: &Database, embed: &Embed) -> Vec<Finding> {
    let findings = diagnose(&examined(database, embed).await, &Policy::default());
    findings.into_iter().filter(|finding| !OF_TEST_SERVERS.contains(&finding.code)).collect()
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|finding| finding.code).collect()
}

fn one<'a>(findings: &'a [Finding], code: &str) -> &'a Finding {
    let of_code: Vec<&Finding> = findings.iter().filter(|finding| finding.code == code).collect();
    let [finding] = of_code[..] else { panic!("not one {code}: {findings:?}") };
    finding
}

/// Polls until `code` is found: the server's statistics become visible after about a second.
async fn found_in_time(database: &Database, embed: &Embed, code: &str) -> Vec<Finding> {
    let started = Instant::now();
    loop {
        let findings = found(database, embed).await;
        if codes(&findings).contains(&code) {
            return findings;
        }
        assert!(started.elapsed() < PATIENCE, "not found: {code} in {findings:?}");
        tokio::time::sleep(POLL).await;
    }
}

/// Applies the fix of a finding.
async fn mend(test_database: &TestDatabase, finding: &Finding) {
    let Remedy::Sql(statements) = &finding.remedy else { panic!("{finding:?}") };
    for statement in statements {
        test_database.execute(statement).await;
    }
}

fn severities(findings: &[Finding]) -> Vec<(Severity, &str)> {
    findings.iter().map(|finding| (finding.severity, finding.code)).collect()
}
