//! The labels of ids, and the labels of elements in `data_level0.bin`.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{header::Header, vectors};
use crate::{bits::Bits, ids::IdTable};

/// Block size for reading labels from `data_level0.bin`.
const SCAN_BYTES: usize = 1 << 20;

/// How many elements of a cosine index are checked for being unit vectors.
const CHECKED_ELEMENTS: u32 = 1000;

/// Tolerance for the squared norm of a unit vector: f32 rounding over thousands of components.
const UNIT_TOLERANCE: f64 = 1e-3;

/// The labels of live ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    pub(crate) ids: IdTable,
    /// By the number of the id.
    pub(super) labels: Vec<u64>,
}

impl Labels {
    /// Sets the label of an id; the last one wins, as in Python.
    pub(crate) fn insert(&mut self, id: &[u8], label: u64) {
        let number = self.ids.insert(id);
        match self.labels.get_mut(number) {
            Some(known) => *known = label,
            None => self.labels.push(label),
        }
    }
}

impl Labels {
    /// Whether an id has different labels in both.
    pub(crate) fn contradicts(&self, other: &Self) -> bool {
        let mut labels = self.labels.iter().enumerate();
        labels.any(|(number, label)| other.label(&self.ids.id(number)).is_some_and(|other| other != *label))
    }

    fn label(&self, id: &[u8]) -> Option<u64> {
        self.ids.get(id).and_then(|number| self.labels.get(number)).copied()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        let has_all =
            |a: &Self, b: &Self| (0..a.ids.len()).all(|number| b.label(&a.ids.id(number)).is_some());
        has_all(self, other) && has_all(other, self) && !self.contradicts(other)
    }
}

/// The result of one pass over `data_level0.bin`.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Requested elements that are marked deleted.
    pub(super) deleted: u64,
    /// Elements whose norm was checked, and those of them that are neither unit vectors nor zero.
    pub(super) checked: u32,
    pub(super) not_unit: u32,
}

/// One element during the scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'b> {
    pub(super) number: u32,
    pub(super) label: u64,
    /// Deletion flag: bit 0 of byte 2 of an element (FORMAT §6).
    pub(super) is_deleted: bool,
    /// The bytes of its vector.
    vector: &'b [u8],
}

impl Element<'_> {
    /// The squared norm of its vector.
    fn squared_norm(&self) -> f64 {
        let components = self.vector.as_chunks::<4>().0.iter().map(|x| f64::from(f32::from_le_bytes(*x)));
        components.map(|x| x * x).sum()
    }

    /// Whether its vector has length 1, as in a cosine index.
    pub(super) fn is_unit(&self) -> bool {
        (self.squared_norm() - 1.0).abs() <= UNIT_TOLERANCE
    }
}

