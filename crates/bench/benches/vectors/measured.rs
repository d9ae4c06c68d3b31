//! Latency and recall of searches by several clients, each of which searches sequentially.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, ensure};
use bench::load::{Until, drive};
use serde_json::{Value, json};

use super::{embeddings::Corpus, truth::Truth};

/// A fast contestant gets every question several times.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// Searches with `clients` for the questions of `truth`, each at least twice or for one second; `search` gets the
/// index of a question and returns the numbers of the records found. The first round is a warm-up.
pub(super) async fn measure<R>(
    corpus: &Arc<Corpus>,
    truth: &Arc<Truth>,
    clients: usize,
    search: impl Fn(usize) -> R + Clone + Send + 'static,
) -> Result<Value>
where
    R: Future<Output = Result<Vec<usize>, String>> + Send,
{
    let questions = truth.questions().len();
    let recalls = Arc::new(Mutex::new(vec![f64::NAN; questions]));
    let (corpus, truth) = (Arc::clone(corpus), Arc::clone(truth));
    let warming = {
        let (recalls, search) = (Arc::clone(&recalls), search.clone());
        drive(clients, Until::Requests(questions as u64), move |number| {
            let place = usize::try_from(number).expect("few questions");
            let (corpus, truth, recalls, search) =
                (Arc::clone(&corpus), Arc::clone(&truth), Arc::clone(&recalls), search.clone());
            async move {
                let found = search(place).await?;
                recalls.lock().expect("nobody panics")[place] = truth.recall(&corpus, place, &found);
                Ok(())
            }
        })
        .await
    };
    ensure!(warming.failures.is_empty(), "a search failed: {:?}", warming.failures.first());
    let rounds = (LEAST_TIME.as_secs_f64() / warming.elapsed.as_secs_f64()).ceil().max(1.0) as u64;
    let load = drive(clients, Until::Requests(rounds * questions as u64), move |number| {
        let (place, search) = (usize::try_from(number).expect("few questions") % questions, search.clone());
        async move { search(place).await.map(drop) }
    })
    .await;
    ensure!(load.failures.is_empty(), "a search failed: {:?}", load.failures.first());
    let recalls = recalls.lock().expect("nobody panics");
    let mean = load.latencies.iter().map(Duration::as_secs_f64).sum::<f64>() / load.latencies.len() as f64;
    Ok(json!({
        "clients": clients,
        "recall": recalls.iter().sum::<f64>() / recalls.len() as f64,
        "least_recall": recalls.iter().copied().fold(f64::INFINITY, f64::min),
        "mean_ms": mean * 1e3,
        "p50_ms": load.percentile_ms(0.5),
        "p95_ms": load.percentile_ms(0.95),
        "p99_ms": load.percentile_ms(0.99),
        "per_second": load.per_second(),
        "searches": load.latencies.len(),
    }))
}
