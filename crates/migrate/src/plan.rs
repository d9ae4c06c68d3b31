//! The first read of the source: what would be done, before anything is.

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

/// Room is made at once for so many ids, that is 64 MB; a server may count what it likes.
const MOST_EXPECTED_IDS: u64 = 1 << 22;

/// A collection whose records are all decided upon.
pub(crate) struct Plan {
    pub(crate) source: SourceCollection,
    pub(crate) classifier: Classifier,
    pub(crate) warnings: Vec<Warning>,
    /// What is to be written, if that was asked for and there was room.
    pub(crate) spool: Option<Spool>,
}

/// Whether the batches of the copy are made while planning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spooling {
    /// They are not.
    Off,
    /// They are, if they take no more memory than this.
    UpTo { room_bytes: usize, options: BatchOptions },
}

struct Planner {
    classifier: Classifier,
    spooler: Option<Spooler>,
    /// The ids of all rows: 16 bytes for each record, gone with the plan.
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

/// Reads the source and decides on each record.
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
        // Only Chroma 0.3 allowed them. Which one comes first is known now, so decide again.
        classifier.duplicates = duplicates;
        classifier.restart();
    }
}

fn duplicates(mut ids: Vec<[u8; 16]>) -> HashSet<Uuid> {
    ids.sort_unstable();
    ids.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| Uuid::from_bytes(pair[0])).collect()
}
