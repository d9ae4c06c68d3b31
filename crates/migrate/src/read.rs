//! Reads the Chroma side on one thread, and processes its records on another.

use std::{
    ops::ControlFlow,
    panic::resume_unwind,
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use chroma::{Collection, Record, Vector, Warning};
use records::lock::Mutex;
use store::{chroma::Source, postgres::jobs::Origin};

use crate::Error;

/// Records are passed in lots, since waking a thread costs as much as reading several records.
const BATCH_RECORDS: usize = 128;
/// Maximum size of a lot, which bounds memory when records are large.
const BATCH_BYTES: usize = 1 << 20;
/// Maximum lots in the queue.
const WAITING_LOTS: usize = 2;

/// A collection and its source.
pub struct SourceCollection {
    // Shared by the collections of a source: one of them is read at a time.
    source: Arc<Mutex<Source>>,
    source_name: Arc<str>,
    /// Warnings about the source, where they are reported per collection.
    source_warnings: Vec<Warning>,
    collection: Collection,
    /// Number of records, once counted.
    records: Option<u64>,
}

impl SourceCollection {
    /// The collection of `source`.
    pub fn new(source: Source, collection: Collection) -> Self {
        Self {
            source_name: source.to_string().into(),
            source_warnings: source.warnings().to_vec(),
            source: Arc::new(Mutex::new(source)),
            collection,
            records: None,
        }
    }

    /// Each of `collections`, all of one `source`.
    pub(crate) fn each(source: Source, collections: Vec<Collection>) -> impl Iterator<Item = Self> {
        let source_name: Arc<str> = source.to_string().into();
        let source = Arc::new(Mutex::new(source));
        collections.into_iter().map(move |collection| Self {
            source: source.clone(),
            source_name: source_name.clone(),
            source_warnings: Vec::new(),
            collection,
            records: None,
        })
    }

    /// The origin of the records; the source without credentials.
    pub(crate) fn origin(&self) -> Origin {
        Origin {
            collection_id: self.collection.id,
            tenant: self.collection.tenant.clone(),
            database: self.collection.database.clone(),
            collection: self.collection.name.clone(),
            source: self.source_name.as_ref().to_owned(),
        }
    }

    /// Locks the source.
    fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
        // Reading changes only caches, so a panic on another thread leaves it consistent.
        source.lock()
    }

    /// The collection.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// Passes every record to `visitor`, off the async threads, and returns the warnings of the read. Ends early when
    /// the visitor breaks or the future is dropped.
    pub(crate) async fn read<V: Visitor>(self, mut visitor: V) -> Result<Read<V>, Error> {
        // Shared between this future and the thread.
        let is_dropped = Arc::new(AtomicBool::new(false));
        let _guard = RaiseOnDrop(is_dropped.clone());
        let read = move || {
            let (report, is_broken) = thread::scope(|scope| {
                let (sender, lots) = mpsc::sync_channel(WAITING_LOTS);
                let visitor = &mut visitor;
                let visiting =
                    scope.spawn(move || lots.iter().flatten().try_for_each(|record| visitor.visit(record)));
                let mut batch = RecordBatch::default();
                let report = Self::lock(&self.source).read(&self.collection, |record| {
                    if is_dropped.load(Ordering::Relaxed) {
                        return ControlFlow::Break(());
                    }
                    match batch.add(record).map(|records| sender.send(records)) {
                        // The visitor has stopped.
                        Some(Err(_)) => ControlFlow::Break(()),
                        Some(Ok(())) | None => ControlFlow::Continue(()),
                    }
                });
                // If the visitor has stopped, the result below shows it.
                sender.send(batch.records).ok();
                drop(sender);
                let visited = visiting.join().unwrap_or_else(|panic| resume_unwind(panic));
                report.map(|report| (report, visited.is_break()))
            })?;
            let is_complete = report.complete && !is_broken;
            visitor.end(is_complete);
            let mut warnings = self.source_warnings.clone();
            warnings.extend(self.collection.warnings.iter().cloned());
            warnings.extend(report.warnings);
            Ok(Read { source: self, visitor, warnings, unread: report.unread, is_complete })
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic.into_panic()),
        }
    }

    /// Number of records, counted on the first call.
    pub(crate) async fn record_count(mut self) -> Result<(Self, u64), Error> {
        if let Some(records) = self.records {
            return Ok((self, records));
        }
        let count = move || {
            let count = Self::lock(&self.source).record_count(&self.collection);
            count.map(|count| {
                self.records = Some(count);
                (self, count)
            })
        };
        match tokio::task::spawn_blocking(count).await {
            Ok(result) => Ok(result?),
            Err(panic) => resume_unwind(panic.into_panic()),
        }
    }
}

/// Records that are passed together.
#[derive(Default)]
struct RecordBatch {
    records: Vec<Record>,
    size_bytes: usize,
}

impl RecordBatch {
    /// Adds a record, and returns all records if the lot is full.
    fn add(&mut self, record: Record) -> Option<Vec<Record>> {
        self.size_bytes += record.document.as_ref().map_or(0, String::len);
        if let Vector::Present { embedding, .. } = &record.vector {
            self.size_bytes += size_of_val(embedding.as_slice());
        }
        self.records.push(record);
        if self.records.len() < BATCH_RECORDS && self.size_bytes < BATCH_BYTES {
            return None;
        }
        self.size_bytes = 0;
        Some(std::mem::replace(&mut self.records, Vec::with_capacity(BATCH_RECORDS)))
    }
}

/// Processes the records of a source, on a separate thread.
pub(crate) trait Visitor: Send + 'static {
    /// Processes the next record; breaking ends the read.
    fn visit(&mut self, record: Record) -> ControlFlow<()>;

    /// Called after the last record or after a break, but not when the read fails.
    fn end(&mut self, _is_complete: bool) {}
}

/// A finished read.
pub(crate) struct Read<V> {
    pub(crate) source: SourceCollection,
    pub(crate) visitor: V,
    pub(crate) warnings: Vec<Warning>,
    /// Records that the source counts but did not return.
    pub(crate) unread: u64,
    is_complete: bool,
}

impl<V> Read<V> {
    /// The read itself, if it is complete.
    pub(crate) fn complete(self) -> Result<Self, Error> {
        if self.is_complete {
            Ok(self)
        } else {
            Err(Error::Incomplete { collection: self.source.collection.name })
        }
    }
}

struct RaiseOnDrop(Arc<AtomicBool>);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
