//! The files of one index: valid ones with a few changed bytes, so that the changes reach deep code.

use std::{
    fs::{self, File},
    path::Path,
};

use uuid::Uuid;

use super::{
    in_folder,
    pickle::{write_dict, write_object},
    source::Source,
};
use crate::hnsw::{self, Index, Load, Normalisation, Shape, fuzzing::Decoded};

const SEGMENT: Uuid = Uuid::from_u128(7);

/// The content of the files.
struct Model {
    dimension: usize,
    elements: Vec<Element>,
    labels: Vec<(Vec<u8>, u64)>,
}

struct Element {
    label: u64,
    is_deleted: bool,
    vector: Vec<f32>,
    length: f32,
}

/// Loads the index in each way and reads all of its vectors. Unchanged files must return what was written.
pub fn hnsw_files(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let model = Model::choose(&mut source);
    let max_m0 = u64::from(source.below(4));
    let decoded = Decoded { labels: model.labels.clone(), max_seq_id: Some(3) };
    let pickle = if source.one_in(2) { write_object(&decoded) } else { write_dict(&decoded) };
    let mut files = [model.header(max_m0), model.level0(max_m0), model.lengths(), pickle];
    let is_changed = change(&mut source, &mut files);
    in_folder(|folder| {
        let directory = folder.join(SEGMENT.to_string());
        fs::create_dir(&directory).expect("the folder is ours");
        for (name, content) in
            ["header.bin", "data_level0.bin", "length.bin", "index_metadata.pickle"].into_iter().zip(&files)
        {
            fs::write(directory.join(name), content).expect("the folder is ours");
        }
        for normalisation in [Normalisation::None, Normalisation::All, Normalisation::Mixed] {
            check(folder, normalisation, &files[0], (!is_changed).then_some(&model));
        }
    });
}

fn check(folder: &Path, normalisation: Normalisation, header: &[u8], model: Option<&Model>) {
    let root = File::open(folder).expect("the folder is ours");
    // With a dimension, a lost header is inferred; reading from the result must not panic.
    if let Load::Loaded(mut index) =
        hnsw::load(&root, SEGMENT, Shape { normalisation, dimension: Some(3) }, true)
    {
        let ids: Vec<Vec<u8>> = index.unread_ids().map(|id| id.to_vec()).collect();
        for id in &ids {
            let vector = index.vector(id);
            assert!(
                index.faults.no_header <= !matches!(vector, Ok(Some(found)) if found.components.len() != 3)
            );
        }
    }
    let shape = Shape { normalisation, dimension: None };
    let mut index = match hnsw::load(&root, SEGMENT, shape, true) {
        Load::Loaded(index) => index,
        Load::NeverFlushed => panic!("it was flushed"),
        Load::Unreadable(error) => panic!("the files are ours: {error}"),
        Load::Lost(error, remains) => {
            assert!(model.is_none(), "{error}");
            if let Ok(mut index) = hnsw::load_labels(&root, SEGMENT, shape, remains.clone()) {
                read_all_vectors(&mut index, header);
            }
            return;
        }
    };
    read_all_vectors(&mut index, header);
    if let Ok(labels) = hnsw::live_labels(&root, SEGMENT) {
        assert!(labels.is_sorted());
    }
    let Some(model) = model else { return };
    for (id, label) in &model.labels {
        // hnswlib's own map of labels keeps the last one.
        let element = model.elements.iter().rfind(|element| element.label == *label);
        let found = index.vector(id).expect("the files are whole");
        assert_eq!(found.is_some(), element.is_some(), "{id:?}");
        let (Some(element), Some(found)) = (element, found) else { continue };
        assert!(!found.rounded || normalisation != Normalisation::None);
        let scale = if found.rounded { element.length } else { 1.0 };
        let wanted: Vec<_> = element.vector.iter().map(|x| canonical(x * scale)).collect();
        let found: Vec<_> = found.components.iter().copied().map(canonical).collect();
        assert_eq!(found, wanted, "{id:?}");
    }
}

/// All NaNs are equal here: the processor chooses which one a multiplication returns.
fn canonical(component: f32) -> u32 {
    if component.is_nan() { f32::NAN.to_bits() } else { component.to_bits() }
}

