//! Reads a file from front to back in bounded memory. Bytes shortly before the current position are buffered; earlier
//! ones are read again.

use std::{
    io::{self, Read, Seek, SeekFrom},
    num::NonZeroU32,
};

/// Size of the buffer.
const WINDOW_BYTES: u32 = 1 << 20;

/// The part of the buffer before the current position.
const BACKLOG_BYTES: u32 = 1 << 18;

/// A range of bytes in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    /// Not zero: only an empty span at the start of the file would end at 0, and it does not occur.
    end: NonZeroU32,
}

/// The file, and the buffered part of it.
pub(super) struct Window<R> {
    source: R,
    size: u32,
    /// Offset of `bytes` in the file.
    start: u32,
    bytes: Vec<u8>,
    /// Bytes before the buffer that were read again last.
    reread: Vec<u8>,
}

impl Span {
    pub(super) fn length(self) -> u32 {
        self.end.get() - self.start
    }

    /// Truncates it to `length` bytes.
    pub(super) fn at_most(self, length: u32) -> Self {
        let end = NonZeroU32::new(self.start.saturating_add(length));
        Self { end: end.map_or(self.end, |end| end.min(self.end)), ..self }
    }
}

impl<R: Read + Seek> Window<R> {
    pub(super) fn new(source: R, size: u32) -> Self {
        Self { source, size, start: 0, bytes: Vec::new(), reread: Vec::new() }
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// The span of `length` bytes from `start` on, if the file has them. Reads nothing.
    pub(super) fn span(&self, start: u32, length: u64) -> Option<Span> {
        let end = u32::try_from(length).ok().and_then(|length| start.checked_add(length));
        let end = end.filter(|end| *end <= self.size).and_then(NonZeroU32::new)?;
        Some(Span { start, end })
    }

    /// Reads the bytes of a [`span`](Self::span).
    pub(super) fn get(&mut self, span: Span) -> io::Result<&[u8]> {
        let Span { start, end } = span;
        let is_inside = start >= self.start && self.bytes.len() >= (end.get() - self.start) as usize;
        if !is_inside && (start < self.start || span.length() > WINDOW_BYTES - BACKLOG_BYTES) {
            self.reread.resize(span.length() as usize, 0);
            self.source.seek(SeekFrom::Start(u64::from(start)))?;
            self.source.read_exact(&mut self.reread)?;
            return Ok(&self.reread);
        }
        if !is_inside {
            self.start = start.saturating_sub(BACKLOG_BYTES);
            self.bytes.resize(WINDOW_BYTES.min(self.size - self.start) as usize, 0);
            self.source.seek(SeekFrom::Start(u64::from(self.start)))?;
            if let Err(error) = self.source.read_exact(&mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let bytes = (start - self.start) as usize..(end.get() - self.start) as usize;
        self.bytes.get(bytes).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    const SIZE: u32 = 4 * WINDOW_BYTES;

    proptest! {
        // Each case reads megabytes.
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn any_span_is_read_in_any_order(spans in proptest::collection::vec((0..SIZE, prop_oneof![0..100_u64, 0..u64::from(SIZE)]), 1..10)) {
            let file: Vec<u8> = (0..SIZE).map(|offset| (offset % 251) as u8).collect();
            let mut window = Window::new(Cursor::new(&file), SIZE);
            for (start, length) in spans {
                let Some(span) = window.span(start, length) else {
                    prop_assert!(u64::from(start) + length > u64::from(SIZE) || u64::from(start) + length == 0);
                    continue;
                };
                prop_assert_eq!(u64::from(span.length()), length);
                let expected = &file[start as usize..][..length as usize];
                prop_assert!(window.get(span).unwrap() == expected);
                prop_assert_eq!(window.get(span.at_most(9)).unwrap(), &expected[..expected.len().min(9)]);
            }
        }
    }

    #[test]
    fn truncated_file_is_an_error() {
        let mut window = Window::new(Cursor::new(vec![0; 9]), 10);
        let [inside, beyond] = [(0, 9), (9, 1)].map(|(start, length)| window.span(start, length).unwrap());
        assert!(window.get(beyond).is_err());
        assert!(window.get(inside).is_err());
    }
}
