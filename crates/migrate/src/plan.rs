//! The first read of the source, which plans all changes before any is made.

use std::{collections::HashSet, ops::ControlFlow};

use chroma::{Record, Warning};
use uuid::Uuid;

use crate::{
    Error,
    classify::Classifier,
    observe::{Counter, Observer, Phase},
    options::BatchOptions,
    read::{SourceCollection, Visitor},
    spool::{Spool, Spooler},
};

/// Maximum ids to preallocate (64 MB): the count comes from the source and may be wrong.
const MOST_EXPECTED_IDS: u64 = 1 << 22;

/// A collection whose records are all classified.
pub(crate) struct Plan {
    pub(crate) source: SourceCollection,
    pub(crate) classifier: Classifier,
    pub(crate) warnings: Vec<Warning>,
    /// The batches to write, if requested and within the memory limit.
    pub(crate) spool: Option<Spool>,
}

/// Whether planning keeps the batches for the copy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spooling {
    /// It does not.
    Off,
    /// It does, within this memory limit.
    UpTo { room_bytes: usize, options: BatchOptions },
}

struct Planner {
    classifier: Classifier,
    spooler: Option<Spooler>,
    /// The ids of all rows: 16 bytes per record, freed after planning.
    ids: Vec<[u8; 16]>,
    counter: Counter,
}

impl Visitor for Planner {
    fn visit(&mut self, record: Record) -> ControlFlow<()> {
        self.ids.push(self.classifier.table.row_id(&record.id).into_bytes());
        let classified = self.classifier.classify(record);
        if let Some(spooler) = &mut self.spooler
            && spooler.add(classified).is_break()
        {
            self.spooler = None;
        }
        self.counter.count();
        ControlFlow::Continue(())
    }
}

/// Reads the source and classifies each record.
pub(crate) async fn plan(
    source: SourceCollection,
    classifier: Classifier,
    spooling: Spooling,
    observer: &Observer,
) -> Result<Plan, Error> {
    let name = source.collection().name.clone();
    let (source, total) = source.record_count().await?;
    let (mut source, mut classifier) = (source, classifier);
    loop {
        let planner = Planner {
            classifier,
            spooler: match spooling {
                Spooling::Off => None,
                Spooling::UpTo { room_bytes, options } => Some(Spooler::new(options, total, room_bytes)),
            },
            ids: Vec::with_capacity(total.min(MOST_EXPECTED_IDS) as usize),
            counter: Counter::begin(observer, &name, Phase::Plan, total),
        };
        let read = source.read(planner).await?.complete()?;
        let Planner { classifier: decided, spooler, ids, .. } = read.visitor;
        (source, classifier) = (read.source, decided);
        let duplicates = if classifier.duplicates.is_empty() { duplicates(ids) } else { HashSet::new() };
        if duplicates.is_empty() {
            classifier.tally.unread = read.unread;
            let spool = spooler.and_then(Spooler::finish);
            return Ok(Plan { source, classifier, warnings: read.warnings, spool });
        }
        // Only Chroma 0.3 allowed duplicates. They are known now, so classify all records again.
        classifier.duplicates = duplicates;
        classifier.restart();
    }
}

fn duplicates(mut ids: Vec<[u8; 16]>) -> HashSet<Uuid> {
    ids.sort_unstable();
    ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| Uuid::from_bytes(pair[0])).collect()
}
