//! The first read of the source: what would be done, before anything is.

use std::{collections::HashSet, ops::ControlFlow};

use chroma::{Record, Warning};
use records::stored_id;
use uuid::Uuid;

use crate::{
    Error,
    classify::{Classified, Classifier},
    observe::{Counter, Observer, Phase},
    quarantine::Quarantine,
    read::{SourceCollection, Visitor},
};

/// Room is made at once for so many ids, that is 64 MB; a server may count what it likes.
const MOST_EXPECTED_IDS: u64 = 1 << 22;

/// A collection whose records are all decided upon.
pub(crate) struct Plan {
    pub(crate) source: SourceCollection,
    pub(crate) classifier: Classifier,
    pub(crate) quarantine: Option<Quarantine>,
    /// Records to set aside that no earlier run has set aside.
    pub(crate) new_rejects: u64,
    pub(crate) warnings: Vec<Warning>,
}

struct Planner {
    classifier: Classifier,
    quarantine: Option<Quarantine>,
    new_rejects: u64,
    /// The ids of all rows: 16 bytes for each record, gone with the plan.
    ids: Vec<[u8; 16]>,
    counter: Counter,
}

impl Visitor for Planner {
    fn visit(&mut self, record: Record) -> ControlFlow<()> {
        self.ids.push(stored_id(&record.id).into_bytes());
        if let (Classified::Rejected(record, reason), Some(quarantine)) =
            (self.classifier.classify(record), &self.quarantine)
        {
            self.new_rejects += u64::from(quarantine.take(&record, reason).is_some());
        }
        self.counter.count();
        ControlFlow::Continue(())
    }
}

/// Reads the source and decides on each record.
pub(crate) async fn plan(
    source: SourceCollection,
    classifier: Classifier,
    quarantine: Option<Quarantine>,
    observer: &Observer,
) -> Result<Plan, Error> {
    let name = source.collection().name.clone();
    let (source, total) = source.record_count().await?;
    let (mut source, mut classifier, mut quarantine) = (source, classifier, quarantine);
    loop {
        let planner = Planner {
            classifier,
            quarantine,
            new_rejects: 0,
            ids: Vec::with_capacity(total.min(MOST_EXPECTED_IDS) as usize),
            counter: Counter::begin(observer, &name, Phase::Plan, total),
        };
        let read = source.read(planner).await?.complete()?;
        let Planner { classifier: decided, quarantine: kept, new_rejects, ids, .. } = read.visitor;
        (source, classifier, quarantine) = (read.source, decided, kept);
        let duplicates = if classifier.duplicates.is_empty() { duplicates(ids) } else { HashSet::new() };
        if duplicates.is_empty() {
            return Ok(Plan { source, classifier, quarantine, new_rejects, warnings: read.warnings });
        }
        // Only Chroma 0.3 allowed them. Which one comes first is known now, so decide again.
        classifier.duplicates = duplicates;
        classifier.restart();
    }
}

fn duplicates(mut ids: Vec<[u8; 16]>) -> HashSet<Uuid> {
    ids.sort_unstable();
    ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| Uuid::from_bytes(pair[0])).collect()
}
