//! The flushed HNSW index of one collection: id to vector (FORMAT §6, §7).
//!
//! Memory holds the ids and the positions of their vectors: 35 bytes a record if ids are UUIDs, and about twelve more
//! during loading. Vectors are read on demand.

mod files;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod header;
mod labels;
mod layout;
mod persistent_data;
mod pickle;
mod vectors;
mod window;

use std::{
    error::Error as _,
    fs::File,
    io,
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::{
    bits::Bits,
    ids::{IdTable, IdText},
};
pub(crate) use files::LEVEL0;
pub(crate) use files::stamp;
use files::{HEADER, LENGTH, PICKLE, SegmentDirectory, read_at_most, size_at_most};
use header::{Header, HeaderError};
pub(crate) use labels::Labels;
use labels::{Element, Elements, LabelOrder, Scan};
use persistent_data::{PersistentData, PersistentDataError};
use vectors::VectorFiles;

/// A pickle has about 25 bytes and an id per record, so this is about twenty million records.
const MAX_PICKLE_BYTES: u32 = 1 << 30;

/// Which vectors of an index are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Normalisation {
    /// None: `l2` and `ip`.
    None,
    /// All: `cosine`.
    All,
    /// Those of length 1: two versions of Chroma disagreed about the space.
    Mixed,
}

/// Properties of an index according to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) normalisation: Normalisation,
    /// Dimension of its vectors.
    pub(crate) dimension: Option<usize>,
}

/// The state of an index in the directory.
pub(crate) enum Load {
    /// Nothing was flushed: all vectors are in the log.
    NeverFlushed,
    /// It was flushed, and its files are missing or damaged. Contains the readable part of its list of ids.
    Lost(IndexError, Labels),
    /// Its files cannot be accessed, so their state is unknown.
    Unreadable(IndexError),
    /// It was loaded.
    Loaded(Index),
}

/// A loaded index.
#[derive(Debug)]
pub(crate) struct Index {
    ids: IdTable,
    elements: Elements,
    /// By the numbers of the ids, if lengths exist: the factors of [unit vectors](Elements::units).
    lengths: Option<Vec<f32>>,
    /// The numbers of the ids whose vectors were read.
    vectors_read: Bits,
    /// The number of the id that will probably be read next.
    next: usize,
    /// Whether the list of ids does not come from the pickle.
    salvaged: bool,
    vectors: Option<VectorFiles>,
    /// The last sequence number in the index, where Chroma ≤ 0.5.5 stored it.
    pub(crate) max_seq_id: Option<i64>,
    /// Problems that do not prevent reading.
    pub(crate) faults: Faults,
}

/// Counts of contradictions in index files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Ids of the pickle whose element or length is missing in the files.
    pub(crate) unreachable_ids: u64,
    /// Elements that are marked deleted although the pickle has their label.
    pub(crate) deleted_but_mapped: u64,
    /// Elements that share their label with an earlier one.
    pub(crate) duplicate_labels: u64,
    /// Whether the header is lost, and the layout was inferred.
    pub(crate) no_header: bool,
    /// Whether the vectors are unit vectors and the file of their lengths is lost.
    pub(crate) no_lengths: bool,
    /// Whether the space is declared `cosine` but the vectors are not unit vectors.
    pub(crate) not_unit_vectors: bool,
}

/// A vector from the index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct IndexedVector {
    pub(crate) components: Vec<f32>,
    /// Whether it is unit vector times length, and so only close to what was written.
    pub(crate) rounded: bool,
    /// Whether the list of ids was lost, and the id of this vector was inferred.
    pub(crate) salvaged: bool,
}

/// The maximum difference of the same vector in log and cosine index, relative to the largest component: unit vector
/// times length is off by 2 ulp, about 2e-7.
const SAME_VECTOR_TOLERANCE: f32 = 1e-5;

impl IndexedVector {
    /// Whether it equals the vector of the log row.
    pub(crate) fn is_same(&self, written: &[f32]) -> bool {
        let pairs = || written.iter().zip(&self.components);
        let same_length = written.len() == self.components.len();
        if !self.rounded {
            return same_length && pairs().all(|(a, b)| a.to_bits() == b.to_bits());
        }
        let largest = written.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        same_length && pairs().all(|(a, b)| (a - b).abs() <= SAME_VECTOR_TOLERANCE * largest)
    }
}

/// Why an index cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("expected its directory, found none")]
    NoDirectory,
    #[error("failed to open its directory")]
    NoAccess(#[source] io::Error),
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
    #[error("expected {expected} elements in `data_level0.bin`, found {found}")]
    Elements { expected: u32, found: u64 },
    #[error("expected each label once in `data_level0.bin`, found a duplicate")]
    SharedLabels,
    #[error("its files kept changing for {} seconds; stop the writer", waited.as_secs())]
    Unstable { waited: Duration },
}

/// Why an existing file cannot be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inaccessible {
    /// The file; `None` for the segment's directory.
    pub(crate) file: Option<&'static str>,
    /// The operating system's error code; `None` if it is not a regular file.
    pub(crate) code: Option<i32>,
}

