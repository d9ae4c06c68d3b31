//! Works out the layout of `data_level0.bin` when `header.bin` is lost: it is the first file that a flush writes,
//! and a hundred bytes that say nothing about the vectors themselves.
//!
//! An element is its links, its vector and its label. The dimension is known from the database, the number of links
//! is almost always the default, and labels are an excellent witness: eight bytes at the end of each element that
//! must be small, all different, and among them all that the list of ids names. A wrong layout reads labels from the
//! middle of vectors and fails at the first element.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{header::Header, labels::Scan};

/// `2 * M` of Chroma's default, M = 16.
const DEFAULT_LINKS: usize = 32;

/// The largest `2 * M` that is tried.
const LARGEST_LINKS: usize = 512;

/// Layouts that are confirmed by reading all labels: one, unless the file was made to deceive.
const CONFIRMED: usize = 2;

/// Elements that a layout is tried on before all are read by it.
const PROBED: u64 = 16;

/// The one layout in which all `labels` are found, which ascend and are not empty; `None` if there is none.
pub(super) fn deduce(level0: &File, dimension: usize, labels: &[u64]) -> io::Result<Option<Header>> {
    let mut confirmed = 0..CONFIRMED;
    let others = (2..=LARGEST_LINKS).step_by(2).filter(|links| *links != DEFAULT_LINKS);
    for links in std::iter::once(DEFAULT_LINKS).chain(others) {
        let Some(header) = Header::of_layout(links, dimension) else { continue };
        if is_plausible(level0, &header, labels)? && confirmed.next().is_some() {
            let found = confirm(level0, header, labels)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// Whether the first elements have labels that can be.
fn is_plausible(level0: &File, header: &Header, labels: &[u64]) -> io::Result<bool> {
    let largest = labels.last().copied().unwrap_or(0);
    let count = (labels.len() as u64).min(PROBED);
    for element in 0..count {
        let mut label = [0; 8];
        let offset = element * header.element_size as u64 + header.label_offset as u64;
        match level0.read_exact_at(&mut label, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        // Labels start at 1. Later ones may be deleted, so that the list does not have them.
        let label = u64::from_le_bytes(label);
        if label == 0 || label > largest.saturating_add(u64::from(u32::MAX)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The layout with its number of elements, if all labels are there and the elements up to the last of them have a
/// label each of their own. What comes after that is memory of the writer.
fn confirm(level0: &File, header: Header, labels: &[u64]) -> io::Result<Option<Header>> {
    let mut found: Vec<(u64, u32)> = Vec::new();
    Scan::run(level0, &header, |element| {
        found.push((element.label, element.number));
        false
    })?;
    found.sort_unstable();
    let mut last = 0;
    for label in labels {
        // The first element that has it.
        match found.get(found.partition_point(|(other, _)| other < label)) {
            Some((other, number)) if other == label => last = last.max(*number),
            _ => return Ok(None),
        }
    }
    found.retain(|(_, number)| *number <= last);
    let is_own = |pair: &[(u64, u32)]| matches!(pair, [(a, _), (b, _)] if a != b);
    let are_all_there = found.len() as u64 == u64::from(last) + 1;
    let is_sound =
        are_all_there && found.windows(2).all(is_own) && found.first().is_some_and(|(l, _)| *l > 0);
    Ok(is_sound.then_some(Header { element_count: last + 1, ..header }))
}
