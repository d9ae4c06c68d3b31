//! The contract's routes, in both forms.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use store::storage::Record;

use crate::{
    answer::{Answer, ApiError, Form},
    large_workers::LARGE_BYTES,
    process::Process,
    records::{Records, StoredRecord},
    request::{Body, BodyOrParameters, IdempotencyKey, Parameters, Segment},
    wire::{EmbeddingInfo, PageParameters, Resource},
};

type Result<T> = std::result::Result<T, ApiError>;

/// Stores a record.
pub(crate) async fn store<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    parameters: Parameters<EmbeddingInfo, R::Unknown>,
    key: IdempotencyKey,
    body: Body<R::New, R::Unknown>,
) -> Result<Answer<F, R::Stored>> {
    let StoredRecord { mut record, is_replayed } = records.store(body.value.into(), &key).await?;
    if parameters.value.embedding_info {
        records.add_embedding_info(&mut record).await?;
    }
    let answer = Answer::new(record.into(), "stored").ignoring(&parameters.ignored).ignoring(&body.ignored);
    Ok(if is_replayed { answer.replayed() } else { answer })
}

/// Shows a record.
pub(crate) async fn get<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    Segment(id): Segment,
) -> Result<Answer<F, R::Stored>> {
    let record = records.get(id).await?;
    answered(records.process(), record.bytes(), "found", || record.into()).await
}

/// Lists the records of a category, newest first.
pub(crate) async fn list_category<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    Segment(category): Segment,
    page: Parameters<PageParameters, R::Unknown>,
) -> Result<Answer<F, F::Page<R::Stored>>> {
    let (items, pagination) = records.page(category, page.value).await?;
    let listed = answered(records.process(), bytes_of(&items), "listed", move || {
        F::page(items.into_iter().map(R::Stored::from).collect(), pagination)
    });
    Ok(listed.await?.ignoring(&page.ignored))
}

/// Finds the records that match best.
pub(crate) async fn search<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    body: Body<R::Search, R::Unknown>,
) -> Result<Answer<F, Vec<R::Found>>> {
    searched(&records, body).await
}

/// Finds the records that match best; the search may be given in the query string.
pub(crate) async fn search_by_parameters<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    BodyOrParameters(body): BodyOrParameters<R::Search, R::Unknown>,
) -> Result<Answer<F, Vec<R::Found>>> {
    searched(&records, body).await
}

async fn searched<R: Resource, F: Form>(
    records: &Records<R>,
    body: Body<R::Search, R::Unknown>,
) -> Result<Answer<F, Vec<R::Found>>> {
    let (hits, fields) = records.search(body.value.into()).await?;
    let bytes = hits.iter().map(|hit| hit.record.bytes()).sum();
    let found = move || hits.into_iter().map(|hit| R::Found::from((hit, fields))).collect();
    Ok(answered(records.process(), bytes, "searched", found).await?.ignoring(&body.ignored))
}

/// The response of what `make` returns, which has about `bytes`. Large ones reserve memory and are serialized on the
/// threads of [`LargeWorkers`](crate::large_workers::LargeWorkers).
pub(crate) async fn answered<F: Form, T: Serialize + JsonSchema + Send + 'static>(
    process: &Process,
    bytes: usize,
    message: &'static str,
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<Answer<F, T>> {
    if bytes <= LARGE_BYTES {
        return Ok(Answer::new(make(), message));
    }
    // From here on, a layer accounts for the response.
    let _held = process.bodies.reserve_for_work(bytes).await?;
    Ok(process.large_workers.run(async move { Answer::new(make(), message) }).await)
}

/// Approximate bytes of the records.
pub(crate) fn bytes_of(records: &[Record]) -> usize {
    records.iter().map(Record::bytes).sum()
}
