//! A model of the log by FORMAT §4 and §12, independent of `database/log.rs`, which it verifies.

use std::collections::BTreeMap;

/// One written row.
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

/// The effect of the row's metadata on the document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Document {
    /// None, for example because they are not JSON.
    Unsaid,
    /// The document is removed.
    Removed,
    Set(String),
}

/// The state of an id's vector according to the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Vector {
    None,
    Deleted,
    Written(Written),
    /// Either, since the log does not start with the id's first row.
    Unknown,
}

/// The document of each record.
pub(super) type Records = BTreeMap<Vec<u8>, Option<String>>;

/// The records after the rows that are not applied to the metadata segment; all rows if the mark is `None`.
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

/// The vector of an id that is in no index.
pub(super) fn vector(rows: &[Row], id: &[u8]) -> Vector {
    let mut vector = Vector::None;
    for row in rows.iter().filter(|row| row.id == id) {
        vector = match (row.operation, &row.vector, vector) {
            (3, _, _) => Vector::Deleted,
            (_, None, before) => before,
            (2, Some(written), _) => Vector::Written(written.clone()),
            // If an UPDATE is the first row of the id, it is unknown whether the record existed.
            (1, Some(_), Vector::None) => Vector::Unknown,
            (1, Some(_), before @ (Vector::Deleted | Vector::Unknown)) => before,
            (1, Some(written), Vector::Written(_)) => Vector::Written(written.clone()),
            (0, Some(written), Vector::None | Vector::Deleted) => Vector::Written(written.clone()),
            // An ADD of an existing id has no effect.
            (_, Some(_), before) => before,
        };
    }
    vector
}