/// Reads all vectors; each must have the dimension of the header.
fn read_all_vectors(index: &mut Index, header: &[u8]) {
    let number = |at: usize| header.get(at..at + 8).and_then(|rest| rest.first_chunk()).copied();
    let [label_offset, vector_offset] = [36, 44].map(|at| number(at).map_or(0, u64::from_le_bytes));
    let ids: Vec<Vec<u8>> = index.unread_ids().map(|id| id.to_vec()).collect();
    assert!(index.reachable() <= ids.len());
    for id in &ids {
        let vector = index.vector(id);
        assert_eq!(matches!(vector, Ok(None)), index.is_unreachable(id));
        if let Ok(Some(vector)) = vector {
            assert_eq!(vector.components.len() as u64, (label_offset - vector_offset) / 4);
        }
    }
    assert_eq!(index.unread_ids().count(), 0);
}

/// Truncates files and changes bytes; returns whether it did.
fn change(source: &mut Source<'_>, files: &mut [Vec<u8>; 4]) -> bool {
    let changes = source.below(6);
    for _ in 0..changes {
        let file = &mut files[usize::from(source.below(4))];
        let at = usize::from(source.u16()).checked_rem(file.len()).unwrap_or(0);
        match source.below(4) {
            0 => file.truncate(at),
            1 => file.resize((file.len() + at).min(1 << 16), 0),
            2 => {
                let number = source.u64().to_le_bytes();
                let end = file.len().min(at + 8);
                file[at..end].copy_from_slice(&number[..end - at]);
            }
            _ => {
                let byte = source.byte();
                file.iter_mut().skip(at).take(1).for_each(|place| *place = byte);
            }
        }
    }
    changes > 0
}

impl Model {
    fn choose(source: &mut Source<'_>) -> Self {
        let dimension = usize::from(source.below(6)) + 1;
        let is_cosine = source.one_in(2);
        let elements = (0..source.below(24)).map(|number| {
            let label = if source.one_in(8) { u64::from(source.below(24)) } else { u64::from(number) };
            let is_deleted = source.one_in(4);
            let mut vector: Vec<f32> = (0..dimension).map(|_| source.f32()).collect();
            let length = source.f32();
            if is_cosine {
                let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
                vector.iter_mut().for_each(|x| *x /= norm);
            }
            Element { label, is_deleted, vector, length }
        });
        let elements = elements.collect();
        let mut labels: Vec<(Vec<u8>, u64)> = Vec::new();
        for number in 0..source.below(24) {
            let id = if source.one_in(4) { source.bytes(3) } else { &[b'a' + number] };
            let label = if source.one_in(8) { source.u64() >> 1 } else { u64::from(source.below(24)) };
            match labels.iter_mut().find(|(known, _)| known == id) {
                Some((_, known)) => *known = label,
                None => labels.push((id.to_vec(), label)),
            }
        }
        Self { dimension, elements, labels }
    }

    fn header(&self, max_m0: u64) -> Vec<u8> {
        let mut header = vec![0; 100];
        header[0] = 1;
        let vector_offset = 4 + 4 * max_m0;
        let label_offset = vector_offset + 4 * self.dimension as u64;
        let count = self.elements.len() as u64;
        for (at, number) in [
            (12, 1000),
            (20, count),
            (28, label_offset + 8),
            (36, label_offset),
            (44, vector_offset),
            (68, max_m0),
        ] {
            header[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        header
    }

    fn level0(&self, max_m0: u64) -> Vec<u8> {
        let mut level0 = Vec::new();
        for element in &self.elements {
            level0.extend([0, 0, u8::from(element.is_deleted), 0]);
            level0.resize(level0.len() + 4 * max_m0 as usize, 0xab);
            level0.extend(element.vector.iter().flat_map(|x| x.to_le_bytes()));
            level0.extend(element.label.to_le_bytes());
        }
        level0
    }

    fn lengths(&self) -> Vec<u8> {
        self.elements.iter().flat_map(|element| element.length.to_le_bytes()).collect()
    }
}
