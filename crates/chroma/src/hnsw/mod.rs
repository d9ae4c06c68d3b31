//! The flushed HNSW index of one collection: id to vector (FORMAT §6, §7).
//!
//! Vectors are read one at a time with `pread`, not mapped: a live writer may truncate the file under us, which
//! a read reports as an error and a mapping as a signal. Memory holds the ids and their element numbers.

mod files;
mod header;
mod persistent_data;
mod pickle;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
};

use records::DistanceSpace;
use uuid::Uuid;

use files::{HEADER, LENGTH, LEVEL0, PICKLE, SegmentDirectory, read_at_most};
pub(crate) use files::{Stamp, stamp};
use header::{Header, HeaderError};
use persistent_data::{PersistentData, PersistentDataError};

/// A pickle has about 25 bytes and an id per record, so this is some twenty million records.
const LARGEST_PICKLE_BYTES: u64 = 1 << 30;

/// How much of `data_level0.bin` is read at once when looking for labels.
const SCAN_BYTES: usize = 1 << 20;

/// Elements of a cosine index that are checked for being unit vectors.
const CHECKED_ELEMENTS: u32 = 1000;

/// How far from 1 the squared norm of a unit vector may be: f32 rounding over thousands of components.
const UNIT_TOLERANCE: f64 = 1e-3;

/// What the directory has of an index.
pub(crate) enum Load {
    /// Nothing was ever flushed: all vectors are in the log.
    NeverFlushed,
    /// It was flushed and cannot be read.
    Lost(IndexError),
    /// It can be read.
    Loaded(Index),
}

/// An index that can be asked for vectors.
#[derive(Debug)]
pub(crate) struct Index {
    elements: HashMap<Box<[u8]>, u32>,
    vectors: Option<VectorFiles>,
    /// The last sequence number in the index, where Chroma ≤ 0.5.5 kept it.
    pub(crate) max_seq_id: Option<i64>,
    /// What is wrong with the files without making them unreadable.
    pub(crate) faults: Faults,
}

/// Contradictions in index files, counted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Ids of the pickle whose element is not in the file.
    pub(crate) unreachable_ids: HashSet<Box<[u8]>>,
    /// Elements that are marked deleted though the pickle has their label.
    pub(crate) deleted_but_mapped: u64,
    /// Elements that share their label with an earlier one.
    pub(crate) duplicate_labels: u64,
    /// Whether the space is declared `cosine` but the vectors are not of length 1.
    pub(crate) not_unit_vectors: bool,
}

