//! Comparison of the storages' results.

use std::fmt::Write as _;

use serde_json::{Number, Value};
use store::storage::{CategoryCount, Hit, Insertion, Record, StorageError};

/// Tolerance for distances of f32 vectors, computed in f32 or in f64.
const TOLERANCE: f64 = 1e-5;

#[derive(Debug)]
pub(super) enum Answer {
    Insertions(Vec<Insertion>),
    Records(Vec<Record>),
    Updated(Option<Record>),
    Ids(Vec<String>),
    Count(u64),
    Categories(Vec<CategoryCount>),
    Hits { hits: Vec<Hit>, limit: usize },
    Error(StorageError),
}

impl Answer {
    /// The same, with floats in one notation.
    pub(super) fn plain(mut self) -> Self {
        let records: Vec<&mut Record> = match &mut self {
            Self::Insertions(list) => list
                .iter_mut()
                .filter_map(|one| match one {
                    Insertion::Stored(record) | Insertion::Unchanged(record) => Some(record),
                    _ => None,
                })
                .collect(),
            Self::Records(list) => list.iter_mut().collect(),
            Self::Updated(record) => record.iter_mut().collect(),
            Self::Hits { hits, .. } => hits.iter_mut().map(|hit| &mut hit.record).collect(),
            Self::Ids(_) | Self::Count(_) | Self::Categories(_) | Self::Error(_) => Vec::new(),
        };
        for record in records {
            record.metadata.values_mut().for_each(plain);
        }
        self
    }

    /// Whether it is not empty.
    pub(super) fn is_telling(&self) -> bool {
        match self {
            Self::Insertions(list) => !list.is_empty(),
            Self::Records(list) => !list.is_empty(),
            Self::Updated(record) => record.is_some(),
            Self::Ids(list) => !list.is_empty(),
            Self::Count(count) => *count > 0,
            Self::Categories(list) => !list.is_empty(),
            Self::Hits { hits, .. } => !hits.is_empty(),
            Self::Error(_) => false,
        }
    }
}

/// Floats in one notation. Each side keeps their value and writes it its own way: PostgreSQL 10000000000000000.0,
/// ChromaDB 1e+16.
fn plain(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            if let Some(float) = number.as_f64().and_then(Number::from_f64) {
                *number = float;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(plain),
        Value::Object(object) => object.values_mut().for_each(plain),
        _ => {}
    }
}

/// Compares the results of PostgreSQL and ChromaDB.
///
/// # Errors
/// The difference.
pub(super) fn compare(postgres: &Answer, chroma: &Answer) -> Result<(), String> {
    let is_same = match (postgres, chroma) {
        (Answer::Insertions(expected), Answer::Insertions(found)) => expected == found,
        (Answer::Records(expected), Answer::Records(found)) => expected == found,
        (Answer::Updated(expected), Answer::Updated(found)) => expected == found,
        (Answer::Ids(expected), Answer::Ids(found)) => expected == found,
        (Answer::Count(expected), Answer::Count(found)) => expected == found,
        (Answer::Categories(expected), Answer::Categories(found)) => expected == found,
        (Answer::Hits { hits: expected, limit }, Answer::Hits { hits: found, .. }) => {
            are_same_hits(expected, found, *limit)
        }
        _ => false,
    };
    if is_same { Ok(()) } else { Err(difference(postgres, chroma)) }
}

/// Records at equal distances may be in any order, and at the limit any of them may be missing.
fn are_same_hits(expected: &[Hit], found: &[Hit], limit: usize) -> bool {
    let is_near = |left: Option<f64>, right: Option<f64>| match (left, right) {
        (Some(left), Some(right)) => (left - right).abs() <= TOLERANCE,
        (left, right) => left == right,
    };
    let are_distances_same = expected.len() == found.len()
        && expected.iter().zip(found).all(|(expected, found)| is_near(expected.distance, found.distance));
    if !are_distances_same {
        return false;
    }
    let mut start = 0;
    for group in expected.chunk_by(|left, right| is_near(left.distance, right.distance)) {
        let end = start + group.len();
        let sorted = |hits: &[Hit]| {
            let mut records: Vec<Record> = hits.iter().map(|hit| hit.record.clone()).collect();
            records.sort_by(|left, right| left.id.cmp(&right.id));
            records
        };
        let is_cut = end == limit;
        if !is_cut && sorted(group) != sorted(&found[start..end]) {
            return false;
        }
        start = end;
    }
    true
}

/// The differing parts. Errors always count as differences: no operation here may fail.
fn difference(postgres: &Answer, chroma: &Answer) -> String {
    let lines = |answer: &Answer| -> Vec<String> {
        match answer {
            Answer::Insertions(list) => list.iter().map(|one| format!("{one:?}")).collect(),
            Answer::Records(list) => list.iter().map(|one| format!("{one:?}")).collect(),
            Answer::Ids(list) => list.clone(),
            Answer::Categories(list) => list.iter().map(|one| format!("{one:?}")).collect(),
            Answer::Hits { hits, .. } => {
                hits.iter().map(|hit| format!("{:?} {:?}", hit.distance, hit.record)).collect()
            }
            Answer::Error(error) => vec![format!("{error:?}")],
            Answer::Updated(_) | Answer::Count(_) => vec![format!("{answer:?}")],
        }
    };
    let (expected, found) = (lines(postgres), lines(chroma));
    let mut text = format!("PostgreSQL has {} lines, ChromaDB {}\n", expected.len(), found.len());
    for position in 0..expected.len().max(found.len()) {
        let (expected, found) = (expected.get(position), found.get(position));
        if expected != found {
            writeln!(text, "{position}: PostgreSQL {expected:?}\n{position}: ChromaDB   {found:?}")
                .expect("writing to a string cannot fail");
        }
    }
    text
}
