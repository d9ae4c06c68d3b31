//! Writes persist directories of Chroma ≥ 0.4 from histories: operations of clients, flushes, and purges of the log.
//! Follows FORMAT §2 – §7 and shares no code with the reader.

mod database;
mod index;
pub(crate) mod json;
mod strategy;

pub(crate) use strategy::history;

use std::{collections::BTreeMap, path::Path};

use records::{DistanceSpace, MetadataValue};

/// The version whose tables, log and pickles are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Release {
    /// 0.4.0: marks are BLOBs or in the pickle, an object; the log is Python's JSON and complete.
    First,
    /// 1.5.9: marks are numbers, the pickle is a dict; the log is plain JSON and may be purged.
    Last,
}

/// The complete history of a directory.
#[derive(Clone, Debug)]
pub(crate) struct History {
    pub(crate) release: Release,
    pub(crate) collections: Vec<CollectionPlan>,
    /// Collections and their operations, in the order of the log.
    pub(crate) steps: Vec<(usize, Step)>,
    /// How many rows at the end of the log are not applied to the metadata segments.
    pub(crate) unapplied: usize,
    /// Whether a flush purges the log, which only the last release does.
    pub(crate) purges: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct CollectionPlan {
    pub(crate) space: DistanceSpace,
    pub(crate) ids: Vec<String>,
}

/// One operation of a client, or a flush.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Adds the id, or updates or upserts it if it exists.
    Write { id: usize, is_upsert: bool, vector: Option<Vec<f32>>, fields: Fields },
    /// Deletes the id, if it exists.
    Delete { id: usize },
    /// Writes the index files.
    Flush,
}

/// The fields of a write without the vector; a key without a value is removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: BTreeMap<String, Option<MetadataValue>>,
}

/// The expected record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// The vector that the client sent, or that of the index if the log no longer has it.
    pub(crate) vector: Vec<f32>,
    pub(crate) document: Option<String>,
    pub(crate) uri: Option<String>,
    pub(crate) metadata: BTreeMap<String, MetadataValue>,
    /// The log row of its last change.
    changed: i64,
}

/// A row of the log.
struct Row {
    seq_id: i64,
    collection: usize,
    /// 0 ADD, 1 UPDATE, 2 UPSERT, 3 DELETE.
    operation: u8,
    id: String,
    vector: Option<Vec<f32>>,
    fields: Option<Fields>,
}

/// The state of a collection.
#[derive(Default)]
struct State {
    records: BTreeMap<String, Written>,
    index: index::Index,
    /// The last flushed row.
    flushed: Option<i64>,
}

/// Writes the directory; returns the records of each collection.
pub(crate) fn write(directory: &Path, history: &History) -> Vec<BTreeMap<String, Written>> {
    let mut states: Vec<State> = history.collections.iter().map(|_| State::default()).collect();
    let mut log: Vec<Row> = Vec::new();
    let mut seq_id = 0;
    for (collection, step) in &history.steps {
        let plan = &history.collections[*collection];
        let state = &mut states[*collection];
        let (operation, id, vector, fields) = match step {
            Step::Flush => {
                // Rows before that are in the index already.
                let since = state.flushed.unwrap_or(0);
                let rows = log.iter().filter(|row| row.collection == *collection && row.seq_id > since);
                state.index.apply(plan.space, rows);
                if seq_id > 0 {
                    state.flushed = Some(seq_id);
                }
                continue;
            }
            Step::Delete { id } => (3, &plan.ids[*id], None, None),
            Step::Write { id, is_upsert, vector, fields } => {
                let exists = state.records.contains_key(&plan.ids[*id]);
                let operation = if *is_upsert { 2 } else { u8::from(exists) };
                // Only an update may have no vector.
                let vector =
                    vector.clone().or_else(|| (operation != 1).then(|| vec![0.5; strategy::DIMENSION]));
                (operation, &plan.ids[*id], vector, Some(fields.clone()))
            }
        };
        seq_id += 1;
        let row = Row { seq_id, collection: *collection, operation, id: id.clone(), vector, fields };
        apply(&mut state.records, &row);
        log.push(row);
    }
    let applied = seq_id - i64::try_from(history.unapplied).unwrap().min(seq_id);
    database::write(directory, history, &states, &log, applied);
    for (number, state) in states.iter_mut().enumerate() {
        let plan = &history.collections[number];
        if let Some(mark) = state.flushed {
            state.index.write(directory, number, history.release, mark);
            if history.purges() {
                state.index.read_back(plan.space, mark, &log, number, &mut state.records);
            }
        }
    }
    states.into_iter().map(|state| state.records).collect()
}

impl History {
    fn purges(&self) -> bool {
        self.purges && self.release == Release::Last
    }
}

/// Applies a row to the records.
fn apply(records: &mut BTreeMap<String, Written>, row: &Row) {
    let Some(fields) = &row.fields else {
        records.remove(&row.id);
        return;
    };
    let record = records.entry(row.id.clone()).or_default();
    record.changed = row.seq_id;
    if let Some(vector) = &row.vector {
        record.vector.clone_from(vector);
    }
    if fields.document.is_some() {
        record.document.clone_from(&fields.document);
    }
    if fields.uri.is_some() {
        record.uri.clone_from(&fields.uri);
    }
    for (key, value) in &fields.metadata {
        match value {
            Some(value) => drop(record.metadata.insert(key.clone(), value.clone())),
            None => drop(record.metadata.remove(key)),
        }
    }
}
