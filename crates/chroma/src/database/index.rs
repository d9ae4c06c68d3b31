//! The index of a collection, read while a writer may be flushing it.
//!
//! SQLite's locks do not cover the index files (FORMAT §11). So their sizes and times are compared before and after
//! loading, and again after each batch of vectors; if they changed, the read is repeated. An index newer than the
//! database's snapshot is harmless: the log contains the same rows.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use records::DistanceSpace;
use uuid::Uuid;

use super::{
    Database,
    catalog::StoredCollection,
    inaccessible,
    log::LogIndex,
    salvage::{self, Salvaged},
};
use crate::{
    error::Error,
    hnsw::{self, Index, IndexError, Labels, Load},
    warning::{Tally, Warning, WarningCode},
};

/// How long to wait for an active writer. The snapshot keeps Chroma from committing, so that it becomes idle once it
/// has written the files of its last commit.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// File times have the granularity of the kernel's tick, 10 ms at most, so a second write shortly after the first may
/// not change the time. Wait until files are older than this.
const MIN_STABLE_AGE: Duration = Duration::from_millis(25);

/// A file that is empty or truncated and this recent is assumed to be still being written.
const RECENTLY_WRITTEN: Duration = Duration::from_millis(500);

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The loaded index of a collection.
pub(crate) struct SegmentIndex {
    pub(crate) index: Option<Index>,
    /// Whether it was flushed and cannot be read.
    pub(crate) is_lost: bool,
    /// Sequence number of the last log row in the index; −1 if none.
    pub(crate) mark: i64,
    /// Size and time of the file of vectors when the index was loaded.
    stamp: Option<(u64, SystemTime)>,
    /// Why it is lost, and the readable part of its list of ids.
    loss: Option<(IndexError, Labels)>,
}

impl SegmentIndex {
    /// Loads the index of a collection, if it has one. Problems go to `warnings` and `tally`. An index that cannot be
    /// accessed is an error, since it is not lost.
    pub(crate) fn load(
        database: &Database,
        stored: &StoredCollection,
        warnings: &mut Vec<Warning>,
        tally: &mut Tally,
    ) -> Result<Self, Error> {
        let mut this = Self { is_lost: false, ..Self::lost() };
        let Some(segment) = &stored.vector_segment else { return Ok(this) };
        let is_flushed = segment.mark.is_some();
        let load = || hnsw::load(&database.root, segment.id, stored.shape, is_flushed);
        match load_consistently(database, segment.id, load) {
            Load::NeverFlushed => {}
            Load::Unreadable(error) => return Err(inaccessible::unreadable(database, segment.id, &error)),
            Load::Lost(error, remains) => {
                this.is_lost = true;
                this.loss = Some((error, remains));
            }
            Load::Loaded(index) => {
                warn_about_faults(&index, warnings, tally);
                // The row takes precedence: an upgraded directory keeps a stale number in the pickle (FORMAT §5).
                this.mark = segment.mark.or(index.max_seq_id).unwrap_or(-1);
                this.set(index);
            }
        }
        Ok(this)
    }

    /// An index that cannot be read.
    pub(crate) fn lost() -> Self {
        Self { index: None, is_lost: true, mark: -1, stamp: None, loss: None }
    }

    /// Salvages a lost index as far as the log allows, and warns about the loss. Returns whether there is an index
    /// now.
    pub(crate) fn salvage(
        &mut self,
        database: &Database,
        stored: &StoredCollection,
        log: &LogIndex,
        warnings: &mut Vec<Warning>,
    ) -> Result<bool, Error> {
        let (Some((error, remains)), Some(segment)) = (self.loss.take(), &stored.vector_segment) else {
            return Ok(false);
        };
        let cause = format!("the index `{}` is lost: {}", segment.id, chain(&error));
        let (code, message) = match salvage::salvage(database, stored, &remains, log)? {
            Ok(Salvaged { index, by }) => {
                let count = index.reachable();
                self.mark = segment.mark.unwrap_or(-1);
                self.set(index);
                let message = format!("{cause}; {count} vectors were {by}");
                (WarningCode::IndexSalvaged, message)
            }
            Err(refusal) => {
                let message = format!(
                    "{cause}; only vectors in the log are available, because salvage failed: {}",
                    chain(&refusal)
                );
                (WarningCode::IndexLost, message)
            }
        };
        warnings.push(Warning::new(code, message));
        Ok(self.index.is_some())
    }

    /// Replaces the index.
    fn set(&mut self, index: Index) {
        self.is_lost = false;
        self.stamp = index.stamp();
        self.index = Some(index);
    }

    /// Whether it may have had a vector of this id that it has no longer.
    pub(crate) fn has_lost(&self, id: &[u8]) -> bool {
        self.is_lost
            || self.index.as_ref().is_some_and(|index| index.is_salvaged() || index.is_unreachable(id))
    }

    /// Whether a writer has changed the file of vectors since it was loaded.
    pub(crate) fn has_changed(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.stamp() != self.stamp)
    }
}

/// Loads until no file of the segment changed during the load.
fn load_consistently(database: &Database, segment: Uuid, load: impl Fn() -> Load) -> Load {
    let started = Instant::now();
    loop {
        let before = hnsw::stamp(&database.path, segment);
        if !before.is_younger_than(MIN_STABLE_AGE) {
            let loaded = load();
            if matches!(loaded, Load::Unreadable(_)) {
                return loaded;
            }
            let is_torn = matches!(loaded, Load::Lost(..)) && before.is_younger_than(RECENTLY_WRITTEN);
            if !is_torn && hnsw::stamp(&database.path, segment) == before {
                return loaded;
            }
            if is_torn && started.elapsed() > RECENTLY_WRITTEN {
                return loaded;
            }
        }
        if started.elapsed() > MAX_WAIT {
            return Load::Lost(IndexError::Unstable { waited: MAX_WAIT }, Labels::default());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn warn_about_faults(index: &Index, warnings: &mut Vec<Warning>, tally: &mut Tally) {
    let faults = &index.faults;
    for id in index.unreachable_ids() {
        tally.add(WarningCode::IndexTruncated, "ids in the index have no vector in its files", &id);
    }
    if faults.deleted_but_mapped > 0 {
        let message = format!("{} live elements of the index are marked deleted", faults.deleted_but_mapped);
        warnings.push(Warning::new(WarningCode::IndexInconsistent, message));
    }
    if faults.duplicate_labels > 0 {
        let message = format!("{} elements of the index share a label", faults.duplicate_labels);
        warnings.push(Warning::new(WarningCode::IndexInconsistent, message));
    }
    if faults.no_header {
        let message =
            "`header.bin` is missing or damaged; the layout of the index was inferred from its labels";
        warnings.push(Warning::new(WarningCode::IndexSalvaged, message));
    }
    if faults.no_lengths {
        let message = "expected `length.bin` with the lengths of the unit vectors in the index, found none";
        warnings.push(Warning::new(WarningCode::IndexTruncated, message));
    }
    if faults.not_unit_vectors {
        let message =
            format!("the space is {}, but not all vectors of the index have length 1", DistanceSpace::Cosine);
        warnings.push(Warning::new(WarningCode::SpaceConflict, message));
    }
}
