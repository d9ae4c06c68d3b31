//! The routes beyond the contract, under `/api/v1` only. They reject unknown fields.

use std::sync::Arc;

use aide::{NoApi, OperationOutput, generate::GenContext, openapi};
use axum::{
    body::Body as HttpBody,
    extract::{Extension, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream::BoxStream};
use serde::Serialize as _;
use store::storage::{Hit, Record, StorageError};

use super::contract::{answered, bytes_of};
use crate::{
    answer::{Answer, ApiError, Enveloped},
    large_workers::LargeWorkers,
    permit::Permit,
    process::ExportPlace,
    records::Records,
    request::{Body, Both, IdempotencyKey, Object, Parameters, Rejected, Segment},
    wire::{
        Batch, BatchItem, Count, EmbeddingInfo, Fetch, Fetched, Fields, ItemStatus, KeysetPage,
        KeysetParameters, Resource, SearchBatch, StoredBatch,
    },
};

type Result<T> = std::result::Result<T, ApiError>;

/// Stores up to 1,000 records.
pub(crate) async fn store_batch<R: Resource>(
    State(records): State<Records<R>>,
    parameters: Parameters<EmbeddingInfo, Rejected>,
    key: IdempotencyKey,
    body: Body<Batch<R::New>, Rejected>,
) -> Result<Answer<Enveloped, StoredBatch<R::Stored>>> {
    let Batch { items, on_error } = body.value;
    let drafts = items.into_vec().into_iter().map(|item| item.0.into()).collect();
    let mut batch = records.store_batch(drafts, on_error, &key).await?;
    if parameters.value.embedding_info {
        for record in batch.items.iter_mut().filter_map(|item| item.record.as_mut()) {
            records.add_embedding_info(record).await?;
        }
    }
    let is_replayed = batch.items.iter().all(|item| item.status == ItemStatus::Unchanged);
    let answer = Answer::new(shown::<R>(batch), "stored");
    Ok(if is_replayed { answer.replayed() } else { answer })
}

fn shown<R: Resource>(batch: StoredBatch<Record>) -> StoredBatch<R::Stored> {
    let StoredBatch { items, stored } = batch;
    let items = items.into_iter().map(|item| {
        let BatchItem { status, id, record, error } = item;
        BatchItem { status, id, record: record.map(R::Stored::from), error }
    });
    StoredBatch { items: items.collect(), stored }
}

/// Shows the records with these ids.
pub(crate) async fn fetch<R: Resource>(
    State(records): State<Records<R>>,
    body: Body<Fetch, Rejected>,
) -> Result<Answer<Enveloped, Fetched<R::Stored>>> {
    let Fetched { items, missing } = records.fetch(body.value.ids.into_vec()).await?;
    answered(records.process(), bytes_of(&items), "fetched", || {
        let items = items.into_iter().map(R::Stored::from).collect();
        Fetched { items, missing }
    })
    .await
}

/// Carries out up to 100 searches; the results are in the order of the searches.
pub(crate) async fn search_batch<R: Resource>(
    State(records): State<Records<R>>,
    body: Body<SearchBatch<R::Search>, Rejected>,
) -> Result<Answer<Enveloped, Vec<Vec<R::Found>>>> {
    let searches = body.value.searches.into_vec().into_iter().map(|Object(search)| search.into()).collect();
    let found = records.search_batch(searches).await?;
    let bytes = found.iter().flat_map(|(hits, _)| hits).map(|hit| hit.record.bytes()).sum();
    answered(records.process(), bytes, "searched", || {
        let shown = |(hits, fields): (Vec<Hit>, Fields)| {
            hits.into_iter().map(|hit| R::Found::from((hit, fields))).collect()
        };
        found.into_iter().map(shown).collect()
    })
    .await
}

/// Changes a record.
pub(crate) async fn update<R: Resource>(
    State(records): State<Records<R>>,
    Segment(id): Segment,
    parameters: Parameters<EmbeddingInfo, Rejected>,
    body: Body<R::Change, Rejected>,
) -> Result<Answer<Enveloped, R::Stored>> {
    let mut record = records.update(id, body.value.into()).await?;
    if parameters.value.embedding_info {
        records.add_embedding_info(&mut record).await?;
    }
    Ok(Answer::new(record.into(), "changed"))
}

/// Deletes a record.
pub(crate) async fn delete<R: Resource>(
    State(records): State<Records<R>>,
    Segment(id): Segment,
) -> Result<Answer<Enveloped, Deleted>> {
    let id = records.delete(id).await?;
    Ok(Answer::new(Deleted { id }, "deleted"))
}

/// What was deleted.
#[derive(Debug, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Deleted {
    /// The record's id.
    id: String,
}

