//! Groups classified records into batches: encoded rows, and the other changes of the same transaction.

use store::postgres::write::{Batch, row_digest};

use crate::{classify::Classified, digest::CollectionDigest, options::BatchOptions, target::Action};

/// Maximum size of a batch, which bounds memory when rows are large.
const MAX_BATCH_BYTES: usize = 8 << 20;

/// The first batch is small, so that the connections start early; each next one is twice as large, up to
/// `batch_rows`.
const FIRST_BATCH_ROWS: usize = 250;

/// Makes batches of records, in the order of the source. Their positions begin with 0.
pub(crate) struct Batcher {
    options: BatchOptions,
    batch: Batch,
    /// New rows of earlier batches.
    inserted: i64,
    /// Target number of rows of the current batch.
    batch_rows: usize,
    /// Digest of all records that a row can hold, whatever their action.
    pub(crate) digest: CollectionDigest,
    scratch: Vec<u8>,
}

impl Batcher {
    pub(crate) fn new(options: BatchOptions) -> Self {
        let batch_rows = options.batch_rows.min(FIRST_BATCH_ROWS);
        Self {
            options,
            batch: Batch { position: Some(0), ..Batch::default() },
            inserted: 0,
            batch_rows,
            digest: CollectionDigest::default(),
            scratch: Vec::new(),
        }
    }

    /// Adds the next record, and returns the batch if it is full.
    pub(crate) fn add(&mut self, classified: Classified) -> Option<Batch> {
        let digest = match classified {
            Classified::Row(row, Action::Insert, _) => Some(self.batch.new.push(&row, self.options.run)),
            Classified::Row(row, Action::Update(seen), _) => {
                self.batch.changed_from.push(seen);
                Some(self.batch.changed.push(&row, self.options.run))
            }
            Classified::Row(
                row,
                Action::Keep | Action::Edited | Action::BornHere | Action::OfAnother | Action::DeletedHere,
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
        self.inserted += i64::try_from(self.batch.new.len()).unwrap_or(i64::MAX);
        let (new, position) = (self.batch.new.emptied(), Some(self.inserted));
        let next = Batch { new, position, ..Batch::default() };
        Some(std::mem::replace(&mut self.batch, next))
    }

    /// The last batch, after all records.
    pub(crate) fn rest(&mut self) -> Option<Batch> {
        Some(std::mem::take(&mut self.batch)).filter(|batch| !batch.is_empty())
    }
}
