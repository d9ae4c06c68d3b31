//! Operations on the records of a resource.

use std::{collections::HashSet, marker::PhantomData, sync::Arc};

use ::records::{Embedding, MODEL_DIMENSION, timestamp};
use futures_util::{StreamExt as _, stream::BoxStream};
use serde_json::json;
use store::storage::{
    Atomicity, CategoryCount, Cursor, Effort, Hit, Insertion, MAX_ANSWER_BYTES, NewRecord, Record, Search,
    SearchMode, Selection, Start, Storage, StorageError, StorageKind,
};

use crate::{
    answer::{ApiError, Details, Pagination},
    embedding::EmbeddingModel,
    process::Process,
    request::IdempotencyKey,
    wire::{
        BatchItem, Conditions, DraftChange, DraftRecord, Fetched, Fields, ItemStatus, KeysetPage,
        KeysetParameters, Mode, OnError, PageParameters, Resource, SearchRequest, StoredBatch,
    },
};

/// Metadata key that a response has on request.
const EMBEDDING_INFO: &str = "panopticon:embedding";

/// How many searches of a batch run at once.
const SEARCHES_AT_ONCE: usize = 4;

/// The storage of the resource `R`.
pub(crate) struct Records<R> {
    storage: Arc<dyn Storage>,
    model: EmbeddingModel,
    process: Arc<Process>,
    resource: PhantomData<fn() -> R>,
}

impl<R> Clone for Records<R> {
    fn clone(&self) -> Self {
        let Self { storage, model, process, resource } = self;
        let (storage, process) = (Arc::clone(storage), Arc::clone(process));
        Self { storage, model: model.clone(), process, resource: *resource }
    }
}

/// A record that is stored.
pub(crate) struct StoredRecord {
    pub(crate) record: Record,
    /// Whether an earlier request stored it.
    pub(crate) is_replayed: bool,
}

impl<R: Resource> Records<R> {
    pub(crate) fn new(storage: Arc<dyn Storage>, model: EmbeddingModel, process: Arc<Process>) -> Self {
        debug_assert_eq!(storage.service(), R::SERVICE);
        Self { storage, model, process, resource: PhantomData }
    }

    /// What its storage is.
    pub(crate) fn kind(&self) -> StorageKind {
        self.storage.kind()
    }

    /// The process that serves the storage.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Stores one record.
    pub(crate) async fn store(
        &self,
        draft: DraftRecord,
        key: &IdempotencyKey,
    ) -> Result<StoredRecord, ApiError> {
        let embedding = self.embed(draft.text.clone()).await?;
        let record = self.record(draft, key, 0, embedding);
        record.check(R::SERVICE).map_err(|error| self.named(error))?;
        let insertions = self.insert(std::slice::from_ref(&record), Atomicity::AllOrNothing).await?;
        match insertions.into_iter().next().expect("one record has one insertion") {
            Insertion::Stored(record) => Ok(StoredRecord { record, is_replayed: false }),
            Insertion::Unchanged(record) => Ok(StoredRecord { record, is_replayed: true }),
            Insertion::Conflict | Insertion::Withheld => {
                Err(ApiError::Conflict { field: "id".to_owned(), reason: conflict::<R>(&record.id) })
            }
        }
    }

    /// Stores many records with one call of the model and one of the store.
    pub(crate) async fn store_batch(
        &self,
        drafts: Vec<DraftRecord>,
        on_error: OnError,
        key: &IdempotencyKey,
    ) -> Result<StoredBatch<Record>, ApiError> {
        let texts = drafts.iter().map(|draft| draft.text.clone()).collect();
        let embeddings = self.model.embed(texts, &self.process).await?;
        let records: Vec<NewRecord> = drafts
            .into_iter()
            .zip(embeddings)
            .enumerate()
            .map(|(index, (draft, embedding))| self.record(draft, key, index, embedding))
            .collect();
        match on_error {
            OnError::Abort => self.store_all(records).await,
            OnError::Continue => self.store_each(records).await,
        }
    }

