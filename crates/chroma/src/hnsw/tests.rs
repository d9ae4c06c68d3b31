//! A segment directory, complete and truncated at every byte.

use std::fs;

use tempfile::TempDir;

use super::{header::tests::header_bytes, *};

const SEGMENT: Uuid = Uuid::from_u128(7);

/// Two live elements `a`, `b` and a deleted one of dimension 3; an unused fourth element with arbitrary bytes.
fn segment(root: &TempDir) -> std::path::PathBuf {
    let directory = root.path().join(SEGMENT.to_string());
    fs::create_dir_all(&directory).unwrap();
    let mut level0 = Vec::new();
    for (label, deleted, vector) in [
        (1_u64, 0_u8, [0.6_f32, 0.8, 0.0]),
        (2, 1, [1.0, 0.0, 0.0]),
        (9, 0, [0.0, 0.0, 1.0]),
        (1, 0, [7.0; 3]),
    ] {
        level0.extend([0, 0, deleted, 0]);
        level0.extend([0xab; 8]);
        level0.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
        level0.extend(label.to_le_bytes());
    }
    fs::write(directory.join(LEVEL0), level0).unwrap();
    fs::write(directory.join(HEADER), header_bytes(3, 3)).unwrap();
    fs::write(
        directory.join(LENGTH),
        [2.0_f32, 1.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(
        directory.join(PICKLE),
        b"\x80\x03}X\x0b\0\0\0id_to_label}(X\x01\0\0\0aK\x01X\x01\0\0\0bK\x09us.",
    )
    .unwrap();
    directory
}

fn shape(normalisation: Normalisation) -> Shape {
    Shape { normalisation, dimension: None }
}

fn load_from(root: &TempDir, space: Normalisation) -> Load {
    load(&File::open(root.path()).unwrap(), SEGMENT, shape(space), true)
}

fn loaded(root: &TempDir, space: Normalisation) -> Index {
    match load_from(root, space) {
        Load::Loaded(index) => index,
        Load::Lost(error, _) | Load::Unreadable(error) => panic!("{error}"),
        Load::NeverFlushed => panic!("never flushed"),
    }
}

#[test]
fn vectors_are_found_by_label_and_scaled_under_cosine() {
    let root = TempDir::new().unwrap();
    segment(&root);
    let mut cosine = loaded(&root, Normalisation::All);
    assert_eq!(cosine.faults, Faults::default());
    assert_eq!(
        cosine.vector(b"b").unwrap(),
        Some(IndexedVector { components: vec![0.0, 0.0, 5.0], rounded: true, salvaged: false })
    );
    assert_eq!(cosine.vector(b"c").unwrap(), None);
    let mut l2 = loaded(&root, Normalisation::None);
    assert_eq!(
        l2.vector(b"a").unwrap(),
        Some(IndexedVector { components: vec![0.6, 0.8, 0.0], rounded: false, salvaged: false })
    );
}

#[test]
fn cosine_index_without_unit_vectors_is_read_unscaled() {
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    let mut level0 = fs::read(directory.join(LEVEL0)).unwrap();
    for element in level0.chunks_exact_mut(32) {
        element[12..16].copy_from_slice(&3.0_f32.to_le_bytes());
    }
    fs::write(directory.join(LEVEL0), level0).unwrap();
    let mut index = loaded(&root, Normalisation::All);
    assert!(index.faults.not_unit_vectors);
    assert_eq!(
        index.vector(b"b").unwrap(),
        Some(IndexedVector { components: vec![3.0, 0.0, 1.0], rounded: false, salvaged: false })
    );
}

#[test]
fn truncation_at_any_byte_is_lost_or_partial_but_never_a_panic() {
    for name in [HEADER, PICKLE, LEVEL0, LENGTH] {
        let root = TempDir::new().unwrap();
        let file = segment(&root).join(name);
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            match load_from(&root, Normalisation::All) {
                Load::Loaded(mut index) => {
                    assert!(name == LEVEL0 || name == LENGTH, "{name} {length}");
                    for id in [b"a", b"b"] {
                        let missing = index.is_unreachable(id);
                        assert!(index.contains(id));
                        assert!(!missing || index.vector(id).unwrap().is_none());
                    }
                }
                Load::Lost(..) => {}
                Load::NeverFlushed | Load::Unreadable(_) => panic!("{name} {length}"),
            }
        }
    }
}

#[test]
fn links_and_pipes_are_not_followed() {
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    let elsewhere = root.path().join("elsewhere");
    fs::rename(directory.join(PICKLE), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, directory.join(PICKLE)).unwrap();
    assert!(matches!(
        load_from(&root, Normalisation::None),
        Load::Unreadable(IndexError::Io { file: PICKLE, .. })
    ));
    fs::remove_file(directory.join(PICKLE)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, directory.join(PICKLE), rustix::fs::Mode::from_raw_mode(0o600))
        .unwrap();
    assert!(matches!(
        load_from(&root, Normalisation::None),
        Load::Unreadable(IndexError::Io { file: PICKLE, .. })
    ));
    fs::rename(&directory, elsewhere.with_extension("directory")).unwrap();
    std::os::unix::fs::symlink(elsewhere.with_extension("directory"), &directory).unwrap();
    assert!(matches!(load_from(&root, Normalisation::None), Load::Unreadable(IndexError::NoAccess(_))));
}

#[test]
fn sparse_file_of_any_size_is_rejected_or_read_in_bounded_memory() {
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    File::options().write(true).open(directory.join(PICKLE)).unwrap().set_len(1 << 40).unwrap();
    // STOP ends the pickle, but a file of this size is not read.
    assert!(matches!(
        load_from(&root, Normalisation::None),
        Load::Lost(IndexError::Io { file: PICKLE, .. }, _)
    ));
}

#[test]
fn absence_counts_as_loss_only_after_a_flush() {
    let root = TempDir::new().unwrap();
    let root_file = File::open(root.path()).unwrap();
    assert!(matches!(load(&root_file, SEGMENT, shape(Normalisation::None), false), Load::NeverFlushed));
    assert!(matches!(
        load(&root_file, SEGMENT, shape(Normalisation::None), true),
        Load::Lost(IndexError::NoDirectory, _)
    ));
    fs::remove_file(segment(&root).join(PICKLE)).unwrap();
    assert!(matches!(load(&root_file, SEGMENT, shape(Normalisation::None), false), Load::NeverFlushed));
    assert!(matches!(
        load(&root_file, SEGMENT, shape(Normalisation::None), true),
        Load::Lost(IndexError::NoFile(PICKLE), _)
    ));
}

/// Ids and elements that all have one label: their product would take 16 gigabytes.
#[test]
fn shared_labels_are_not_multiplied() {
    const COUNT: u32 = 30_000;
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    let mut pickle = b"\x80\x03}X\x0b\0\0\0id_to_label}(".to_vec();
    for id in 0..COUNT {
        pickle.extend([b"X\x04\0\0\0", &id.to_le_bytes()[..], b"K\x05"].concat());
    }
    pickle.extend(b"us.");
    fs::write(directory.join(PICKLE), pickle).unwrap();
    let element = [&[0; 12][..], &[0, 0, 0x80, 0x3f], &[0; 8], &5_u64.to_le_bytes()].concat();
    fs::write(directory.join(LEVEL0), element.repeat(COUNT as usize)).unwrap();
    fs::write(directory.join(HEADER), header_bytes(3, u64::from(COUNT))).unwrap();
    let mut index = loaded(&root, Normalisation::None);
    assert_eq!(index.faults.duplicate_labels, u64::from(COUNT) - 1);
    assert_eq!(index.reachable(), COUNT as usize);
    assert_eq!(index.vector(&7_u32.to_le_bytes()).unwrap().unwrap().components, [1.0, 0.0, 0.0]);
}

/// Elements of 16 MiB in a file with one: neither the scan nor a read takes more memory than that.
#[test]
fn large_elements_take_memory_in_proportion_to_the_file() {
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    fs::write(directory.join(HEADER), header_bytes((16 << 18) - 5, 1 << 31)).unwrap();
    let mut index = loaded(&root, Normalisation::None);
    assert_eq!(index.faults.unreachable_ids, 2);
    File::options().write(true).open(directory.join(LEVEL0)).unwrap().set_len(1 << 43).unwrap();
    index = loaded(&root, Normalisation::None);
    assert_eq!(index.vector(b"a").unwrap(), None);
}

#[test]
fn lost_header_is_inferred_from_the_labels() {
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    let root_file = File::open(root.path()).unwrap();
    let of_dimension = |dimension| {
        let shape = Shape { normalisation: Normalisation::All, dimension: Some(dimension) };
        load(&root_file, SEGMENT, shape, true)
    };
    for header in [&b""[..], &[0; 100]] {
        fs::write(directory.join(HEADER), header).unwrap();
        let Load::Loaded(mut index) = of_dimension(3) else { panic!("the layout can be inferred") };
        assert!(index.faults.no_header && index.is_salvaged());
        // The unused element after the third has the label of the first one.
        let found = index.vector(b"a").unwrap().unwrap();
        assert_eq!((found.components, found.salvaged), (vec![1.2, 1.6, 0.0], true));
        assert!(matches!(of_dimension(4), Load::Lost(IndexError::Header(_), _)));
    }
    fs::remove_file(directory.join(HEADER)).unwrap();
    assert!(matches!(of_dimension(3), Load::Loaded(_)));
    // A layout is rejected if two elements have the same label, or a label is missing.
    let mut level0 = fs::read(directory.join(LEVEL0)).unwrap();
    level0[32 + 24] = 1;
    fs::write(directory.join(LEVEL0), &level0).unwrap();
    assert!(matches!(of_dimension(3), Load::Lost(IndexError::NoFile(HEADER), _)));
}

#[test]
fn nan_length_yields_a_rounded_vector_of_nan() {
    let root = TempDir::new().unwrap();
    let directory = segment(&root);
    let lengths = [f32::NAN, 1.0, 5.0].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>();
    fs::write(directory.join(LENGTH), lengths).unwrap();
    let found = loaded(&root, Normalisation::All).vector(b"a").unwrap().unwrap();
    assert!(found.rounded && found.components.iter().all(|component| component.is_nan()), "{found:?}");
}

#[test]
fn rounded_vectors_are_the_same_within_tolerance_and_exact_ones_bit_for_bit() {
    let is_same = |written: &[f32], components: &[f32], rounded| {
        IndexedVector { components: components.to_vec(), rounded, salvaged: false }.is_same(written)
    };
    assert!(is_same(&[3.0, 0.0], &[3.000_001, 1e-6], true));
    assert!(!is_same(&[3.0, 0.0], &[3.001, 0.0], true));
    assert!(!is_same(&[3.0, 0.0], &[f32::NAN, 0.0], true));
    assert!(!is_same(&[0.0], &[-0.0], false));
    assert!(!is_same(&[0.0], &[0.0, 0.0], true));
}
