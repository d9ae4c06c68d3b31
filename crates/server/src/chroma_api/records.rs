//! The records of a collection.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use records::Embedding;
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::postgres::{
    collection_records::{
        CollectionRecord, Neighbours, RecordParts, RecordSelection, RecordWrite, WriteMode,
    },
    collections::Collection,
};

use super::{
    Served,
    collections::find,
    conditions::{self, check_indexed, is_empty_conjunction},
    configuration::Configured,
    error::{Answered, Refusal},
    extract::{Body, Path},
    json::{Json, answered},
    metadata::{has_valid_keys, is_hidden, sparse_key},
    payload::{Add, Delete, Get, Include, Query, Update, Upsert},
    service_records,
};

/// Metadata of several records.
type Metadatas = Vec<Option<Map<String, Value>>>;

/// The parts of a write's records, each as long as `ids`.
struct Parts {
    ids: Vec<String>,
    embeddings: Option<Vec<Option<Embedding>>>,
    documents: Option<Vec<Option<String>>>,
    uris: Option<Vec<Option<String>>>,
    metadatas: Option<Metadatas>,
}

impl Parts {
    fn into_records(self) -> Answered<Vec<RecordWrite>> {
        let Self { ids, embeddings, documents, uris, metadatas } = self;
        let count = ids.len();
        let lengths = [
            embeddings.as_ref().map(Vec::len),
            documents.as_ref().map(Vec::len),
            uris.as_ref().map(Vec::len),
            metadatas.as_ref().map(Vec::len),
        ];
        if lengths.into_iter().flatten().any(|length| length != count) {
            return Err(Refusal::invalid(
                "Inconsistent number of IDs, embeddings, documents, URIs and metadatas",
            ));
        }
        if ids.iter().any(String::is_empty) {
            return Err(Refusal::invalid("Empty ID, ID must have at least one character"));
        }
        for embedding in embeddings.iter().flatten().flatten() {
            check_embedding(embedding, "embeddings")?;
        }
        let mut embeddings = embeddings.unwrap_or_default().into_iter();
        let mut documents = documents.unwrap_or_default().into_iter();
        let mut uris = uris.unwrap_or_default().into_iter();
        let mut metadatas = metadatas.unwrap_or_default().into_iter();
        let record = |id| RecordWrite {
            id,
            embedding: embeddings.next().flatten(),
            document: documents.next().flatten(),
            uri: uris.next().flatten(),
            metadata: metadatas.next().flatten(),
        };
        Ok(ids.into_iter().map(record).collect())
    }
}

fn check_embedding(embedding: &Embedding, field: &str) -> Answered<()> {
    let problem = match embedding.dimension() {
        0 => "Each embedding must have at least 1 dimension",
        _ if !embedding.is_finite() => "Embeddings must not contain NaN or Infinity values",
        _ => return Ok(()),
    };
    Err(Refusal::invalid(format!("Validation error: {field}: {problem}")))
}

/// Converts metadata and checks their keys.
fn metadatas<M>(
    given: Option<Vec<Option<M>>>,
    stored: impl Fn(M) -> Option<Map<String, Value>>,
) -> Answered<Option<Metadatas>> {
    let Some(given) = given else { return Ok(None) };
    let convert = |(index, metadata): (usize, Option<M>)| {
        let Some(metadata) = metadata else { return Ok(None) };
        let stored = stored(metadata).ok_or_else(|| {
            Refusal::invalid(format!("Validation error: metadatas: Invalid metadata at index {index}"))
        })?;
        match sparse_key(&stored) {
            Some(key) => Err(Refusal::not_implemented(format!(
                "Unimplemented: Sparse vector is not supported for local chroma: {key}"
            ))),
            None => Ok(Some(stored)),
        }
    };
    given.into_iter().enumerate().map(convert).collect::<Answered<_>>().map(Some)
}

