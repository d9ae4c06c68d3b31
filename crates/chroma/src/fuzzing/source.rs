//! Derives choices from bytes deterministically.

/// Bytes that are consumed from the front, followed by zeros.
pub(super) struct Source<'b>(&'b [u8]);

impl<'b> Source<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// A number less than `limit`.
    pub(super) fn below(&mut self, limit: u8) -> u8 {
        self.byte().checked_rem(limit).unwrap_or(0)
    }

    /// True with probability 1/`times`.
    pub(super) fn one_in(&mut self, times: u8) -> bool {
        self.below(times) == times - 1
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    pub(super) fn f32(&mut self) -> f32 {
        f32::from_le_bytes(self.array())
    }

    /// The next `count` bytes, or the remaining ones.
    pub(super) fn bytes(&mut self, count: usize) -> &'b [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.bytes(N);
        let mut array = [0; N];
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }
}
