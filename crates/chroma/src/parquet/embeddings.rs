//! `chroma-embeddings.parquet`: one row for each live record of any collection (FORMAT §13).

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    path::Path,
};

use parquet::data_type::{ByteArrayType, DoubleType};

use super::{
    column::{Column, List},
    file::{ListColumn, ParquetFile, TextColumn},
    pages::Use,
};
use crate::{error::Error, fault::ParquetFault};

pub(crate) const EMBEDDINGS: &str = "chroma-embeddings.parquet";

/// Owners read at once; they are short, and mostly equal.
const OWNERS_PER_BATCH: u64 = 4096;

/// The open file, and the rows of each owner.
pub(super) struct Embeddings {
    pub(super) file: ParquetFile,
    columns: Columns,
    /// Rows by stored `collection_uuid`; rows without one have an empty owner.
    rows: HashMap<Box<[u8]>, Rows>,
}

#[derive(Clone, Copy)]
struct Columns {
    owner: TextColumn,
    id: TextColumn,
    embedding: ListColumn,
    document: TextColumn,
    metadata: TextColumn,
}

/// The rows of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) count: u64,
    /// In the file's order.
    pub(super) runs: Vec<Run>,
}

/// Consecutive rows of one owner in one row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) group: usize,
    /// The first row, counted from the beginning of the group.
    pub(super) first: u64,
    pub(super) count: u64,
}

/// The columns of records, of one row group.
pub(super) struct RecordColumns {
    pub(super) id: Column<ByteArrayType>,
    pub(super) embedding: Column<DoubleType>,
    pub(super) document: Column<ByteArrayType>,
    pub(super) metadata: Column<ByteArrayType>,
}

impl Embeddings {
    /// Opens the file and reads the owner of each row; `None` if it does not exist.
    pub(super) fn open(root: &File, directory: &Path) -> Result<Option<Self>, Error> {
        let Some(file) = ParquetFile::open(root, directory, EMBEDDINGS, Use::Passed)? else {
            return Ok(None);
        };
        let columns = Columns {
            owner: file.texts("collection_uuid")?,
            id: file.texts("id")?,
            embedding: file.lists("embedding")?,
            document: file.texts("document")?,
            metadata: file.texts("metadata")?,
        };
        let mut embeddings = Self { file, columns, rows: HashMap::new() };
        embeddings.rows = embeddings.scan_owners()?;
        Ok(Some(embeddings))
    }

    /// The rows of a collection.
    pub(super) fn rows(&self, owner: &[u8]) -> Option<&Rows> {
        self.rows.get(owner)
    }

    /// All owners of rows.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&[u8], &Rows)> {
        self.rows.iter().map(|(owner, rows)| (&**owner, rows))
    }

    pub(super) fn open_group(&self, group: usize) -> Result<RecordColumns, Error> {
        let Columns { owner: _, id, embedding, document, metadata } = self.columns;
        self.file.decode("the records", || {
            Ok(RecordColumns {
                id: self.file.open_texts(group, id)?,
                embedding: self.file.open_lists(group, embedding)?,
                document: self.file.open_texts(group, document)?,
                metadata: self.file.open_texts(group, metadata)?,
            })
        })
    }

    /// The dimension of the first vector of each owner. Vectors that cannot be decoded are left out; the read of the
    /// records reports them.
    pub(super) fn first_dimensions(&self) -> HashMap<Box<[u8]>, usize> {
        self.file.begin_operation();
        let mut groups: BTreeMap<usize, Vec<(u64, &[u8])>> = BTreeMap::new();
        for (owner, rows) in self.owners() {
            if let Some(run) = rows.runs.first() {
                groups.entry(run.group).or_default().push((run.first, owner));
            }
        }
        let mut dimensions = HashMap::new();
        for (group, mut firsts) in groups {
            firsts.sort_unstable();
            // The read of the records decodes it again and reports the error.
            let _unreadable = self.file.decode("the first vectors", || {
                let mut column = self.file.open_lists(group, self.columns.embedding)?;
                for (first, owner) in firsts {
                    column.read(first, 1)?;
                    if let Some(List::Values(values)) = column.lists().next()
                        && !values.is_empty()
                    {
                        dimensions.insert(owner.into(), values.len());
                    }
                }
                Ok(())
            });
        }
        dimensions
    }

    /// The ids of the first records of `rows`, at most `limit`; fewer if they cannot be decoded.
    pub(super) fn first_ids(&self, rows: &Rows, limit: usize) -> Vec<Box<[u8]>> {
        self.file.begin_operation();
        let mut ids: Vec<Box<[u8]>> = Vec::new();
        for runs in rows.runs.chunk_by(|a, b| a.group == b.group) {
            // Only examples for a warning, which also has the number of records.
            let _undecodable = self.file.decode("the ids", || {
                let Some(Run { group, .. }) = runs.first() else { return Ok(()) };
                let mut column = self.file.open_texts(*group, self.columns.id)?;
                for run in runs {
                    match (limit - ids.len()) as u64 {
                        0 => break,
                        missing => column.read(run.first, run.count.min(missing) as usize)?,
                    }
                    ids.extend(column.texts().map(|id| id.unwrap_or_default().into()));
                }
                Ok(())
            });
            if ids.len() >= limit {
                break;
            }
        }
        ids
    }

    fn scan_owners(&self) -> Result<HashMap<Box<[u8]>, Rows>, Error> {
        self.file.decode("the collections of the records", || {
            let mut owners: HashMap<Box<[u8]>, Rows> = HashMap::new();
            for (group, count) in self.file.row_groups().enumerate() {
                let mut column = self.file.open_texts(group, self.columns.owner)?;
                let mut first = 0;
                while first < count {
                    let batch = (count - first).min(OWNERS_PER_BATCH);
                    column.read(first, batch as usize)?;
                    for (row, owner) in (first..).zip(column.texts()) {
                        // A row without an owner counts under the empty name, which no collection has.
                        add_owner(&mut owners, owner.unwrap_or_default(), group, row);
                    }
                    first += batch;
                }
            }
            Ok(owners)
        })
    }
}

impl RecordColumns {
    /// Decodes rows, which must not be before the end of the previous ones.
    pub(super) fn read(&mut self, first: u64, count: usize) -> Result<(), ParquetFault> {
        self.id.read(first, count)?;
        self.embedding.read(first, count)?;
        self.document.read(first, count)?;
        self.metadata.read(first, count)
    }
}

fn add_owner(owners: &mut HashMap<Box<[u8]>, Rows>, owner: &[u8], group: usize, row: u64) {
    if !owners.contains_key(owner) {
        owners.insert(owner.into(), Rows::default());
    }
    let Some(rows) = owners.get_mut(owner) else { return };
    rows.count += 1;
    match rows.runs.last_mut() {
        Some(run) if run.group == group && run.first + run.count == row => run.count += 1,
        _ => rows.runs.push(Run { group, first: row, count: 1 }),
    }
}