pub(super) async fn add(
    State(served): State<Served>,
    path: Path,
    Body(add): Body<Add>,
) -> Answered<(StatusCode, Json<Value>)> {
    let Add { ids, embeddings, documents, uris, metadatas: given } = add;
    let metadatas = metadatas(given, |one| has_valid_keys(&one.0).then(|| one.stored()))?;
    let embeddings = embeddings.0.map_err(Refusal::invalid)?;
    let embeddings = Some(embeddings.into_iter().map(Some).collect());
    let parts = Parts { ids, embeddings, documents, uris, metadatas };
    write(&served, &path, parts, WriteMode::Add).await?;
    Ok((StatusCode::CREATED, Json(json!({}))))
}

pub(super) async fn upsert(
    State(served): State<Served>,
    path: Path,
    Body(upsert): Body<Upsert>,
) -> Answered<Json<Value>> {
    let Upsert { ids, embeddings, documents, uris, metadatas: given } = upsert;
    let metadatas = metadatas(given, |one| has_valid_keys(&one.0).then(|| one.stored()))?;
    let embeddings = embeddings.0.map_err(Refusal::invalid)?;
    let embeddings = Some(embeddings.into_iter().map(Some).collect());
    let parts = Parts { ids, embeddings, documents, uris, metadatas };
    write(&served, &path, parts, WriteMode::Upsert).await?;
    Ok(Json(json!({})))
}

pub(super) async fn update(
    State(served): State<Served>,
    path: Path,
    Body(update): Body<Update>,
) -> Answered<Json<Value>> {
    let Update { ids, embeddings, documents, uris, metadatas: given } = update;
    let metadatas = metadatas(given, |one| has_valid_keys(&one.0).then(|| one.stored()))?;
    let embeddings = embeddings.map(|embeddings| embeddings.0).transpose().map_err(Refusal::invalid)?;
    let parts = Parts { ids, embeddings, documents, uris, metadatas };
    write(&served, &path, parts, WriteMode::Update).await?;
    Ok(Json(json!({})))
}

/// What `operate` does with the collection of the path, as this process last read it. If the operation finds that the
/// collection has changed, or rejects the request for another reason, it is repeated with the collection as it is now.
async fn with_collection<T, F: Future<Output = Answered<T>>>(
    served: &Served,
    path: &Path,
    operate: impl Fn(Arc<Collection>) -> F,
) -> Answered<T> {
    let (id, collections) = (path.id()?, &served.api.collections);
    if let Some(known) = collections.known(&path.tenant, &path.database, id) {
        match operate(known).await {
            Err(refusal) if refusal.may_be_outdated() => {}
            done => return done,
        }
    }
    operate(Arc::new(find(served, path).await?)).await
}

async fn write(served: &Served, path: &Path, parts: Parts, mode: WriteMode) -> Answered<()> {
    let (records, collections) = (&parts.into_records()?, &served.api.collections);
    let write = |collection: Arc<Collection>| async move {
        if let Some(service) = collection.service() {
            service_records::check(service, records)?;
        }
        Ok(collections.write(&collection, records, mode).await?)
    };
    with_collection(served, path, write).await
}

pub(super) async fn count(State(served): State<Served>, path: Path) -> Answered<Json<u64>> {
    let collections = &served.api.collections;
    let count = |collection: Arc<Collection>| async move { Ok(collections.count(&collection).await?) };
    Ok(Json(with_collection(&served, &path, count).await?))
}