    async fn store_all(&self, records: Vec<NewRecord>) -> Result<StoredBatch<Record>, ApiError> {
        for (index, record) in records.iter().enumerate() {
            record.check(R::SERVICE).map_err(|error| match error {
                StorageError::Refused { field, reason } => {
                    ApiError::invalid(format!("items[{index}].{}", self.wire_field(&field)), reason)
                }
                error => error.into(),
            })?;
        }
        let insertions = self.insert(&records, Atomicity::AllOrNothing).await?;
        let is_conflict = |insertion: &Insertion| *insertion == Insertion::Conflict;
        if let Some(index) = insertions.iter().position(is_conflict) {
            let reason = conflict::<R>(&records[index].id);
            let conflicts = insertions.iter().filter(|insertion| is_conflict(insertion)).count();
            return Err(ApiError::Conflict {
                field: format!("items[{index}].id"),
                reason: format!(
                    "{reason}; {conflicts} of {} records conflict, none was stored",
                    records.len()
                ),
            });
        }
        Ok(stored_batch::<R>(
            records.into_iter().zip(insertions).map(|(record, insertion)| (record.id, Ok(insertion))),
        ))
    }

    async fn store_each(&self, records: Vec<NewRecord>) -> Result<StoredBatch<Record>, ApiError> {
        let checks: Vec<Result<(), Details>> = records
            .iter()
            .map(|record| match record.check(R::SERVICE) {
                Ok(()) => Ok(Ok(())),
                Err(StorageError::Refused { field, reason }) => {
                    Ok(Err(Details::new(&self.wire_field(&field), &reason)))
                }
                Err(error) => Err(ApiError::from(error)),
            })
            .collect::<Result<_, _>>()?;
        let ids: Vec<String> = records.iter().map(|record| record.id.clone()).collect();
        let accepted: Vec<NewRecord> = records
            .into_iter()
            .zip(&checks)
            .filter_map(|(record, check)| check.is_ok().then_some(record))
            .collect();
        let mut insertions = self.insert(&accepted, Atomicity::Each).await?.into_iter();
        let results = checks
            .into_iter()
            .map(|check| check.map(|()| insertions.next().expect("each accepted record has an insertion")));
        Ok(stored_batch::<R>(ids.into_iter().zip(results)))
    }

    /// The records with these ids, and the ids that do not exist.
    pub(crate) async fn fetch(&self, ids: Vec<String>) -> Result<Fetched<Record>, ApiError> {
        let items = self.timed("get", self.storage.get(&ids)).await;
        let items = items.map_err(|error| too_large(error, "ids", "give fewer ids"))?;
        let found: HashSet<&str> = items.iter().map(|record| record.id.as_str()).collect();
        let missing = ids.iter().filter(|id| !found.contains(id.as_str())).cloned().collect();
        Ok(Fetched { missing, items })
    }

    /// The record `id`.
    pub(crate) async fn get(&self, id: String) -> Result<Record, ApiError> {
        let found = self.timed("get", self.storage.get(std::slice::from_ref(&id))).await?;
        found.into_iter().next().ok_or(ApiError::NoRecord { noun: R::NOUN, id })
    }

    /// Changes the record `id`.
    pub(crate) async fn update(&self, id: String, change: DraftChange) -> Result<Record, ApiError> {
        let embedding = match &change.text {
            Some(text) => Some(self.embed(text.clone()).await?),
            None => None,
        };
        let change = change.into_change(embedding);
        let updated = self.timed("update", self.storage.update(&id, &change)).await?;
        updated.ok_or(ApiError::NoRecord { noun: R::NOUN, id })
    }

    /// Deletes the record `id`.
    pub(crate) async fn delete(&self, id: String) -> Result<String, ApiError> {
        let deleted = self.timed("delete", self.storage.delete(std::slice::from_ref(&id))).await?;
        deleted.into_iter().next().ok_or(ApiError::NoRecord { noun: R::NOUN, id })
    }

