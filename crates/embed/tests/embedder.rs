//! The queue of the model: answers, overload, cancelled requests.

use std::num::NonZeroUsize;
use std::sync::Arc;

use embed::{EmbedError, Embedder, EmbedderConfig, Kernel, Model};
use test_support::count;
use tokio::task::JoinSet;

use crate::support;

fn start(queue_texts: usize) -> (Arc<Model>, Embedder) {
    let model = Arc::new(support::load(Kernel::detect(), 2));
    let config = EmbedderConfig { queue_texts: NonZeroUsize::new(queue_texts).unwrap() };
    let embedder = Embedder::start(Arc::clone(&model), config).unwrap();
    (model, embedder)
}

#[tokio::test]
async fn concurrent_callers_each_get_their_own_embeddings() {
    let (model, embedder) = start(1000);
    let embedder = Arc::new(embedder);
    let mut callers = JoinSet::new();
    for request in support::reference_texts().chunks(3).step_by(count(8, 1)) {
        let (texts, embedder) = (request.to_vec(), Arc::clone(&embedder));
        callers.spawn(async move { (texts.clone(), embedder.embed(texts).await.unwrap()) });
    }
    while let Some(answer) = callers.join_next().await {
        let (texts, embeddings) = answer.unwrap();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert!(embeddings == model.embed(&texts).unwrap());
    }
}

#[tokio::test]
async fn a_full_queue_rejects_requests_and_recovers() {
    let (_, embedder) = start(4);
    let embedder = Arc::new(embedder);
    let long = "one long text of many words ".repeat(60);
    let mut callers = JoinSet::new();
    for _ in 0..60 {
        let (texts, embedder) = (vec![long.clone()], Arc::clone(&embedder));
        callers.spawn(async move { embedder.embed(texts).await });
    }
    let answers = callers.join_all().await;
    let overloaded = |answer: &&_| matches!(answer, Err(EmbedError::Overloaded { limit: 4 }));
    let rejected = answers.iter().filter(overloaded).count();
    let embedded = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(rejected > 0 && embedded >= 4 && rejected + embedded == 60, "{rejected} {embedded}");
    assert_eq!(embedder.embed(vec![long]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_larger_than_the_queue_is_always_rejected() {
    let (_, embedder) = start(4);
    let error = embedder.embed(vec![String::new(); 5]).await.unwrap_err();
    assert!(matches!(error, EmbedError::TooManyTexts { texts: 5, limit: 4 }), "{error:?}");
    assert!(embedder.embed(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn cancelled_requests_free_their_place_in_the_queue() {
    let (_, embedder) = start(8);
    for _ in 0..100 {
        let request = embedder.embed(vec!["text".to_owned(); 2]);
        // Polled once, so that it is queued or rejected, then dropped.
        tokio::select! {
            biased;
            _ = request => {}
            () = std::future::ready(()) => {}
        }
    }
    let answer = tokio::time::timeout(std::time::Duration::from_secs(30), async {
        loop {
            match embedder.embed(vec!["text".to_owned(); 8]).await {
                Err(EmbedError::Overloaded { .. }) => tokio::task::yield_now().await,
                answer => break answer,
            }
        }
    });
    assert_eq!(answer.await.expect("the queue empties").unwrap().len(), 8);
}
