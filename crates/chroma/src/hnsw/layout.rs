//! Infers the layout of `data_level0.bin` when `header.bin` is lost. That file is the first that a flush writes, and
//! its hundred bytes contain no vector data.
//!
//! An element consists of its links, its vector and its label. The dimension is in the database, and the number of
//! links is almost always the default. Labels verify a layout: the eight bytes at the end of each element must be small
//! and distinct, and must include all labels of the list of ids. With a wrong layout, labels are read from the middle
//! of vectors, which fails at the first element.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use super::{header::Header, labels::Scan};

/// `2 * M` of Chroma's default, M = 16.
const DEFAULT_LINKS: usize = 32;

/// The largest `2 * M` that is tried.
const MAX_LINKS: usize = 512;

/// How many layouts are verified by reading all labels. One suffices, except for malicious files.
const MAX_CONFIRMED: usize = 2;

/// How many elements are read with a layout before all are.
const PROBED_ELEMENTS: u64 = 16;

/// The only layout with which all `labels`, ascending and not empty, are found; `None` if no layout does.
pub(super) fn deduce(level0: &File, dimension: usize, labels: &[u64]) -> io::Result<Option<Header>> {
    let mut confirmed = 0..MAX_CONFIRMED;
    let others = (2..=MAX_LINKS).step_by(2).filter(|links| *links != DEFAULT_LINKS);
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

/// Whether the first elements have possible labels.
fn is_plausible(level0: &File, header: &Header, labels: &[u64]) -> io::Result<bool> {
    let largest = labels.last().copied().unwrap_or(0);
    let count = (labels.len() as u64).min(PROBED_ELEMENTS);
    for element in 0..count {
        let mut label = [0; 8];
        let offset = element * header.element_size as u64 + header.label_offset as u64;
        match level0.read_exact_at(&mut label, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
        // Labels start at 1. Later elements may be deleted, so that the list does not contain their labels.
        let label = u64::from_le_bytes(label);
        if label == 0 || label > largest.saturating_add(u64::from(u32::MAX)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The layout with its number of elements, if all labels exist and the elements up to the last of them have distinct
/// labels. The rest of the file is uninitialized memory.
fn confirm(level0: &File, header: Header, labels: &[u64]) -> io::Result<Option<Header>> {
    let mut found: Vec<(u64, u32)> = Vec::new();
    Scan::run(level0, &header, |element| {
        found.push((element.label, element.number));
        false
    })?;
    found.sort_unstable();
    let mut last = 0;
    for label in labels {
        // The first element with this label.
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