pub(super) async fn get(
    State(served): State<Served>,
    path: Path,
    Body(get): Body<Get>,
) -> Answered<Response> {
    let filter = conditions::read(get.r#where.as_ref(), get.where_document.as_ref())?;
    let (collections, selection) = (&served.api.collections, &RecordSelection { ids: get.ids, filter });
    // Without an offset, from the first one.
    let (page, parts) = ((get.limit, get.offset.unwrap_or_default()), parts(&get.include));
    let read = |collection: Arc<Collection>| async move {
        check_selection(&collection, selection)?;
        Ok(collections.get(&collection, selection, parts, page).await?)
    };
    let records = with_collection(&served, &path, read).await?;
    let (include, bytes) = (get.include, records.iter().map(bytes_of).sum());
    let make = move || {
        let mut answer = GetResponse {
            ids: Vec::with_capacity(records.len()),
            embeddings: column(&include, Include::Embeddings),
            documents: column(&include, Include::Documents),
            uris: column(&include, Include::Uris),
            metadatas: column(&include, Include::Metadatas),
            include,
        };
        for record in records {
            let CollectionRecord { id, embedding, document, uri, metadata } = record;
            answer.ids.push(id);
            push(&mut answer.embeddings, embedding);
            push(&mut answer.documents, document);
            push(&mut answer.uris, uri);
            push(&mut answer.metadatas, shown(metadata));
        }
        Json(answer).into_response()
    };
    Ok(answered(&served.process, bytes, make).await)
}

pub(super) async fn query(
    State(served): State<Served>,
    path: Path,
    Body(query): Body<Query>,
) -> Answered<Response> {
    let filter = conditions::read(query.r#where.as_ref(), query.where_document.as_ref())?;
    let (collections, selection) = (&served.api.collections, &RecordSelection { ids: query.ids, filter });
    let embeddings: Vec<Embedding> =
        query.query_embeddings.into_iter().map(|numbers| numbers.0.into()).collect();
    let wanted = (embeddings.as_slice(), query.n_results.unwrap_or(DEFAULT_RESULTS));
    let parts = parts(&query.include);
    let search = |collection: Arc<Collection>| async move {
        check_selection(&collection, selection)?;
        if wanted.0.iter().any(|embedding| !embedding.is_finite()) {
            return Err(Refusal::invalid(
                "Validation error: query_embeddings: Embeddings must not contain NaN or Infinity values",
            ));
        }
        Ok(collections.query(&collection, selection, wanted, parts).await?)
    };
    let found = with_collection(&served, &path, search).await?;
    // As Chroma does, which clients see as an exception.
    if found.has_unknown_ids && selection.filter.is_none() {
        let message = "Error executing plan: Internal error: Error finding id";
        return Err(Refusal::Chroma(StatusCode::INTERNAL_SERVER_ERROR, message.to_owned()));
    }
    let Neighbours { records, nearest, .. } = found;
    let sizes: Vec<usize> = records.iter().map(bytes_of).collect();
    let bytes = nearest.iter().flatten().map(|(place, _)| sizes[*place]).sum();
    let make = move || query_response(records, &nearest, &query.include);
    Ok(answered(&served.process, bytes, make).await)
}

fn query_response(
    mut records: Vec<CollectionRecord>,
    nearest: &[Vec<(usize, f64)>],
    include: &[Include],
) -> Response {
    for record in &mut records {
        record.metadata = shown(record.metadata.take());
    }
    let mut answer = QueryResponse::empty(include);
    for hits in nearest {
        let of = |hit: &(usize, f64)| &records[hit.0];
        answer.ids.push(hits.iter().map(|hit| of(hit).id.as_str()).collect());
        push(&mut answer.embeddings, hits.iter().map(|hit| of(hit).embedding.as_deref()).collect());
        push(&mut answer.documents, hits.iter().map(|hit| of(hit).document.as_deref()).collect());
        push(&mut answer.uris, hits.iter().map(|hit| of(hit).uri.as_deref()).collect());
        push(&mut answer.metadatas, hits.iter().map(|hit| of(hit).metadata.as_ref()).collect());
        let distance = |hit: &(usize, f64)| Some(hit.1 as f32).filter(|distance| distance.is_finite());
        push(&mut answer.distances, hits.iter().map(distance).collect());
    }
    Json(answer).into_response()
}

/// The size of a record in an answer, roughly.
fn bytes_of(record: &CollectionRecord) -> usize {
    // What surrounds a record; a metadata key with its value; a component.
    const RECORD: usize = 32;
    const KEY: usize = 64;
    const COMPONENT: usize = 12;
    let texts = [Some(&record.id), record.document.as_ref(), record.uri.as_ref()];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let keys = record.metadata.as_ref().map_or(0, Map::len);
    RECORD + texts + KEY * keys + COMPONENT * record.embedding.as_ref().map_or(0, Vec::len)
}

/// Of a query that does not say how many.
const DEFAULT_RESULTS: u32 = 10;

pub(super) async fn delete(
    State(served): State<Served>,
    path: Path,
    Body(delete): Body<Delete>,
) -> Answered<Json<Value>> {
    let filter = conditions::read(delete.r#where.as_ref(), delete.where_document.as_ref())?;
    if delete.limit.is_some() && filter.is_none() {
        return Err(Refusal::invalid(
            "Validation error: limit, where: limit can only be specified when a where clause is provided",
        ));
    }
    // Chroma deletes every record.
    if filter.as_ref().is_some_and(is_empty_conjunction) {
        return Err(Refusal::invalid(
            "Invalid where clause: $and has no condition, and would delete every record",
        ));
    }
    match (&delete.ids, &filter) {
        (Some(ids), None) if ids.is_empty() => {
            return Err(Refusal::invalid(
                "Validation error: ids, where: Either ids or where must be specified",
            ));
        }
        (None, None) => {
            find(&served, &path).await?;
            return Ok(Json(json!({"deleted": 0})));
        }
        _ => {}
    }
    // As it is now: the condition is checked against its configuration.
    let collection = find(&served, &path).await?;
    let selection = RecordSelection { ids: delete.ids, filter };
    check_selection(&collection, &selection)?;
    let deleted = served.api.collections.delete(&collection, &selection, delete.limit).await?;
    Ok(Json(json!({"deleted": deleted})))
}

/// What single-node Chroma does not do either.
pub(super) async fn search() -> Refusal {
    Refusal::not_implemented(
        "Error executing plan: Not implemented: Search operation is not implemented for local executor",
    )
}

fn check_selection(collection: &Collection, selection: &RecordSelection) -> Answered<()> {
    match &selection.filter {
        Some(filter) => check_indexed(filter, &Configured::of(collection).schema),
        None => Ok(()),
    }
}

fn parts(include: &[Include]) -> RecordParts {
    RecordParts {
        document: include.contains(&Include::Documents),
        metadata: include.contains(&Include::Metadatas),
        uri: include.contains(&Include::Uris),
        embedding: include.contains(&Include::Embeddings),
    }
}

/// What is not included is null.
fn column<T>(include: &[Include], part: Include) -> Option<Vec<T>> {
    include.contains(&part).then(Vec::new)
}

fn push<T>(column: &mut Option<Vec<T>>, value: T) {
    if let Some(column) = column {
        column.push(value);
    }
}

/// Metadata without the keys that Chroma hides.
fn shown(metadata: Option<Map<String, Value>>) -> Option<Map<String, Value>> {
    let mut metadata = metadata?;
    metadata.retain(|key, _| !is_hidden(key));
    Some(metadata)
}

#[derive(Debug, Serialize)]
struct GetResponse {
    ids: Vec<String>,
    embeddings: Option<Vec<Option<Vec<f32>>>>,
    documents: Option<Vec<Option<String>>>,
    uris: Option<Vec<Option<String>>>,
    metadatas: Option<Metadatas>,
    include: Vec<Include>,
}

type ShownMetadata<'a> = Option<&'a Map<String, Value>>;

#[derive(Debug, Serialize)]
struct QueryResponse<'a> {
    ids: Vec<Vec<&'a str>>,
    embeddings: Option<Vec<Vec<Option<&'a [f32]>>>>,
    documents: Option<Vec<Vec<Option<&'a str>>>>,
    uris: Option<Vec<Vec<Option<&'a str>>>>,
    metadatas: Option<Vec<Vec<ShownMetadata<'a>>>>,
    distances: Option<Vec<Vec<Option<f32>>>>,
    include: &'a [Include],
}

impl<'a> QueryResponse<'a> {
    fn empty(include: &'a [Include]) -> Self {
        Self {
            ids: Vec::new(),
            embeddings: column(include, Include::Embeddings),
            documents: column(include, Include::Documents),
            uris: column(include, Include::Uris),
            metadatas: column(include, Include::Metadatas),
            distances: column(include, Include::Distances),
            include,
        }
    }
}