impl IndexError {
    /// Why the files cannot be accessed; `None` if they can, and are missing or damaged.
    pub(crate) fn inaccessible(&self) -> Option<Inaccessible> {
        let file = match self {
            Self::NoAccess(_) => None,
            Self::Io { file, .. } => Some(*file),
            Self::PersistentData(_) => Some(PICKLE),
            _ => return None,
        };
        let causes = std::iter::successors(self.source(), |error| (*error).source());
        let mut io_errors = causes.filter_map(|error| error.downcast_ref::<io::Error>());
        let code = io_errors.find_map(inaccessible_code)?;
        Some(Inaccessible { file, code })
    }
}

/// The code of an operating system error that does not indicate damage; the inner `None` if it is not a regular file.
pub(crate) fn inaccessible_code(error: &io::Error) -> Option<Option<i32>> {
    match error.raw_os_error() {
        Some(code) => Some(Some(code)),
        None => (error.kind() == files::NOT_REGULAR_FILE).then_some(None),
    }
}

/// Loads the index of `segment`. `flushed` means that `max_seq_id` has a row for it.
pub(crate) fn load(root: &File, segment: Uuid, shape: Shape, flushed: bool) -> Load {
    let mut remains = Labels::default();
    let mut attempt = || -> Result<Option<Index>, IndexError> {
        let directory = SegmentDirectory::open(root, segment).map_err(IndexError::NoAccess)?;
        let Some(directory) = directory else {
            return if flushed { Err(IndexError::NoDirectory) } else { Ok(None) };
        };
        let Some(pickle) = directory.file(PICKLE).map_err(io_error(PICKLE))? else {
            return if flushed { Err(IndexError::NoFile(PICKLE)) } else { Ok(None) };
        };
        let size = size_at_most(&pickle, MAX_PICKLE_BYTES).map_err(io_error(PICKLE))?;
        if size == 0 {
            return Err(IndexError::EmptyPickle);
        }
        let persistent_data = PersistentData::decode(pickle, size).map_err(|(error, labels)| {
            remains = *labels;
            IndexError::PersistentData(error)
        })?;
        Index::load(&directory, persistent_data, shape).map(Some)
    };
    match attempt() {
        Ok(Some(index)) => Load::Loaded(index),
        Ok(None) => Load::NeverFlushed,
        Err(error) if error.inaccessible().is_some() => Load::Unreadable(error),
        Err(error) => Load::Lost(error, remains),
    }
}

/// Loads the index of `segment` with labels from another source than its own list.
pub(crate) fn load_labels(
    root: &File,
    segment: Uuid,
    shape: Shape,
    labels: Labels,
) -> Result<Index, IndexError> {
    let directory = open_directory(root, segment)?;
    let index = Index::load(&directory, PersistentData { labels, max_seq_id: None }, shape)?;
    Ok(Index { salvaged: true, ..index })
}

/// All labels of elements that are not marked deleted, ascending; an incomplete list is an error.
pub(crate) fn live_labels(root: &File, segment: Uuid) -> Result<Vec<u64>, IndexError> {
    let directory = open_directory(root, segment)?;
    let (header, level0) = directory.vectors()?;
    let found = level0.metadata().map_err(io_error(LEVEL0))?.len() / header.element_size as u64;
    if found < u64::from(header.element_count) {
        return Err(IndexError::Elements { expected: header.element_count, found });
    }
    let mut labels = Vec::new();
    Scan::run(&level0, &header, |element| {
        if !element.is_deleted {
            labels.push(element.label);
        }
        !element.is_deleted
    })
    .map_err(io_error(LEVEL0))?;
    labels.sort_unstable();
    let count = labels.len();
    labels.dedup();
    if labels.len() < count { Err(IndexError::SharedLabels) } else { Ok(labels) }
}

fn open_directory(root: &File, segment: Uuid) -> Result<SegmentDirectory, IndexError> {
    let directory = SegmentDirectory::open(root, segment).map_err(IndexError::NoAccess)?;
    directory.ok_or(IndexError::NoDirectory)
}

impl SegmentDirectory {
    fn required(&self, name: &'static str) -> Result<File, IndexError> {
        self.file(name).map_err(io_error(name))?.ok_or(IndexError::NoFile(name))
    }

    /// The layout and the file of vectors.
    fn vectors(&self) -> Result<(Header, File), IndexError> {
        let header =
            read_at_most(&self.required(HEADER)?, header::SIZE_BYTES as u32).map_err(io_error(HEADER))?;
        Ok((Header::decode(&header).map_err(IndexError::Header)?, self.required(LEVEL0)?))
    }
}

