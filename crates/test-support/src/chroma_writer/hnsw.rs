//! The files of an index (FORMAT §6, §7), written sequentially.
//!
//! All elements are on the lowest level, and element i is linked to i ± 1, 2, 4, … 32,768: every element can be reached from
//! every other in few steps, so that a search that visits all of them finds the nearest. hnswlib visits at least `ef_search`
//! of them.

use std::{
    fs::{self, File},
    io::{BufWriter, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use records::DistanceSpace;

/// Neighbours above the lowest level, Chroma's default; on the lowest level an element can have twice as many.
pub(super) const M: u64 = 16;
const MAX_M0: u64 = 2 * M;
/// As in a new collection's schema.
pub(super) const EF_CONSTRUCTION: u64 = 100;
/// The farthest neighbours are this many elements away.
const FARTHEST: u64 = 1 << (M - 1);
/// Count, flags and neighbours of an element, before its vector.
const LINKS_BYTES: u64 = 4 + 4 * MAX_M0;

/// An index that is being written.
pub(super) struct IndexWriter {
    folder: PathBuf,
    space: DistanceSpace,
    dimension: usize,
    level0: BufWriter<File>,
    lengths: BufWriter<File>,
    count: u64,
}

impl IndexWriter {
    /// Creates the folder of the segment.
    pub(super) fn create(folder: &Path, space: DistanceSpace, dimension: usize) -> Self {
        fs::create_dir(folder).expect("the index's folder can be made");
        let create = |name: &str| {
            let file = File::create_new(folder.join(name)).expect("the index's file can be made");
            BufWriter::with_capacity(1 << 20, file)
        };
        let (level0, lengths) = (create("data_level0.bin"), create("length.bin"));
        Self { folder: folder.to_owned(), space, dimension, level0, lengths, count: 0 }
    }

    /// Adds an element with the next label; labels start at 1.
    pub(super) fn push(&mut self, vector: &[f32]) {
        assert_eq!(vector.len(), self.dimension, "all vectors of a collection have its dimension");
        // hnswlib's `normalize_vector`. For other spaces the length is uninitialised memory.
        let (scale, length) = match self.space {
            DistanceSpace::Cosine => {
                let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                (Some(1.0 / (length + 1e-30)), length)
            }
            DistanceSpace::L2 | DistanceSpace::InnerProduct => (None, 0.0),
        };
        let mut element = links(self.count, u64::MAX);
        element.extend(vector.iter().flat_map(|x| scale.map_or(*x, |scale| x * scale).to_le_bytes()));
        self.count += 1;
        element.extend(self.count.to_le_bytes());
        put(&mut self.level0, &element);
        put(&mut self.lengths, &length.to_le_bytes());
    }

    /// Writes the parts that need the number of elements. `each_id` calls its argument with every id and its label, in the
    /// same order each time.
    pub(super) fn finish(mut self, mut each_id: impl FnMut(&mut dyn FnMut(&str, i64))) {
        // Now it is known which neighbours do not exist.
        for element in self.count.saturating_sub(FARTHEST)..self.count {
            let at = SeekFrom::Start(element * self.element_bytes());
            self.level0.seek(at).expect("the file seeks");
            put(&mut self.level0, &links(element, self.count));
        }
        self.level0.flush().expect("the file can be written");
        self.lengths.flush().expect("the file can be written");
        fs::write(self.folder.join("header.bin"), self.header()).expect("the file can be written");
        // No element has neighbours above the lowest level.
        let link_lists = File::create_new(self.folder.join("link_lists.bin"));
        let sizes = link_lists.and_then(|file| file.set_len(4 * self.count));
        sizes.expect("the file can be made of zeros");

        let file = File::create_new(self.folder.join("index_metadata.pickle"));
        let mut pickle = BufWriter::with_capacity(1 << 20, file.expect("the pickle can be made"));
        // Protocol 3, a dict of dicts without memo, as written by the crate serde_pickle.
        put(&mut pickle, b"\x80\x03}(");
        put_text(&mut pickle, "dimensionality");
        put(&mut pickle, b"N");
        put_text(&mut pickle, "total_elements_added");
        put_int(&mut pickle, i64::try_from(self.count).expect("a count"));
        put_text(&mut pickle, "max_seq_id");
        put(&mut pickle, b"N");
        put_text(&mut pickle, "id_to_label");
        put(&mut pickle, b"}(");
        each_id(&mut |id, label| {
            put_text(&mut pickle, id);
            put_int(&mut pickle, label);
        });
        put(&mut pickle, b"u");
        put_text(&mut pickle, "label_to_id");
        put(&mut pickle, b"}(");
        each_id(&mut |id, label| {
            put_int(&mut pickle, label);
            put_text(&mut pickle, id);
        });
        put(&mut pickle, b"u");
        put_text(&mut pickle, "id_to_seq_id");
        put(&mut pickle, b"}u.");
        pickle.flush().expect("the pickle can be written");
    }

    fn label_offset(&self) -> u64 {
        LINKS_BYTES + 4 * self.dimension as u64
    }

    fn element_bytes(&self) -> u64 {
        self.label_offset() + 8
    }

    fn header(&self) -> Vec<u8> {
        let version = 1_i32.to_le_bytes();
        let level0_offset = 0;
        let numbers =
            [level0_offset, self.count, self.count, self.element_bytes(), self.label_offset(), LINKS_BYTES];
        let (max_level, entry_point) = (0_i32.to_le_bytes(), 0_u32.to_le_bytes());
        let multiplier = (1.0 / (M as f64).ln()).to_le_bytes();
        let mut header = version.to_vec();
        header.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        header.extend([max_level, entry_point].concat());
        header.extend([M, MAX_M0, M].iter().flat_map(|number| number.to_le_bytes()));
        header.extend(multiplier);
        header.extend(EF_CONSTRUCTION.to_le_bytes());
        header
    }
}

/// The links of an element among `count`, padded to the full length.
fn links(element: u64, count: u64) -> Vec<u8> {
    let distances = || (0..M).map(|power| 1_u64 << power);
    let before = distances().filter_map(|distance| element.checked_sub(distance));
    let behind = distances().map(|distance| element + distance).filter(|neighbour| *neighbour < count);
    let neighbours: Vec<u64> = before.chain(behind).collect();
    // Two bytes for the count, a byte of flags (deleted), and an unused one.
    let mut links = u32::try_from(neighbours.len()).expect("a few neighbours").to_le_bytes().to_vec();
    let numbers = neighbours.iter().map(|neighbour| u32::try_from(*neighbour).expect("hnswlib's numbers"));
    links.extend(numbers.flat_map(u32::to_le_bytes));
    links.resize(LINKS_BYTES as usize, 0);
    links
}

fn put_text(pickle: &mut impl Write, text: &str) {
    put(pickle, b"X");
    put(pickle, &u32::try_from(text.len()).expect("an id below 4 GB").to_le_bytes());
    put(pickle, text.as_bytes());
}

fn put_int(pickle: &mut impl Write, number: i64) {
    put(pickle, b"J");
    put(pickle, &i32::try_from(number).expect("below two billion elements").to_le_bytes());
}

fn put(file: &mut impl Write, bytes: &[u8]) {
    file.write_all(bytes).expect("the index can be written");
}