/// A vector from the index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IndexedVector {
    pub(crate) components: Vec<f32>,
    /// Whether it is unit vector times length, and so only close to what was written.
    pub(crate) rounded: bool,
}

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("expected its directory, found none")]
    NoDirectory,
    #[error("expected `{0}`, found none")]
    NoFile(&'static str),
    #[error("failed to read `{file}`")]
    Io {
        file: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("expected `index_metadata.pickle` to have content, found 0 bytes")]
    EmptyPickle,
    #[error("failed to decode `index_metadata.pickle`")]
    PersistentData(#[source] PersistentDataError),
    #[error("failed to decode `header.bin`")]
    Header(#[source] HeaderError),
}

#[derive(Debug)]
struct VectorFiles {
    level0: File,
    /// `length.bin`, where the vectors are unit vectors.
    lengths: Option<File>,
    header: Header,
}

/// Loads the index of `segment`. `flushed` says that `max_seq_id` has a row for it.
pub(crate) fn load(root: &File, segment: Uuid, space: DistanceSpace, flushed: bool) -> Load {
    let attempt = || -> Result<Option<Index>, IndexError> {
        let directory = SegmentDirectory::open(root, segment).map_err(io_error("the segment's directory"))?;
        let Some(directory) = directory else {
            return if flushed { Err(IndexError::NoDirectory) } else { Ok(None) };
        };
        let Some(pickle) = directory.file(PICKLE).map_err(io_error(PICKLE))? else {
            return if flushed { Err(IndexError::NoFile(PICKLE)) } else { Ok(None) };
        };
        let pickle = read_at_most(pickle, LARGEST_PICKLE_BYTES).map_err(io_error(PICKLE))?;
        if pickle.is_empty() {
            return Err(IndexError::EmptyPickle);
        }
        let persistent_data = PersistentData::decode(&pickle).map_err(IndexError::PersistentData)?;
        Index::load(&directory, persistent_data, space).map(Some)
    };
    match attempt() {
        Ok(Some(index)) => Load::Loaded(index),
        Ok(None) => Load::NeverFlushed,
        Err(error) => Load::Lost(error),
    }
}

impl Index {
    fn load(
        directory: &SegmentDirectory,
        persistent_data: PersistentData<'_>,
        space: DistanceSpace,
    ) -> Result<Self, IndexError> {
        let max_seq_id = persistent_data.max_seq_id;
        let mut index =
            Self { elements: HashMap::new(), vectors: None, max_seq_id, faults: Faults::default() };
        if persistent_data.id_to_label.is_empty() {
            return Ok(index);
        }
        let open = |name| directory.file(name).map_err(io_error(name))?.ok_or(IndexError::NoFile(name));
        let header = read_at_most(open(HEADER)?, header::SIZE_BYTES as u64).map_err(io_error(HEADER))?;
        let header = Header::decode(&header).map_err(IndexError::Header)?;
        let level0 = open(LEVEL0)?;
        let scan = Scan::run(&level0, &header, &persistent_data).map_err(io_error(LEVEL0))?;

        let is_cosine = space == DistanceSpace::Cosine;
        index.faults = Faults {
            unreachable_ids: HashSet::new(),
            deleted_but_mapped: scan.deleted_but_mapped,
            duplicate_labels: scan.duplicate_labels,
            not_unit_vectors: is_cosine && scan.not_unit > 0,
        };
        // Bytes beat declarations (FORMAT §8): vectors that are not unit vectors were never divided by a length.
        let is_normalised = is_cosine && scan.not_unit <= scan.checked / 2;
        let lengths = if is_normalised { Some(open(LENGTH)?) } else { None };
        for (id, label) in persistent_data.id_to_label {
            match scan.elements.get(&label) {
                Some(element) => drop(index.elements.insert(id.into(), *element)),
                None => drop(index.faults.unreachable_ids.insert(id.into())),
            }
        }
        index.vectors = Some(VectorFiles { level0, lengths, header });
        Ok(index)
    }

    /// Whether the id was in the index when it was flushed, even if its element is gone from the file.
    pub(crate) fn contains(&self, id: &[u8]) -> bool {
        self.elements.contains_key(id) || self.faults.unreachable_ids.contains(id)
    }

    /// The vector of an id, `None` if the index does not have it.
    pub(crate) fn vector(&self, id: &[u8]) -> io::Result<Option<IndexedVector>> {
        match (self.elements.get(id), &self.vectors) {
            (Some(element), Some(vectors)) => vectors.read(*element).map(Some),
            _ => Ok(None),
        }
    }
}

impl VectorFiles {
    fn read(&self, element: u32) -> io::Result<IndexedVector> {
        let element = u64::from(element);
        let mut bytes = vec![0; self.header.label_offset - self.header.vector_offset];
        // Both factors fit 32 bits.
        let offset = element * self.header.element_size as u64 + self.header.vector_offset as u64;
        self.level0.read_exact_at(&mut bytes, offset)?;
        let mut components = components(&bytes);
        if let Some(lengths) = &self.lengths {
            let mut length = [0; 4];
            lengths.read_exact_at(&mut length, element * 4)?;
            let length = f32::from_le_bytes(length);
            components.iter_mut().for_each(|component| *component *= length);
        }
        Ok(IndexedVector { components, rounded: self.lengths.is_some() })
    }
}

/// Little-endian f32 components of bytes whose length is a multiple of 4.
pub(crate) fn components(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|component| f32::from_le_bytes(*component)).collect()
}

/// One pass over `data_level0.bin`, which knows labels only by element.
#[derive(Default)]
struct Scan {
    /// Element of each label that the pickle has.
    elements: HashMap<u64, u32>,
    deleted_but_mapped: u64,
    duplicate_labels: u64,
    /// Live elements whose norm was looked at, and those of them that are neither unit vectors nor zero.
    checked: u32,
    not_unit: u32,
}

impl Scan {
    fn run(level0: &File, header: &Header, persistent_data: &PersistentData<'_>) -> io::Result<Self> {
        // Labels of the pickle only: what is found then grows with the pickle, not with what level0 claims.
        let live: HashSet<u64> = persistent_data.id_to_label.values().copied().collect();
        let mut scan = Self::default();
        let whole_elements = level0.metadata()?.len() / header.element_size as u64;
        let count = u64::from(header.element_count).min(whole_elements);
        let per_block = (SCAN_BYTES / header.element_size).max(1);
        let mut block = vec![0; per_block * header.element_size];
        let mut first = 0;
        while first < count {
            let elements = (count - first).min(per_block as u64);
            // At most `block.len()`, since `elements` is at most `per_block`.
            let bytes = block.get_mut(..elements as usize * header.element_size).unwrap_or_default();
            level0.read_exact_at(bytes, first * header.element_size as u64)?;
            for (element, number) in bytes.chunks_exact(header.element_size).zip(first..) {
                scan.element(element, number as u32, header, &live);
            }
            first += elements;
        }
        Ok(scan)
    }

    fn element(&mut self, element: &[u8], number: u32, header: &Header, live: &HashSet<u64>) {
        let Some((vector, label)) =
            element.get(header.vector_offset..).and_then(|tail| tail.split_last_chunk())
        else {
            return;
        };
        let label = u64::from_le_bytes(*label);
        if !live.contains(&label) {
            return;
        }
        // Byte 2 bit 0 of an element is its deleted mark; the pickle's word counts (FORMAT §6).
        let is_deleted = element.get(2).is_some_and(|flags| flags & 1 == 1);
        self.deleted_but_mapped += u64::from(is_deleted);
        if self.elements.insert(label, number).is_some() {
            self.duplicate_labels += 1;
        }
        if self.checked < CHECKED_ELEMENTS {
            self.checked += 1;
            let norm: f64 = components(vector).iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
            let is_unit = (norm - 1.0).abs() <= UNIT_TOLERANCE;
            self.not_unit += u32::from(norm != 0.0 && !is_unit);
        }
    }
}

fn io_error(file: &'static str) -> impl Fn(io::Error) -> IndexError {
    move |source| IndexError::Io { file, source }
}

#[cfg(test)]
mod tests;
