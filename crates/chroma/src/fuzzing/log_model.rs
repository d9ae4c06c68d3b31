//! What a log says, by FORMAT §4 and §12 alone: a second opinion on `database/log.rs`, which it shares nothing with.

use std::collections::BTreeMap;

/// One row as it was written.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) seq_id: i64,
    /// 0 ADD, 1 UPDATE, 2 UPSERT, 3 DELETE.
    pub(super) operation: u8,
    pub(super) id: Vec<u8>,
    /// `None` if the cell is NULL.
    pub(super) vector: Option<Written>,
    pub(super) document: Document,
}

/// A cell of a vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Written {
    Components(Vec<u32>),
    Undecodable,
}

/// What the row's metadata say of the document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Document {
    /// Nothing, be it that they are no JSON.
    Unsaid,
    /// That there is none any more.
    Removed,
    Set(String),
}

/// What the log leaves of an id's vector.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Vector {
    None,
    Deleted,
    Written(Written),
    /// The log does not begin with the id's first row, so that it may be either.
    Unknown,
}

/// A record: its document.
pub(super) type Records = BTreeMap<Vec<u8>, Option<String>>;

/// The records after those rows that the metadata segment has not absorbed; `None` as the mark if none are.
pub(super) fn records(stored: &Records, rows: &[Row], mark: Option<i64>) -> Records {
    let mut records = stored.clone();
    for row in rows.iter().filter(|row| row.seq_id > mark.unwrap_or(-1)) {
        let exists = records.contains_key(&row.id);
        match row.operation {
            3 => drop(records.remove(&row.id)),
            0 if exists => {}
            1 if !exists => {}
            _ => {
                let document = records.entry(row.id.clone()).or_default();
                match &row.document {
                    Document::Unsaid => {}
                    Document::Removed => *document = None,
                    Document::Set(text) => *document = Some(text.clone()),
                }
            }
        }
    }
    records
}

/// The vector of an id of which no index knows.
pub(super) fn vector(rows: &[Row], id: &[u8]) -> Vector {
    let mut vector = Vector::None;
    for row in rows.iter().filter(|row| row.id == id) {
        vector = match (row.operation, &row.vector, vector) {
            (3, _, _) => Vector::Deleted,
            (_, None, before) => before,
            (2, Some(written), _) => Vector::Written(written.clone()),
            // Nobody knows what an UPDATE met that is the first to be heard of the id.
            (1, Some(_), Vector::None) => Vector::Unknown,
            (1, Some(_), before @ (Vector::Deleted | Vector::Unknown)) => before,
            (1, Some(written), Vector::Written(_)) => Vector::Written(written.clone()),
            (0, Some(written), Vector::None | Vector::Deleted) => Vector::Written(written.clone()),
            // An ADD of what is there does nothing.
            (_, Some(_), before) => before,
        };
    }
    vector
}
