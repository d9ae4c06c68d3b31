//! The contract's routes, in both forms.

use axum::extract::State;

use crate::{
    answer::{Answer, ApiError, Form},
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
    Ok(Answer::new(record.into(), "found"))
}

/// Lists the records of a category, newest first.
pub(crate) async fn list_category<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    Segment(category): Segment,
    page: Parameters<PageParameters, R::Unknown>,
) -> Result<Answer<F, F::Page<R::Stored>>> {
    let (items, pagination) = records.page(category, page.value).await?;
    let items = items.into_iter().map(R::Stored::from).collect();
    Ok(Answer::new(F::page(items, pagination), "listed").ignoring(&page.ignored))
}

/// Finds the records that match best.
pub(crate) async fn search<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    body: Body<R::Search, R::Unknown>,
) -> Result<Answer<F, Vec<R::Found>>> {
    let hits = records.search(body.value.into()).await?;
    Ok(Answer::new(hits.into_iter().map(R::Found::from).collect(), "searched").ignoring(&body.ignored))
}

/// Finds the records that match best; the query string may say what is searched for.
pub(crate) async fn search_by_parameters<R: Resource, F: Form>(
    State(records): State<Records<R>>,
    BodyOrParameters(body): BodyOrParameters<R::Search, R::Unknown>,
) -> Result<Answer<F, Vec<R::Found>>> {
    let hits = records.search(body.value.into()).await?;
    Ok(Answer::new(hits.into_iter().map(R::Found::from).collect(), "searched").ignoring(&body.ignored))
}
