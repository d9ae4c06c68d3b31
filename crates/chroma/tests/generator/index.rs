//! The files of an index (FORMAT §6, §7).

use std::{collections::BTreeMap, fs, path::Path};

use records::DistanceSpace;

use super::{Release, Row, Written, strategy::DIMENSION};

/// Capacity of an element for neighbours.
const MAX_M0: usize = 2;

/// The content of the index since the last flush.
#[derive(Default)]
pub(super) struct Index {
    elements: Vec<Element>,
    labels: BTreeMap<String, usize>,
}

struct Element {
    is_deleted: bool,
    vector: Vec<f32>,
    length: f32,
}

impl Element {
    /// Applies hnswlib's `normalize_vector` for cosine; other vectors are unchanged and have an arbitrary length.
    fn new(space: DistanceSpace, vector: &[f32]) -> Self {
        if space != DistanceSpace::Cosine {
            return Self { is_deleted: false, vector: vector.to_vec(), length: f32::NAN };
        }
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        let scale = 1.0 / (length + 1e-30);
        Self { is_deleted: false, vector: vector.iter().map(|x| x * scale).collect(), length }
    }
}

impl Index {
    /// Applies rows that were not flushed yet. A label is never reused; here it is the element's number plus 1.
    pub(super) fn apply<'r>(&mut self, space: DistanceSpace, rows: impl Iterator<Item = &'r Row>) {
        for row in rows {
            match (&row.vector, self.labels.get(&row.id).copied()) {
                (None, Some(label)) if row.operation == 3 => {
                    self.elements[label - 1].is_deleted = true;
                    self.labels.remove(&row.id);
                }
                (None, _) => {}
                (Some(vector), Some(label)) => self.elements[label - 1] = Element::new(space, vector),
                (Some(vector), None) => {
                    self.elements.push(Element::new(space, vector));
                    self.labels.insert(row.id.clone(), self.elements.len());
                }
            }
        }
    }

    /// Replaces the client's vectors by those that Chroma returns, for records whose vector is no longer in the log.
    pub(super) fn read_back(
        &self,
        space: DistanceSpace,
        mark: i64,
        log: &[Row],
        collection: usize,
        records: &mut BTreeMap<String, Written>,
    ) {
        if space != DistanceSpace::Cosine {
            return;
        }
        for (id, label) in &self.labels {
            let is_own = |row: &&Row| row.collection == collection && row.id == *id && row.seq_id > mark;
            let Some(record) = records.get_mut(id) else { continue };
            if log.iter().filter(is_own).all(|row| row.vector.is_none()) {
                let Element { vector, length, .. } = &self.elements[label - 1];
                record.vector = vector.iter().map(|x| x * length).collect();
            }
        }
    }

    /// Writes the four files, and one that must not be read.
    pub(super) fn write(&self, directory: &Path, collection: usize, release: Release, mark: i64) {
        let directory = directory.join(super::database::vector_segment(collection));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("header.bin"), self.header()).unwrap();
        fs::write(directory.join("data_level0.bin"), self.level0()).unwrap();
        let lengths: Vec<u8> =
            self.elements.iter().flat_map(|element| element.length.to_le_bytes()).collect();
        fs::write(directory.join("length.bin"), lengths).unwrap();
        fs::write(directory.join("link_lists.bin"), b"torn").unwrap();
        let pickle = match release {
            Release::First => self.object(mark),
            Release::Last => self.dict(),
        };
        fs::write(directory.join("index_metadata.pickle"), pickle).unwrap();
    }

    fn header(&self) -> Vec<u8> {
        let vector_offset = 4 + 4 * MAX_M0;
        let label_offset = vector_offset + 4 * DIMENSION;
        let mut header = vec![0; 100];
        header[0] = 1;
        let numbers = [
            (12, 1000),
            (20, self.elements.len()),
            (28, label_offset + 8),
            (36, label_offset),
            (44, vector_offset),
            (68, MAX_M0),
        ];
        for (at, number) in numbers {
            header[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        header
    }

    /// After the last element comes uninitialized memory.
    fn level0(&self) -> Vec<u8> {
        let mut level0 = Vec::new();
        for (number, element) in self.elements.iter().enumerate() {
            level0.extend([0, 0, u8::from(element.is_deleted), 0]);
            level0.resize(level0.len() + 4 * MAX_M0, 0xab);
            level0.extend(element.vector.iter().flat_map(|x| x.to_le_bytes()));
            level0.extend((number as u64 + 1).to_le_bytes());
        }
        level0.resize(level0.len() + 70, 1);
        level0
    }

    fn dict(&self) -> Vec<u8> {
        let mut pickle = b"\x80\x03}(".to_vec();
        put_text(&mut pickle, "dimensionality");
        pickle.push(b'N');
        put_text(&mut pickle, "label_to_id");
        pickle.extend(b"}(");
        for (id, label) in &self.labels {
            put_label(&mut pickle, *label);
            put_text(&mut pickle, id);
        }
        pickle.push(b'u');
        put_text(&mut pickle, "id_to_label");
        pickle.extend(b"}(");
        for (id, label) in &self.labels {
            put_text(&mut pickle, id);
            put_label(&mut pickle, *label);
        }
        pickle.push(b'u');
        put_text(&mut pickle, "max_seq_id");
        pickle.extend(b"Nu.");
        pickle
    }

    /// The equivalent of `pickle.dumps(persistent_data, 5)`.
    fn object(&self, mark: i64) -> Vec<u8> {
        let mut pickle = b"\x80\x05\x95\0\0\0\0\0\0\0\0".to_vec();
        pickle.extend(b"\x8c\x32chromadb.segment.impl.vector.local_persistent_hnsw\x94");
        pickle.extend(b"\x8c\x0ePersistentData\x94\x93\x94)\x81\x94}\x94(\x8c\x0amax_seq_id\x94");
        pickle.extend([&b"\x8a\x08"[..], &mark.to_le_bytes(), b"\x8c\x0bid_to_label\x94}\x94("].concat());
        for (id, label) in &self.labels {
            put_text(&mut pickle, id);
            pickle.push(0x94);
            put_label(&mut pickle, *label);
        }
        pickle.extend(b"u\x8c\x0blabel_to_id\x94}\x94(");
        // Memoised before the ids: module, name, class, object, state, two keys and the map.
        for (number, label) in self.labels.values().enumerate() {
            put_label(&mut pickle, *label);
            pickle.extend([b'h', 8 + number as u8]);
        }
        pickle.extend(b"uub.");
        pickle
    }
}

fn put_text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    pickle.extend(text.as_bytes());
}

fn put_label(pickle: &mut Vec<u8>, label: usize) {
    pickle.extend([b'K', u8::try_from(label).unwrap()]);
}
