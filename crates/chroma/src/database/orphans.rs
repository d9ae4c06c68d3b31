//! Data that belongs to no collection: remains of dropped collections (FORMAT §2).

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Database, runs::Runs};
use crate::{
    overview::Orphans,
    warning::{Warning, WarningCode},
};

impl Database {
    pub(crate) fn orphans(&self) -> Orphans {
        let collections = || self.collections.iter();
        let vector_segments: HashSet<Uuid> =
            collections().filter_map(|stored| Some(stored.vector_segment.as_ref()?.id)).collect();
        let metadata_segments: HashSet<&[u8]> =
            collections().filter_map(|stored| Some(&*stored.metadata_segment.as_ref()?.key)).collect();
        let keys: HashSet<&[u8]> = collections().map(|stored| stored.key.as_bytes()).collect();

        let mut segment_directories: Vec<Uuid> =
            self.segment_directories.iter().filter(|id| !vector_segments.contains(id)).copied().collect();
        segment_directories.sort_unstable();
        let count_rows = |runs: &HashMap<Box<[u8]>, Runs>, owners: &HashSet<&[u8]>| {
            let orphans = runs.iter().filter(|(owner, _)| !owners.contains(&***owner));
            orphans.fold((0_u64, 0_u64), |(owners, rows), (_, runs)| (owners + 1, rows + runs.rows))
        };
        let (segments, records) = count_rows(&self.record_runs, &metadata_segments);
        let (topics, log_rows) = count_rows(&self.log_runs, &keys);
        Orphans { segment_directories, segments, records, topics, log_rows }
    }
}

impl Orphans {
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let Self { segment_directories, segments, records, topics, log_rows } = self;
        let mut warnings = Vec::new();
        if let Some(example) = segment_directories.first() {
            let count = segment_directories.len();
            let message = format!("{count} index directories belong to no collection, such as `{example}`");
            warnings.push(Warning::new(WarningCode::OrphanSegmentDirectories, message));
        }
        if *records > 0 {
            let message = format!("{records} records of {segments} segments belong to no collection");
            warnings.push(Warning::new(WarningCode::OrphanRecords, message));
        }
        if *log_rows > 0 {
            let message = format!("{log_rows} log rows of {topics} collections that do not exist");
            warnings.push(Warning::new(WarningCode::OrphanLogRows, message));
        }
        warnings
    }
}