/// Lists records, newest first, after a cursor.
pub(crate) async fn list<R: Resource>(
    State(records): State<Records<R>>,
    parameters: Parameters<Both<R::Filters, KeysetParameters>, Rejected>,
) -> Result<Answer<Enveloped, KeysetPage<R::Stored>>> {
    let Both(filters, keyset) = parameters.value;
    let KeysetPage { items, next_cursor } = records.list(filters.into(), keyset).await?;
    answered(records.process(), bytes_of(&items), "listed", || {
        let items = items.into_iter().map(R::Stored::from).collect();
        KeysetPage { items, next_cursor }
    })
    .await
}

/// Counts records.
pub(crate) async fn count<R: Resource>(
    State(records): State<Records<R>>,
    filters: Parameters<R::Filters, Rejected>,
) -> Result<Answer<Enveloped, Count>> {
    let count = records.count(filters.value.into()).await?;
    Ok(Answer::new(Count { count }, "counted"))
}

/// Lists the categories, each with its count.
pub(crate) async fn categories<R: Resource>(
    State(records): State<Records<R>>,
) -> Result<Answer<Enveloped, Vec<R::Category>>> {
    let categories = records.categories().await?;
    let bytes = categories.iter().map(|counted| 64 + counted.category.as_ref().map_or(0, String::len)).sum();
    answered(records.process(), bytes, "listed", || categories.into_iter().map(R::Category::from).collect())
        .await
}

/// Exports records as JSON lines, newest first.
pub(crate) async fn export<R: Resource>(
    State(records): State<Records<R>>,
    NoApi(Extension(permit)): NoApi<Extension<Permit>>,
    filters: Parameters<R::Filters, Rejected>,
) -> Result<JsonLines<R>> {
    let place = records.process().begin_export(permit).await?;
    let large_workers = records.process().large_workers.clone();
    let pages = records.export(filters.value.into()).await?;
    Ok(JsonLines { pages, place, large_workers, resource: std::marker::PhantomData })
}

/// Records as JSON lines. If the store fails midway, the response is truncated.
pub(crate) struct JsonLines<R> {
    pages: BoxStream<'static, std::result::Result<Vec<Record>, StorageError>>,
    place: ExportPlace,
    /// Serializes the lines.
    large_workers: Arc<LargeWorkers>,
    resource: std::marker::PhantomData<fn() -> R>,
}

impl<R: Resource> IntoResponse for JsonLines<R> {
    fn into_response(self) -> Response {
        let Self { pages, place, large_workers, resource: _ } = self;
        // A page is read completely, and the next one is not begun before this one is sent: while a client reads, or
        // does not, its export occupies no connection to the store.
        let chunks = pages.then(move |page| {
            let (large_workers, held) = (large_workers.clone(), place.clone());
            async move {
                let _held = held;
                let records = page.map_err(|error| {
                    let error = ApiError::from(error);
                    // Log it here: the status has already been sent.
                    tracing::error!(error = %error.chain(), "an export was cut off");
                    error
                })?;
                Ok::<_, ApiError>(large_workers.run(async { lines::<R>(records) }).await)
            }
        });
        ([(header::CONTENT_TYPE, "application/x-ndjson")], HttpBody::from_stream(chunks)).into_response()
    }
}

fn lines<R: Resource>(records: Vec<Record>) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records {
        let mut line = serde_json::Serializer::new(&mut lines);
        R::Stored::from(record).serialize(&mut line).expect("wire types are JSON");
        lines.push(b'\n');
    }
    // They may wait for a slow client.
    lines.shrink_to_fit();
    lines
}

impl<R: Resource> OperationOutput for JsonLines<R> {
    type Inner = R::Stored;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut openapi::Operation,
    ) -> Vec<(Option<u16>, openapi::Response)> {
        let content = [("application/x-ndjson".to_owned(), openapi::MediaType::default())];
        let response = openapi::Response {
            description: "One record per line, in the format of `GET` by id.".to_owned(),
            content: content.into_iter().collect(),
            ..openapi::Response::default()
        };
        vec![(Some(200), response)]
    }
}
