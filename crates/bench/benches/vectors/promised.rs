//! The recall that tuning promises, and the one that texts which are not stored have, for several kinds of texts.

use std::{env, path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use bench::{psql, write_report};
use provision::Server;
use serde_json::{Value, json};
use upkeep::IndexType;

use super::{corpus::TextSet, embeddings::Corpus, filters::Filter, ours::Ours, truth::Truth};

const TARGETS: [f64; 3] = [0.95, 0.98, 0.99];
/// Of a recall of 0.98, 2,000 searches state about 0.001.
const SEARCHED: usize = 2_000;
/// At most one text in eight is searched for.
const PART_SEARCHED: usize = 8;

/// Measures each of the sets that `PANOPTICON_BENCH_SETS` names (`all`, or some of [`TextSet`] with commas), with up to
/// `stored` texts; prints a table, and writes `target/bench/promised.json`.
pub(super) async fn promised(server: &Server, model: &Path, names: &str, stored: usize) -> Result<()> {
    let is_named = |set: &TextSet| names == "all" || names.split(',').any(|name| name.trim() == set.name());
    let sets: Vec<TextSet> = TextSet::ALL.into_iter().filter(is_named).collect();
    ensure!(
        !sets.is_empty(),
        "PANOPTICON_BENCH_SETS names no set: it is `all`, or some of {:?}",
        TextSet::ALL.map(TextSet::name)
    );
    let mut reports = Vec::new();
    println!("| texts | rows | target | ef_search | recall as measured | of texts that are not stored | |");
    println!("|---|---|---|---|---|---|---|");
    for set in sets {
        let corpus = Arc::new(Corpus::of_set(set, model, stored + SEARCHED)?);
        let searched = (corpus.texts.len() / PART_SEARCHED).min(SEARCHED);
        let rows = corpus.texts.len() - searched;
        let database = format!("promised_{}", set.name());
        let again = format!("drop database if exists {database} with (force)");
        psql(server, "postgres", &[&again, &format!("create database {database}")])?;
        let report = of_set(set, &corpus, rows, server.url_of(&database)).await?;
        psql(server, "postgres", &[&again])?;
        reports.extend(report);
        write_report("promised", &json!(reports))?;
    }
    Ok(())
}

async fn of_set(set: TextSet, corpus: &Arc<Corpus>, rows: usize, url: String) -> Result<Vec<Value>> {
    let ours = Ours::open(url).await?;
    ours.database.prepare_schema().await?;
    ours.fill(corpus, rows).await?;
    ours.build(IndexType::Hnsw).await?;
    let questions: Vec<usize> = (rows..corpus.texts.len()).collect();
    let truth = Arc::new(Truth::of(corpus, rows, &questions, &Filter::None));
    let mut reports = Vec::new();
    for target in TARGETS {
        let (setting, seconds) = ours.tune(target, IndexType::Hnsw).await?;
        let setting = setting.context("there is no index")?;
        let found = ours.measure(corpus, &truth, &Filter::None, 1).await?;
        let recall = found["recall"].as_f64().context("the recall is a number")?;
        println!(
            "| {} | {rows} | {target} | {} | {:.4} | {recall:.4} | {:+.4} |",
            set.name(),
            setting.candidates,
            setting.recall,
            recall - target
        );
        reports.push(json!({
            "texts": set.name(),
            "rows": rows,
            "searched": questions.len(),
            "target": target,
            "ef_search": setting.candidates,
            "sampled": setting.sampled,
            "recall_measured": setting.recall,
            "recall": recall,
            "mean_ms": found["mean_ms"],
            "tuning_seconds": seconds,
        }));
    }
    Ok(reports)
}

/// The sets to measure, if any.
pub(super) fn names() -> Result<Option<String>> {
    match env::var("PANOPTICON_BENCH_SETS") {
        Ok(names) => Ok(Some(names)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context("PANOPTICON_BENCH_SETS is not a text"),
    }
}
