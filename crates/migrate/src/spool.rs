//! Keeps the batches of the first read of the source, within a memory limit, so that the copy need not read the
//! source again.

use std::ops::ControlFlow;

use store::postgres::write::Batch;

use crate::{batcher::Batcher, classify::Classified, digest::CollectionDigest, options::BatchOptions};

/// All batches of a collection.
pub(crate) struct Spool {
    pub(crate) batches: Vec<Batch>,
    /// Digest of all records that a row can hold, whatever their action.
    pub(crate) digest: CollectionDigest,
    pub(crate) size_bytes: usize,
}

/// A spool that is being filled, until it exceeds the memory limit.
pub(crate) struct Spooler {
    batcher: Batcher,
    batches: Vec<Batch>,
    size_bytes: usize,
    room_bytes: usize,
    /// Records so far; `total` is the expected number.
    records: u64,
    total: u64,
}

impl Spooler {
    /// For `total` records, within `room_bytes`.
    pub(crate) fn new(options: BatchOptions, total: u64, room_bytes: usize) -> Self {
        let batcher = Batcher::new(options);
        Self { batcher, batches: Vec::new(), size_bytes: 0, room_bytes, records: 0, total }
    }

    /// Adds the next record; breaks if the records will not fit.
    pub(crate) fn add(&mut self, classified: Classified) -> ControlFlow<()> {
        self.records += 1;
        if classified.lacks_embedding() {
            // Embedding is slow and may fail, so it is left to the copy.
            return ControlFlow::Break(());
        }
        let Some(batch) = self.batcher.add(classified) else { return ControlFlow::Continue(()) };
        self.push(batch);
        if self.has_room() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    /// All batches, if they fit.
    pub(crate) fn finish(mut self) -> Option<Spool> {
        if let Some(batch) = self.batcher.rest() {
            self.push(batch);
        }
        self.total = self.records;
        self.has_room().then_some(Spool {
            batches: self.batches,
            digest: self.batcher.digest,
            size_bytes: self.size_bytes,
        })
    }

    fn push(&mut self, batch: Batch) {
        self.size_bytes += batch.size_bytes();
        self.batches.push(batch);
    }

    /// Whether all records are expected to fit, extrapolated from those so far: encoding rows only to drop them would
    /// waste time.
    fn has_room(&self) -> bool {
        let expected = self.size_bytes as u128 * u128::from(self.total.max(self.records));
        expected <= self.room_bytes as u128 * u128::from(self.records)
    }
}

#[cfg(test)]
mod tests {
    use store::StoredRecord;
    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::target::Action;

    const BATCH_ROWS: u64 = 10;

    fn row(number: u64) -> Classified {
        let row = StoredRecord {
            id: Uuid::from_u128(number.into()),
            source_id: Some(format!("{number:03}")),
            text: None,
            columns: Vec::new(),
            metadata: None,
            uri: None,
            created_at: datetime!(2025-01-11 00:00),
            embedding: vec![0.5; 3].into(),
            embedding_is_made: false,
        };
        Classified::Row(row, Action::Insert, None)
    }

    fn spooler(total: u64, room_bytes: usize) -> Spooler {
        let options = BatchOptions { run: Uuid::nil(), batch_rows: BATCH_ROWS as usize };
        Spooler::new(options, total, room_bytes)
    }

    /// How many of `records` it accepts, and the result.
    fn fill(mut spooler: Spooler, records: u64) -> (u64, Option<Spool>) {
        match (0..records).find(|number| spooler.add(row(*number)).is_break()) {
            Some(last) => (last + 1, None),
            None => (records, spooler.finish()),
        }
    }

    #[test]
    fn spool_holds_every_row_or_is_none() {
        let (_, spool) = fill(spooler(25, usize::MAX), 25);
        let spool = spool.expect("there is room");
        assert_eq!(spool.batches.iter().map(Batch::len).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!(spool.size_bytes, spool.batches.iter().map(Batch::size_bytes).sum::<usize>());
        assert!(fill(spooler(25, spool.size_bytes), 25).1.is_some());
        assert!(fill(spooler(25, spool.size_bytes - 1), 25).1.is_none());
    }

    #[test]
    fn spool_that_will_not_fit_is_dropped_after_the_first_batch() {
        let room_bytes = fill(spooler(25, usize::MAX), 25).1.expect("there is room").size_bytes;
        assert_eq!(fill(spooler(1_000, room_bytes), 1_000).0, BATCH_ROWS);
        // A source may have more records than it counted.
        let (taken, spool) = fill(spooler(20, room_bytes), 1_000);
        assert_eq!((taken, spool.is_none()), (30, true));
    }

    #[test]
    fn row_without_an_embedding_ends_the_spool() {
        let mut spooler = spooler(2, usize::MAX);
        assert!(spooler.add(row(0)).is_continue());
        let Classified::Row(without, ..) = row(1) else { unreachable!() };
        let without = StoredRecord { embedding_is_made: true, ..without };
        assert!(spooler.add(Classified::Row(without.clone(), Action::Keep, None)).is_continue());
        assert!(spooler.add(Classified::Row(without, Action::Insert, None)).is_break());
    }
}