impl Index {
    fn load(
        directory: &SegmentDirectory,
        persistent_data: PersistentData,
        shape: Shape,
    ) -> Result<Self, IndexError> {
        let Shape { normalisation, dimension } = shape;
        let PersistentData { labels, max_seq_id } = persistent_data;
        let Labels { ids, labels } = labels.in_order();
        let mut index = Self { ids, ..Self::empty(max_seq_id) };
        if index.ids.len() == 0 {
            return Ok(index);
        }
        let (header, level0) = match (directory.vectors(), dimension) {
            (Ok(vectors), _) => vectors,
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) if error.inaccessible().is_some() => return Err(error),
            (Err(error), Some(dimension)) => {
                let level0 = directory.required(LEVEL0)?;
                let header = layout::deduce(&level0, dimension, &labels).map_err(io_error(LEVEL0))?;
                index.faults.no_header = true;
                index.salvaged = true;
                (header.ok_or(error)?, level0)
            }
        };
        let mut order = LabelOrder::new(labels);
        let is_unit = |element: Element<'_>| normalisation != Normalisation::Mixed || element.is_unit();
        let scan = Scan::run(&level0, &header, |element| order.record(element, is_unit));
        let scan = scan.map_err(io_error(LEVEL0))?;
        let (elements, duplicate_labels) = order.into_elements();
        index.elements = elements;

        let is_cosine = normalisation != Normalisation::None;
        index.faults.deleted_but_mapped = scan.deleted;
        index.faults.duplicate_labels = duplicate_labels;
        index.faults.not_unit_vectors = is_cosine && scan.not_unit > 0;
        // Vectors take precedence over declarations (FORMAT §8): vectors of other lengths were never normalised.
        let is_normalised = match normalisation {
            Normalisation::None => false,
            Normalisation::All => scan.not_unit <= scan.checked / 2,
            Normalisation::Mixed => true,
        };
        let lengths = directory.file(LENGTH).map_err(io_error(LENGTH))?.filter(|_| is_normalised);
        index.faults.no_lengths = is_normalised && lengths.is_none();
        if index.faults.no_lengths {
            index.elements.numbers.fill(Elements::ABSENT);
        }
        if let Some(file) = lengths {
            index.lengths = Some(index.elements.read_lengths(&file).map_err(io_error(LENGTH))?);
        }
        index.faults.unreachable_ids = index.unreachable().count() as u64;
        index.vectors = Some(VectorFiles::new(level0, header));
        Ok(index)
    }

    fn empty(max_seq_id: Option<i64>) -> Self {
        Self {
            ids: IdTable::default(),
            elements: Elements::default(),
            lengths: None,
            vectors_read: Bits::default(),
            next: 0,
            salvaged: false,
            vectors: None,
            max_seq_id,
            faults: Faults::default(),
        }
    }

    /// Whether its list of ids was lost, so that there may have been more.
    pub(crate) fn is_salvaged(&self) -> bool {
        self.salvaged
    }

    /// Whether the id was in the index when it was flushed, even if the file lacks its element.
    pub(crate) fn contains(&self, id: &[u8]) -> bool {
        self.ids.get(id).is_some()
    }

    /// Whether the index has the id but not its vector.
    pub(crate) fn is_unreachable(&self, id: &[u8]) -> bool {
        self.ids.get(id).is_some_and(|number| self.elements.get(number).is_none())
    }

    /// The ids in the index that have no vector in its files.
    pub(crate) fn unreachable_ids(&self) -> impl Iterator<Item = IdText<'_>> {
        self.unreachable().map(|number| self.ids.id(number))
    }

    fn unreachable(&self) -> impl Iterator<Item = usize> {
        (0..self.ids.len()).filter(|number| self.elements.get(*number).is_none())
    }

    /// How many ids have a vector.
    pub(crate) fn reachable(&self) -> usize {
        self.ids.len() - self.unreachable().count()
    }

    /// The ids in the index whose vectors were not read.
    pub(crate) fn unread_ids(&self) -> impl Iterator<Item = IdText<'_>> {
        (0..self.ids.len()).filter(|number| !self.vectors_read.get(*number)).map(|number| self.ids.id(number))
    }

    /// Marks all ids as not read.
    pub(crate) fn clear_read(&mut self) {
        self.vectors_read.clear();
    }

    /// The vector of an id; `None` if the index does not have it.
    pub(crate) fn vector(&mut self, id: &[u8]) -> io::Result<Option<IndexedVector>> {
        let Some(number) = self.ids.get_near(self.next, id) else { return Ok(None) };
        self.next = number + 1;
        self.vectors_read.set(number, true);
        let (Some(vectors), Some(element)) = (&mut self.vectors, self.elements.get(number)) else {
            return Ok(None);
        };
        let lengths = self.lengths.as_ref().filter(|_| self.elements.units.get(number));
        let length = lengths.and_then(|lengths| lengths.get(number)).copied();
        let components = vectors.read(element, length)?;
        Ok(Some(IndexedVector { components, rounded: length.is_some(), salvaged: self.salvaged }))
    }

    /// Size and time of the file of vectors, to detect a writer.
    pub(crate) fn stamp(&self) -> Option<(u64, SystemTime)> {
        self.vectors.as_ref().and_then(VectorFiles::stamp)
    }
}

/// Decodes little-endian f32 components; the length must be a multiple of 4.
pub(crate) fn components(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|component| f32::from_le_bytes(*component)).collect()
}

fn io_error(file: &'static str) -> impl Fn(io::Error) -> IndexError {
    move |source| IndexError::Io { file, source }
}

#[cfg(test)]
mod tests;
