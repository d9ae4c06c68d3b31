//! Decided records become batches: rows in the form in which they are sent, and what else one transaction changes.

use store::postgres::write::{Batch, row_digest};

use crate::{classify::Classified, digest::CollectionDigest, options::BatchOptions, target::Action};

/// A batch is whole when it reaches this size, however few its rows: memory is what counts then.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// The first batch is small, so that the connections have something to do soon; each next one is twice as large, up to
/// what was asked for.
const FIRST_BATCH_ROWS: usize = 250;

/// Makes batches of records, in the order of the source.
pub(crate) struct Batcher {
    options: BatchOptions,
    batch: Batch,
    /// Rows of the batch under way.
    batch_rows: usize,
    /// Of all records that a row can hold, whatever becomes of them.
    pub(crate) digest: CollectionDigest,
    scratch: Vec<u8>,
}

impl Batcher {
    pub(crate) fn new(options: BatchOptions) -> Self {
        let batch_rows = options.batch_rows.min(FIRST_BATCH_ROWS);
        Self {
            options,
            batch: Batch::default(),
            batch_rows,
            digest: CollectionDigest::default(),
            scratch: Vec::new(),
        }
    }

    /// Takes the next record, and gives a batch when one is whole.
    pub(crate) fn add(&mut self, classified: Classified) -> Option<Batch> {
        let digest = match classified {
            Classified::Row(row, Action::Insert, _) => Some(self.batch.new.push(&row, self.options.run)),
            Classified::Row(row, Action::Update(seen), _) => {
                self.batch.changed_from.push(seen);
                Some(self.batch.changed.push(&row, self.options.run))
            }
            Classified::Row(
                row,
                Action::Keep | Action::Edited | Action::BornHere | Action::OfAnother,
                digest,
            ) => Some(digest.unwrap_or_else(|| row_digest(&mut self.scratch, &row))),
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
