//! The index of the collection that is read, beside a writer who may be flushing it.
//!
//! SQLite's locks do not cover the index files (FORMAT §11). So their sizes and times are looked at before and
//! after they are loaded, and again after each batch of vectors; what was read across a change is read anew.
//! A newer index than the database's snapshot is no harm: the log repeats what it has absorbed.

use std::{error::Error as _, time::SystemTime};

use records::DistanceSpace;

use super::{Database, catalog::StoredCollection};
use crate::{
    hnsw::{self, Index, IndexError, Load},
    warning::{Tally, Warning, WarningCode},
};

/// How often an index is loaded whose writer does not rest.
const ATTEMPTS: u32 = 5;

/// What is known of a collection's index.
pub(crate) struct SegmentIndex {
    pub(crate) index: Option<Index>,
    /// Whether it was flushed and cannot be read.
    pub(crate) is_lost: bool,
    /// The last log row that it has absorbed; −1 if none.
    pub(crate) mark: i64,
    /// The file of vectors as it was when its index was loaded.
    stamp: Option<(u64, SystemTime)>,
}

impl SegmentIndex {
    /// Loads the index of a collection, if it has one. What is odd about it goes to `warnings` and `tally`.
    pub(crate) fn load(
        database: &Database,
        stored: &StoredCollection,
        warnings: &mut Vec<Warning>,
        tally: &mut Tally,
    ) -> Self {
        let mut this = Self { is_lost: false, ..Self::lost() };
        let Some(segment) = &stored.vector_segment else { return this };
        let is_flushed = segment.mark.is_some();
        let load = || hnsw::load(&database.root, segment.id, stored.collection.space, is_flushed);
        match while_files_rest(database, segment.id, load) {
            Load::NeverFlushed => {}
            Load::Lost(error) => {
                this.is_lost = true;
                warnings.push(Warning::new(WarningCode::IndexLost, lost_message(segment.id, &error)));
            }
            Load::Loaded(index) => {
                warn_of_faults(&index, warnings, tally);
                // The row wins: an upgraded directory keeps a stale number in the pickle (FORMAT §5).
                this.mark = segment.mark.or(index.max_seq_id).unwrap_or(-1);
                this.set(index);
            }
        }
        this
    }

    /// An index that cannot be read.
    pub(crate) fn lost() -> Self {
        Self { index: None, is_lost: true, mark: -1, stamp: None }
    }

    /// Takes an index in the place of what there was.
    pub(crate) fn set(&mut self, index: Index) {
        self.is_lost = false;
        self.stamp = index.stamp();
        self.index = Some(index);
    }

    /// Whether a writer has touched the file of vectors since it was loaded.
    pub(crate) fn has_changed(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.stamp() != self.stamp)
    }
}

/// Loads until no file of the segment changed meanwhile.
fn while_files_rest(database: &Database, segment: uuid::Uuid, load: impl Fn() -> Load) -> Load {
    for _ in 0..ATTEMPTS {
        let before = hnsw::stamp(&database.path, segment);
        let loaded = load();
        if hnsw::stamp(&database.path, segment) == before {
            return loaded;
        }
    }
    Load::Lost(IndexError::Unstable { attempts: ATTEMPTS })
}

fn lost_message(segment: uuid::Uuid, error: &IndexError) -> String {
    let mut message = format!("the index `{segment}` is lost, only vectors in the log are left: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        message.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    message
}

fn warn_of_faults(index: &Index, warnings: &mut Vec<Warning>, tally: &mut Tally) {
    let faults = &index.faults;
    for id in index.unreachable_ids() {
        tally.add(WarningCode::IndexTruncated, "ids of the index have no vector in its files", id);
    }
    if faults.deleted_but_mapped > 0 {
        let message = format!("{} live elements of the index are marked deleted", faults.deleted_but_mapped);
        warnings.push(Warning::new(WarningCode::IndexInconsistent, message));
    }
    if faults.duplicate_labels > 0 {
        let message = format!("{} elements of the index share a label", faults.duplicate_labels);
        warnings.push(Warning::new(WarningCode::IndexInconsistent, message));
    }
    if faults.not_unit_vectors {
        let message =
            format!("the space is {}, but not all vectors of the index have length 1", DistanceSpace::Cosine);
        warnings.push(Warning::new(WarningCode::SpaceConflict, message));
    }
}
