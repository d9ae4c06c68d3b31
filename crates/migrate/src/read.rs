//! Reads the Chroma side, on a thread of its own.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chroma::{Collection, Record, Warning};
use store::chroma::Source;

use crate::Error;

/// A source and the one of its collections that is meant.
pub struct SourceCollection {
    source: Source,
    collection: Collection,
}

impl SourceCollection {
    /// The collection of `source`.
    pub fn new(source: Source, collection: Collection) -> Self {
        Self { source, collection }
    }

    /// The source.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The collection.
    pub fn collection(&self) -> &Collection {
        &self.collection
    }

    /// Gives every record to `visitor`, away from the async threads, and comes back with what the read warned of.
    /// Ends early when the visitor breaks, or when the future is dropped.
    pub(crate) async fn read<V: Visitor>(self, mut visitor: V) -> Result<Read<V>, Error> {
        // Shared between this future and the thread.
        let is_dropped = Arc::new(AtomicBool::new(false));
        let _guard = RaiseOnDrop(is_dropped.clone());
        let read = move || {
            let report = self.source.read(&self.collection, |record| {
                if is_dropped.load(Ordering::Relaxed) {
                    return ControlFlow::Break(());
                }
                visitor.visit(record)
            })?;
            visitor.end(report.complete);
            let mut warnings: Vec<Warning> = self.source.warnings().to_vec();
            warnings.extend(self.collection.warnings.iter().cloned());
            warnings.extend(report.warnings);
            Ok(Read { source: self, visitor, warnings, is_complete: report.complete })
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// How many records there are.
    pub(crate) async fn record_count(self) -> Result<(Self, u64), Error> {
        let count = move || self.source.record_count(&self.collection).map(|count| (self, count));
        match tokio::task::spawn_blocking(count).await {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Takes the records of a source, on the reader's thread.
pub(crate) trait Visitor: Send + 'static {
    /// Takes the next record; breaking ends the read.
    fn visit(&mut self, record: Record) -> ControlFlow<()>;

    /// There are no more, or the read was ended before. Not called when it fails.
    fn end(&mut self, _is_complete: bool) {}
}

/// A read that has ended.
pub(crate) struct Read<V> {
    pub(crate) source: SourceCollection,
    pub(crate) visitor: V,
    pub(crate) warnings: Vec<Warning>,
    is_complete: bool,
}

impl<V> Read<V> {
    /// The same, if all was read.
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