impl Scan {
    /// Visits every element in use; `visit` returns whether it was requested.
    pub(super) fn run(
        level0: &File,
        header: &Header,
        mut visit: impl FnMut(Element<'_>) -> bool,
    ) -> io::Result<Self> {
        let mut scan = Self::default();
        let whole_elements = level0.metadata()?.len() / header.element_size as u64;
        let count = u64::from(header.element_count).min(whole_elements);
        if count == 0 {
            return Ok(scan);
        }
        // The file contains a complete element, so a block is not larger than the file. The division limits a block to
        // SCAN_BYTES or one element.
        let per_block =
            (SCAN_BYTES / header.element_size).max(1).min(usize::try_from(count).unwrap_or(usize::MAX));
        let mut block = vec![0; per_block * header.element_size];
        let mut first = 0;
        while let Some(data) = next_data(level0, first * header.element_size as u64)? {
            // An element in a hole has no label: a sparse file may have terabytes of them.
            first = first.max(data / header.element_size as u64);
            if first >= count {
                break;
            }
            let elements = (count - first).min(per_block as u64);
            // At most `block.len()`, since `elements` is at most `per_block`.
            let bytes = block.get_mut(..elements as usize * header.element_size).unwrap_or_default();
            level0.read_exact_at(bytes, first * header.element_size as u64)?;
            for (element, number) in bytes.chunks_exact(header.element_size).zip(first..) {
                // `count` is at most `header.element_count`, which has 32 bits.
                scan.element(element, number as u32, header, &mut visit);
            }
            first += elements;
        }
        Ok(scan)
    }

    fn element(
        &mut self,
        element: &[u8],
        number: u32,
        header: &Header,
        visit: &mut impl FnMut(Element<'_>) -> bool,
    ) {
        let Some((vector, label)) =
            element.get(header.vector_offset..).and_then(|tail| tail.split_last_chunk())
        else {
            return;
        };
        let is_deleted = element.get(2).is_some_and(|flags| flags & 1 == 1);
        let element = Element { number, label: u64::from_le_bytes(*label), is_deleted, vector };
        if !visit(element) {
            return;
        }
        self.deleted += u64::from(is_deleted);
        if self.checked < CHECKED_ELEMENTS {
            self.checked += 1;
            self.not_unit += u32::from(element.squared_norm() != 0.0 && !element.is_unit());
        }
    }
}

/// The position of the next stored bytes from `offset` on; `None` if only a hole follows.
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(data) => Ok(Some(data)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // The file system does not support holes.
        Err(rustix::io::Errno::INVAL) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

impl Labels {
    /// The same labels with ids numbered in the order of labels, in which records are stored and read.
    pub(super) fn in_order(self) -> Self {
        let Self { mut ids, mut labels } = self;
        if labels.is_sorted() {
            return Self { ids, labels };
        }
        // As many as ids, whose numbers have 32 bits.
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        order.sort_unstable_by_key(|number| (labels.get(*number as usize).copied(), *number));
        let mut new_numbers = vec![0; order.len()];
        for (old, new) in order.into_iter().zip(0..) {
            if let Some(number) = new_numbers.get_mut(old as usize) {
                *number = new;
            }
        }
        ids.renumber(new_numbers, |a, b| labels.swap(a, b));
        Self { ids, labels }
    }
}

/// Finds the element of each label. Elements are nearly in the order of their labels, so the position after the last
/// match is tried before a search.
///
/// Any number of ids may share a label in a broken pickle, and any number of elements in a broken file. Each costs
/// one entry, so that the numbers are not multiplied.
pub(super) struct LabelOrder {
    /// By the numbers of the ids, ascending.
    sorted: Vec<u64>,
    /// By the first number of each label: its last element.
    elements: Elements,
    next: usize,
    /// Elements that share their label with an earlier one.
    duplicates: u64,
}

/// The element of each id.
#[derive(Debug, Default)]
pub(super) struct Elements {
    /// By the numbers of the ids; [`ABSENT`](Self::ABSENT) for an id without a label.
    pub(super) numbers: Vec<u32>,
    /// Which vectors may be normalised, by the numbers of the ids.
    pub(super) units: Bits,
}

impl Elements {
    /// No element: a header counts at most `u32::MAX` elements, so the last number is one less.
    pub(super) const ABSENT: u32 = u32::MAX;

    /// The element of the id of this number, if there is one.
    pub(super) fn get(&self, number: usize) -> Option<u32> {
        self.numbers.get(number).copied().filter(|element| *element != Self::ABSENT)
    }

    /// Reads the length of each element's vector, by the numbers of the ids. Elements beyond the end of the file become
    /// absent.
    pub(super) fn read_lengths(&mut self, file: &File) -> io::Result<Vec<f32>> {
        let mut ascending: Vec<u32> = Vec::with_capacity(self.numbers.len());
        // As many as ids, whose numbers have 32 bits.
        ascending
            .extend((0..self.numbers.len() as u32).filter(|number| self.get(*number as usize).is_some()));
        ascending.sort_unstable_by_key(|number| self.get(*number as usize));
        let mut lengths = vec![0.0; self.numbers.len()];
        let mut rest = ascending.iter();
        let elements = ascending.iter().filter_map(|number| self.get(*number as usize));
        vectors::read_lengths(file, elements, |length| {
            if let Some(known) = rest.next().and_then(|number| lengths.get_mut(*number as usize)) {
                *known = length;
            }
        })?;
        for number in rest {
            if let Some(element) = self.numbers.get_mut(*number as usize) {
                *element = Self::ABSENT;
            }
        }
        Ok(lengths)
    }
}

impl LabelOrder {
    /// Of labels [in order](Labels::in_order).
    pub(super) fn new(sorted: Vec<u64>) -> Self {
        let elements = Elements { numbers: vec![Elements::ABSENT; sorted.len()], units: Bits::default() };
        Self { elements, sorted, next: 0, duplicates: 0 }
    }

    /// Records the element of a label if an id has the label, and returns whether one has. Calls `is_unit` only then.
    pub(super) fn record(&mut self, element: Element<'_>, is_unit: impl FnOnce(Element<'_>) -> bool) -> bool {
        let label = element.label;
        let is = |number: Option<usize>| number.and_then(|n| self.sorted.get(n)) == Some(&label);
        let is_next = is(Some(self.next)) && !is(self.next.checked_sub(1));
        let place = if is_next { self.next } else { self.sorted.partition_point(|other| *other < label) };
        self.next = place;
        if self.sorted.get(place) != Some(&label) {
            return false;
        }
        self.next = place + 1;
        // The last one wins, as in hnswlib's `loadIndex`.
        if let Some(known) = self.elements.numbers.get_mut(place) {
            let earlier = std::mem::replace(known, element.number);
            self.duplicates += u64::from(earlier != Elements::ABSENT);
            self.elements.units.set(place, is_unit(element));
        }
        true
    }

    /// The element of each id, also for ids that share a label, and the number of elements that share a label with
    /// an earlier one.
    pub(super) fn into_elements(self) -> (Elements, u64) {
        let Self { sorted, mut elements, duplicates, .. } = self;
        let mut first = 0;
        for (number, label) in sorted.iter().enumerate() {
            if sorted.get(first) != Some(label) {
                first = number;
            }
            if number != first {
                let element = elements.numbers.get(first).copied().unwrap_or(Elements::ABSENT);
                if let Some(known) = elements.numbers.get_mut(number) {
                    *known = element;
                }
                elements.units.set(number, elements.units.get(first));
            }
        }
        (elements, duplicates)
    }
}
