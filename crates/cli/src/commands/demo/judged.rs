//! The sample's verdicts and labels, which `sample/make_results.py` has drawn, joined with its stored answers.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use records::{Service, timestamp};
use serde_json::{Map, Value};
use store::{
    StoredTime,
    postgres::{
        Database, EvaluationResult, LabelVerdict, LabelWinner, LabelledQuery, PostgresStorage, StoredLabel,
    },
    storage::{Record, Storage as _},
};
use uuid::Uuid;

const VERDICTS: &str = include_str!("../../../../../sample/verdicts.jsonl");
const LABELS: &str = include_str!("../../../../../sample/labels.jsonl");

/// The provider of the sample's judges, in the metadata of each verdict.
const PROVIDER: &str = "sample";

/// How much was stored.
pub(super) struct Judged {
    pub(super) verdicts: usize,
    pub(super) labels: usize,
}

/// Stores the verdicts and labels in `database`, which has the sample's records.
pub(super) async fn store(database: &Database) -> anyhow::Result<Judged> {
    let verdicts = lines(VERDICTS)?;
    let outputs = stored(database, Service::Judge, &verdicts, &["output", "opponent"]).await?;
    let metrics = stored(database, Service::Evaluation, &verdicts, &["metric"]).await?;
    let results: Vec<EvaluationResult> = verdicts
        .into_iter()
        .map(|verdict| result(verdict, &outputs, &metrics))
        .collect::<anyhow::Result<_>>()?;
    database.insert_evaluation_results(&results).await?;
    let labels: Vec<StoredLabel> = lines(LABELS)?.iter().map(label).collect::<anyhow::Result<_>>()?;
    database.store_labels(&labels).await?;
    Ok(Judged { verdicts: results.len(), labels: labels.len() })
}

fn lines(text: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    text.lines().map(|line| serde_json::from_str(line).context("the sample is damaged")).collect()
}

/// The records of `service` that the fields of `lines` name, by id.
async fn stored(
    database: &Database,
    service: Service,
    lines: &[Map<String, Value>],
    fields: &[&str],
) -> anyhow::Result<HashMap<String, Record>> {
    let named = lines.iter().flat_map(|line| fields.iter().filter_map(|field| line.get(*field)?.as_str()));
    let mut ids: Vec<String> = named.map(str::to_owned).collect();
    ids.sort_unstable();
    ids.dedup();
    let storage = PostgresStorage::open(database.clone(), service).await?;
    let records = storage.get(&ids).await?;
    Ok(records.into_iter().map(|record| (record.id.clone(), record)).collect())
}

fn result(
    mut verdict: Map<String, Value>,
    outputs: &HashMap<String, Record>,
    metrics: &HashMap<String, Record>,
) -> anyhow::Result<EvaluationResult> {
    let output = named(&verdict, "output", outputs)?;
    let metric = named(&verdict, "metric", metrics)?;
    let (id, judge) = (text(&verdict, "id")?, text(&verdict, "judge")?);
    let (at, score) = (time(&verdict, "at")?, verdict.get("score").and_then(Value::as_f64));
    let of_output = |key: &str| output.metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut metadata: Map<String, Value> =
        [("judge_provider", PROVIDER.into()), ("repeat", 0.into()), ("output_id", output.id.clone().into())]
            .into_iter()
            .map(|(key, value): (&str, Value)| (key.to_owned(), value))
            .collect();
    if let Some(opponent) = verdict.get("opponent") {
        let opponent =
            opponent.as_str().and_then(|id| outputs.get(id)).context("the sample is incomplete")?;
        metadata.insert("mode".to_owned(), "pairwise".into());
        metadata.insert("opponent_output_id".to_owned(), opponent.id.clone().into());
        metadata
            .extend(opponent.metadata.get("model_id").map(|model| ("opponent".to_owned(), model.clone())));
    } else if score.is_some() {
        metadata.insert("out_of_range".to_owned(), false.into());
    }
    let kept = [("status", "status"), ("swapped", "swapped"), ("winner", "winner"), ("said", "raw_text")];
    metadata
        .extend(kept.into_iter().filter_map(|(given, key)| Some((key.to_owned(), verdict.remove(given)?))));
    Ok(EvaluationResult {
        id,
        query_id: of_output("query_id"),
        query_text: of_output("query"),
        output_text: Some(output.text.clone()),
        model_id: of_output("model_id"),
        theme: of_output("theme"),
        evaluation_prompt_id: Some(metric.id.clone()),
        evaluation_prompt: Some(metric.text.clone()),
        score,
        judge_model: Some(judge),
        timestamp: Some(at),
        result_metadata: Some(Value::Object(metadata)),
    })
}

fn label(label: &Map<String, Value>) -> anyhow::Result<StoredLabel> {
    let verdict = match label.get("model_id") {
        Some(_) => LabelVerdict::Score {
            model: text(label, "model_id")?,
            score: label.get("score").and_then(Value::as_f64),
        },
        None => LabelVerdict::Preference {
            first: text(label, "model_a")?,
            second: text(label, "model_b")?,
            winner: match text(label, "winner")?.as_str() {
                "a" => Some(LabelWinner::A),
                "b" => Some(LabelWinner::B),
                "tie" => Some(LabelWinner::Tie),
                other => return Err(anyhow!("the sample is damaged: winner `{other}`")),
            },
        },
    };
    Ok(StoredLabel {
        id: Uuid::try_parse(&text(label, "id")?).context("the sample is damaged")?,
        annotator: text(label, "annotator")?,
        query: LabelledQuery::Id(text(label, "query_id")?),
        metric: Some(text(label, "evaluation_prompt_id")?),
        verdict,
        labelled_at: time(label, "labelled_at")?,
    })
}

fn text(line: &Map<String, Value>, field: &str) -> anyhow::Result<String> {
    let found = line.get(field).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("the sample is damaged: a line has no `{field}`"))
}

fn time(line: &Map<String, Value>, field: &str) -> anyhow::Result<StoredTime> {
    let found = timestamp::parse(&text(line, field)?);
    found.map(StoredTime::from).with_context(|| format!("the sample is damaged: `{field}` is no time"))
}

fn named<'r>(
    line: &Map<String, Value>,
    field: &str,
    records: &'r HashMap<String, Record>,
) -> anyhow::Result<&'r Record> {
    let id = text(line, field)?;
    records.get(&id).with_context(|| format!("the sample is incomplete: no `{field}` `{id}`"))
}
