//! Decided records become batches: rows in the form in which they are sent, and what else one transaction changes.

use store::postgres::write::Batch;
use uuid::Uuid;

use crate::{classify::Classified, digest::CollectionDigest, target::Action};

/// A batch is whole when it reaches this size, however few its rows: memory is what counts then.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// The first batch is small, so that the connections have something to do soon; each next one is twice as large, up to
/// what was asked for.
const FIRST_BATCH_ROWS: usize = 250;

/// What batches are to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchOptions {
    /// The run that brings the rows.
    pub(crate) run: Uuid,
    /// Rows in one batch, at most.
    pub(crate) batch_rows: usize,
}

/// Makes batches of records, in the order of the source.
pub(crate) struct Batcher {
    options: BatchOptions,
    batch: Batch,
    /// Rows of the batch under way.
    batch_rows: usize,
    /// Of all rows that are the collection's once the batches are written.
    pub(crate) digest: CollectionDigest,
}

impl Batcher {
    pub(crate) fn new(options: BatchOptions) -> Self {
        let batch_rows = options.batch_rows.min(FIRST_BATCH_ROWS);
        Self { options, batch: Batch::default(), batch_rows, digest: CollectionDigest::default() }
    }

    /// Takes the next record, and gives a batch when one is whole.
    pub(crate) fn add(&mut self, classified: Classified) -> Option<Batch> {
        let digest = match classified {
            Classified::Row(row, Action::Insert, _) => Some(self.batch.new.push(&row, self.options.run)),
            Classified::Row(row, Action::Update(seen), _) => {
                self.batch.changed_from.push(seen);
                Some(self.batch.changed.push(&row, self.options.run))
            }
            // Rows in conflict have one too, but those that are not this collection's: they are not compared either.
            Classified::Row(
                _,
                Action::Keep | Action::Edited | Action::BornHere | Action::OfAnother,
                digest,
            ) => digest,
            Classified::Rejected(quarantined) => {
                self.batch.quarantined.extend(quarantined);
                None
            }
        };
        if let Some(digest) = digest {
            self.digest.add(digest);
        }
        let size_bytes = self.batch.new.size_bytes() + self.batch.changed.size_bytes();
        if self.batch.len() < self.batch_rows && size_bytes < MAX_BATCH_BYTES {
            return None;
        }
        self.batch_rows = (self.batch_rows * 2).min(self.options.batch_rows);
        let next = Batch { new: self.batch.new.emptied(), ..Batch::default() };
        Some(std::mem::replace(&mut self.batch, next))
    }

    /// What is left when there are no more records.
    pub(crate) fn rest(&mut self) -> Option<Batch> {
        Some(std::mem::take(&mut self.batch)).filter(|batch| !batch.is_empty())
    }
}
