//! A storage that panics, blocks or counts where a test needs it.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use records::Service;
use store::storage::{
    Atomicity, CategoryCount, Change, Hit, Insertion, NewRecord, Record, Search, Selection, Start, Storage,
    StorageError, StorageKind,
};
use tokio::sync::Semaphore;

/// Storing a text that contains this panics.
pub(crate) const POISON: &str = "poison";

#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Storage>,
    /// Number of availability checks.
    checks: Arc<AtomicUsize>,
    /// `count` briefly takes one of its permits.
    gate: Arc<Semaphore>,
    /// The names of the threads that inserted and searched.
    threads: Threads,
}

/// Names of threads, in the order of the calls; shared with the test.
pub(crate) type Threads = Arc<Mutex<Vec<String>>>;

impl Faulty {
    pub(crate) fn around(inner: Arc<dyn Storage>) -> Arc<dyn Storage> {
        Self::counting(inner, &Arc::default())
    }

    pub(crate) fn counting(inner: Arc<dyn Storage>, checks: &Arc<AtomicUsize>) -> Arc<dyn Storage> {
        Arc::new(Self { checks: Arc::clone(checks), ..Self::new(inner) })
    }

    pub(crate) fn gated(inner: Arc<dyn Storage>, gate: &Arc<Semaphore>) -> Arc<dyn Storage> {
        Arc::new(Self { gate: Arc::clone(gate), ..Self::new(inner) })
    }

    pub(crate) fn on_threads(inner: Arc<dyn Storage>, threads: &Threads) -> Arc<dyn Storage> {
        Arc::new(Self { threads: Arc::clone(threads), ..Self::new(inner) })
    }

    fn new(inner: Arc<dyn Storage>) -> Self {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { inner, checks: Arc::default(), gate, threads: Arc::default() }
    }

    fn note_thread(&self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().expect("no holder panics").push(name);
    }
}

#[async_trait]
impl Storage for Faulty {
    fn service(&self) -> Service {
        self.inner.service()
    }

    fn kind(&self) -> StorageKind {
        self.inner.kind()
    }

    async fn check(&self) -> Result<(), StorageError> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        self.inner.check().await
    }

    async fn check_writes(&self) -> Result<(), StorageError> {
        self.inner.check_writes().await
    }

    async fn insert(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        let is_output = self.service() == Service::Judge;
        assert!(
            !(is_output && records.iter().any(|record| record.text.contains(POISON))),
            "a poisonous text"
        );
        self.note_thread();
        self.inner.insert(records, atomicity).await
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<Record>, StorageError> {
        self.inner.get(ids).await
    }

    async fn update(&self, id: &str, change: &Change) -> Result<Option<Record>, StorageError> {
        self.inner.update(id, change).await
    }

    async fn delete(&self, ids: &[String]) -> Result<Vec<String>, StorageError> {
        self.inner.delete(ids).await
    }

    async fn list(
        &self,
        selection: &Selection,
        start: Start,
        limit: u32,
    ) -> Result<Vec<Record>, StorageError> {
        self.inner.list(selection, start, limit).await
    }

    async fn count(&self, selection: &Selection) -> Result<u64, StorageError> {
        let _passed = self.gate.acquire().await.expect("the semaphore is never closed");
        self.inner.count(selection).await
    }

    async fn categories(&self) -> Result<Vec<CategoryCount>, StorageError> {
        self.inner.categories().await
    }

    async fn search(&self, search: &Search) -> Result<Vec<Hit>, StorageError> {
        self.note_thread();
        self.inner.search(search).await
    }

    fn export(&self, selection: Selection) -> BoxStream<'_, Result<Vec<Record>, StorageError>> {
        self.inner.export(selection)
    }
}