    /// A page of a category's records.
    pub(crate) async fn page(
        &self,
        category: String,
        page: PageParameters,
    ) -> Result<(Vec<Record>, Pagination), ApiError> {
        let selection = Selection { category: Some(category), ..Selection::default() };
        let total = self.timed("count", self.storage.count(&selection)).await?;
        let start = Start::Offset(page.offset());
        let limit = page.limit.get();
        let records = self.timed("list", self.storage.list(&selection, start, limit)).await;
        let remedy = || {
            format!(
                "up to {limit} of them are listed on a page: give a smaller `limit`, or list them by `GET \
                    /api/v1/{path}`, which makes such pages shorter, or by `GET /api/v1/{path}/export`",
                path = R::PATH
            )
        };
        let records = records.map_err(|error| too_large(error, "limit", &remedy()))?;
        Ok((records, page.among(total)))
    }

    /// The records that satisfy `conditions`, after a cursor.
    pub(crate) async fn list(
        &self,
        conditions: Conditions,
        keyset: KeysetParameters,
    ) -> Result<KeysetPage<Record>, ApiError> {
        let selection = conditions.into_selection()?;
        let start = match keyset.cursor.as_deref().map(str::parse::<Cursor>) {
            None => Start::Offset(0),
            Some(Ok(cursor)) => Start::After(cursor),
            Some(Err(error)) => return Err(ApiError::invalid("cursor", error.to_string())),
        };
        let limit = keyset.limit.get();
        // One more record shows whether there is another page. A page of large records is shorter, but has at least
        // one.
        let mut asked = limit + 1;
        let mut items = loop {
            let listed = self.timed("list", self.storage.list(&selection, start, asked)).await;
            match listed {
                Err(ApiError::Storage(StorageError::TooLarge)) if asked > 1 => asked = asked.div_ceil(2),
                listed => break listed?,
            }
        };
        let (limit, asked) = (limit as usize, asked as usize);
        let has_more = items.len() > limit || (asked <= limit && items.len() == asked);
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| has_more).map(|last| Cursor::after(last).to_string());
        Ok(KeysetPage { items, next_cursor })
    }

    /// How many records satisfy `conditions`.
    pub(crate) async fn count(&self, conditions: Conditions) -> Result<u64, ApiError> {
        let selection = conditions.into_selection()?;
        self.timed("count", self.storage.count(&selection)).await
    }

    /// Every category, with its count.
    pub(crate) async fn categories(&self) -> Result<Vec<CategoryCount>, ApiError> {
        let categories = self.timed("categories", self.storage.categories()).await;
        let remedy = "this route lists all categories: count each by `count`, or export the records";
        categories.map_err(|error| too_large(error, R::CATEGORIES, remedy))
    }

    /// All records that satisfy `conditions`, in pages. A failure of the first statement is still answered with its own status.
    pub(crate) async fn export(
        &self,
        conditions: Conditions,
    ) -> Result<BoxStream<'static, Result<Vec<Record>, StorageError>>, ApiError> {
        let selection = conditions.into_selection()?;
        let storage = Arc::clone(&self.storage);
        let mut pages = async_stream::stream! {
            let mut pages = storage.export(selection);
            while let Some(page) = pages.next().await {
                yield page;
            }
        }
        .boxed();
        let first = self.timed("export", async { pages.next().await.transpose() }).await?;
        Ok(futures_util::stream::iter(first.map(Ok)).chain(pages).boxed())
    }

    /// The best matches, and their fields in the response.
    pub(crate) async fn search(&self, request: SearchRequest) -> Result<(Vec<Hit>, Fields), ApiError> {
        let mut prepared = Prepared::new::<R>(request)?;
        if let Some(text) = prepared.unembedded() {
            let embedding = self.embed(text.to_owned()).await?;
            prepared.embedded(embedding);
        }
        let (search, fields) = prepared.into_search();
        Ok((self.found(&search).await?, fields))
    }

    async fn found(&self, search: &Search) -> Result<Vec<Hit>, ApiError> {
        let found = self.timed("search", self.storage.search(search)).await;
        let remedy = || format!("up to {} of them are returned: give a smaller `limit`", search.limit);
        found.map_err(|error| too_large(error, "limit", &remedy()))
    }

    /// The best matches of each of `requests`. Texts are embedded together; few searches run at a time, so that a batch
    /// leaves connections to other requests.
    pub(crate) async fn search_batch(
        &self,
        requests: Vec<SearchRequest>,
    ) -> Result<Vec<(Vec<Hit>, Fields)>, ApiError> {
        let of = |place: usize| move |error: ApiError| error.within(&format!("searches[{place}]"));
        let mut prepared = Vec::with_capacity(requests.len());
        for (place, request) in requests.into_iter().enumerate() {
            prepared.push(Prepared::new::<R>(request).map_err(of(place))?);
        }
        let texts: Vec<String> =
            prepared.iter().filter_map(|one| one.unembedded().map(str::to_owned)).collect();
        if !texts.is_empty() {
            let mut embeddings = self.model.embed(texts, &self.process).await?.into_iter();
            for one in prepared.iter_mut().filter(|one| one.unembedded().is_some()) {
                one.embedded(embeddings.next().expect("each text has an embedding"));
            }
        }
        let searches = prepared.into_iter().map(Prepared::into_search).enumerate();
        let mut found = futures_util::stream::iter(searches)
            .map(|(place, (search, fields))| async move {
                let hits = self.found(&search).await.map_err(of(place))?;
                Ok::<_, ApiError>((hits, fields))
            })
            .buffered(SEARCHES_AT_ONCE);
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(one) = found.next().await {
            let (hits, fields) = one?;
            bytes += hits.iter().map(|hit| hit.record.bytes()).sum::<usize>();
            // Each search is limited by itself; a hundred of the largest together are not.
            if bytes > MAX_ANSWER_BYTES {
                let remedy =
                    "the results of all searches are returned together: send fewer, or give smaller limits";
                return Err(too_large(StorageError::TooLarge.into(), "searches", remedy));
            }
            all.push((hits, fields));
        }
        Ok(all)
    }

    /// Adds to the record's metadata how its text was embedded.
    pub(crate) async fn add_embedding_info(&self, record: &mut Record) -> Result<(), ApiError> {
        let tokens = self.model.tokenize(record.text.clone()).await?;
        let info = json!({ "tokens": tokens.ids.len(), "truncated": tokens.truncated });
        record.metadata.insert(EMBEDDING_INFO.to_owned(), info);
        Ok(())
    }

    fn record(
        &self,
        draft: DraftRecord,
        key: &IdempotencyKey,
        index: usize,
        embedding: Embedding,
    ) -> NewRecord {
        let id = draft.id.clone().map_or_else(|| key.id(R::SERVICE, index), |id| id.0);
        draft.into_record(id, embedding, timestamp::now())
    }

    /// The error, with the field's name on the wire.
    fn named(&self, error: StorageError) -> ApiError {
        match error {
            StorageError::Refused { field, reason } => ApiError::invalid(self.wire_field(&field), reason),
            error => error.into(),
        }
    }

    /// The store names fields after its columns.
    fn wire_field(&self, field: &str) -> String {
        if field == R::SERVICE.text_column() { R::TEXT.to_owned() } else { field.to_owned() }
    }

    /// The embedding of one text.
    async fn embed(&self, text: String) -> Result<Embedding, ApiError> {
        let mut embeddings = self.model.embed(vec![text], &self.process).await?;
        Ok(embeddings.pop().expect("one text has one embedding"))
    }

    async fn insert(&self, records: &[NewRecord], atomicity: Atomicity) -> Result<Vec<Insertion>, ApiError> {
        self.timed("insert", self.storage.insert(records, atomicity)).await
    }

    async fn timed<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, ApiError> {
        let result = self.process.measured(R::SERVICE, operation, work).await;
        result.map_err(|error| self.named(error))
    }
}

/// Names the part of the request that makes the response too large, and the remedy.
fn too_large(error: ApiError, field: &str, remedy: &str) -> ApiError {
    match error {
        ApiError::Storage(StorageError::TooLarge) => ApiError::invalid(
            field,
            format!("the response would have more than {MAX_ANSWER_BYTES} bytes; {remedy}"),
        ),
        error => error,
    }
}

fn conflict<R: Resource>(id: &str) -> String {
    format!("another {} has the id `{id}`, with other content", R::NOUN)
}

fn stored_batch<R: Resource>(
    results: impl Iterator<Item = (String, Result<Insertion, Details>)>,
) -> StoredBatch<Record> {
    let items: Vec<BatchItem<Record>> = results
        .map(|(id, result)| {
            let (status, record, error) = match result {
                Ok(Insertion::Stored(record)) => (ItemStatus::Stored, Some(record), None),
                Ok(Insertion::Unchanged(record)) => (ItemStatus::Unchanged, Some(record), None),
                Ok(Insertion::Conflict | Insertion::Withheld) => {
                    let details = Details::new("id", &conflict::<R>(&id));
                    (ItemStatus::Conflict, None, Some(details))
                }
                Err(details) => (ItemStatus::Refused, None, Some(details)),
            };
            BatchItem { status, id, record, error }
        })
        .collect();
    let stored = items.iter().filter(|item| item.record.is_some()).count();
    StoredBatch { items, stored }
}

/// A valid search whose text may still have to be embedded.
struct Prepared {
    search: Search,
    fields: Fields,
    /// Whether `search` has no vector yet.
    lacks_vector: Option<String>,
}

impl Prepared {
    fn new<R: Resource>(request: SearchRequest) -> Result<Self, ApiError> {
        let SearchRequest { text, embedding, limit, conditions, min_similarity, mode, exact, fields } =
            request;
        let fields = Fields::named(R::TEXT, fields.as_deref())?;
        let selection = conditions.into_selection()?;
        let embedding = embedding.map(query_vector).transpose()?;
        if exact && mode == Mode::Text {
            let reason = "a search with mode `text` compares no vectors: leave this field out, or use mode `vector` \
                    or `hybrid`";
            return Err(ApiError::invalid("exact", reason));
        }
        let text = || text.ok_or_else(|| ApiError::invalid(R::TEXT, "expected a value, found none"));
        let none = || Embedding::from(Vec::new());
        let (mode, lacks_vector) = match (mode, embedding) {
            (Mode::Vector, Some(embedding)) => (SearchMode::Vector(embedding), None),
            (Mode::Vector, None) => (SearchMode::Vector(none()), Some(text()?)),
            (Mode::Text, None) => (SearchMode::Text(text()?), None),
            (Mode::Text, Some(_)) => {
                let reason = "a search with mode `text` takes no vector: leave this field out, or use mode `vector` \
                        or `hybrid`";
                return Err(ApiError::invalid("embedding", reason));
            }
            (Mode::Hybrid, Some(embedding)) => (SearchMode::Hybrid { embedding, text: text()? }, None),
            (Mode::Hybrid, None) => {
                let text = text()?;
                (SearchMode::Hybrid { embedding: none(), text: text.clone() }, Some(text))
            }
        };
        let effort = if exact { Effort::Exact } else { Effort::Fast };
        let search = Search { selection, mode, limit, min_similarity, effort };
        Ok(Self { search, fields, lacks_vector })
    }

    /// The text that must be embedded.
    fn unembedded(&self) -> Option<&str> {
        self.lacks_vector.as_deref()
    }

    /// Sets the vector of that text.
    fn embedded(&mut self, vector: Embedding) {
        self.lacks_vector = None;
        if let SearchMode::Vector(embedding) | SearchMode::Hybrid { embedding, .. } = &mut self.search.mode {
            *embedding = vector;
        }
    }

    fn into_search(self) -> (Search, Fields) {
        debug_assert!(self.lacks_vector.is_none());
        (self.search, self.fields)
    }
}

/// The query vector. JSON parsing has rejected numbers beyond single precision.
fn query_vector(components: Vec<f32>) -> Result<Embedding, ApiError> {
    let refused = |reason: String| Err(ApiError::invalid("embedding", reason));
    let embedding = Embedding::from(components);
    if embedding.dimension() != MODEL_DIMENSION {
        return refused(format!("expected {MODEL_DIMENSION} numbers, found {}", embedding.dimension()));
    }
    if embedding.as_slice().iter().all(|component| *component == 0.0) {
        return refused("is all zeros, from which no cosine distance is defined".to_owned());
    }
    Ok(embedding)
}
