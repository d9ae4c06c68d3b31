//! Parses structures of Thrift's compact protocol, the encoding of parquet's footer and page headers
//! (apache/thrift, doc/specs/thrift-compact-protocol.md).
//!
//! Reads only the declared sizes, which must be checked before decoding. Never panics; takes time in proportion to the
//! bytes, and no memory.

/// Parquet's own structures nest seven levels deep.
const DEPTH_LIMIT: u32 = 16;

/// The offset at which the bytes are not a structure of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) offset: usize,
}

/// The type of a field or an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u8);

/// A position in the bytes.
pub(super) struct Compact<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// A callback for a field: returns `true` if it has read the field, `false` to skip it.
type OnField<'f, 'a> = &'f mut dyn FnMut(&mut Compact<'a>, i64, Kind) -> Result<bool, Malformed>;

impl<'a> Compact<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// How many bytes have been read.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Reads a structure to its end.
    pub(super) fn structure(&mut self, on_field: OnField<'_, 'a>) -> Result<(), Malformed> {
        self.structure_at(0, on_field)
    }

    /// Reads a list of structures; calls `before` with their number.
    pub(super) fn list_of_structures(
        &mut self,
        before: impl FnOnce(usize) -> Result<(), Malformed>,
        on_field: OnField<'_, 'a>,
    ) -> Result<(), Malformed> {
        let (kind, count) = self.list()?;
        before(count)?;
        for _ in 0..count {
            if kind != Kind::STRUCTURE {
                return Err(self.malformed());
            }
            self.structure_at(1, on_field)?;
        }
        Ok(())
    }

    /// Reads a 32-bit integer.
    pub(super) fn int(&mut self, kind: Kind) -> Result<i32, Malformed> {
        let at = Malformed { offset: self.offset };
        if kind != Kind::INT32 {
            return Err(at);
        }
        let zigzag = self.varint()?;
        let number = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        i32::try_from(number).map_err(|_| at)
    }

    pub(super) fn malformed(&self) -> Malformed {
        Malformed { offset: self.offset }
    }

    fn structure_at(&mut self, depth: u32, on_field: OnField<'_, 'a>) -> Result<(), Malformed> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            let kind = Kind(head & 0x0f);
            if kind == Kind::STOP {
                return Ok(());
            }
            match head >> 4 {
                0 => {
                    let zigzag = self.varint()?;
                    id = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                }
                delta => id = id.checked_add(i64::from(delta)).ok_or(self.malformed())?,
            }
            if !on_field(self, id, kind)? {
                self.skip(kind, depth + 1)?;
            }
        }
    }

    fn skip(&mut self, kind: Kind, depth: u32) -> Result<(), Malformed> {
        if depth > DEPTH_LIMIT {
            return Err(self.malformed());
        }
        match kind {
            Kind::TRUE | Kind::FALSE => Ok(()),
            Kind::BYTE => self.advance(1),
            Kind::INT16 | Kind::INT32 | Kind::INT64 => self.varint().map(drop),
            Kind::DOUBLE => self.advance(8),
            Kind::BINARY => {
                let length = self.varint()?;
                self.advance(length)
            }
            Kind::LIST | Kind::SET => {
                let (kind, count) = self.list()?;
                for _ in 0..count {
                    match kind {
                        // In a list, a boolean takes one byte.
                        Kind::TRUE | Kind::FALSE => self.advance(1)?,
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
                Ok(())
            }
            Kind::STRUCTURE => self.structure_at(depth, &mut |_, _, _| Ok(false)),
            // Parquet has no maps and no UUIDs.
            _ => Err(self.malformed()),
        }
    }

    /// The element type of a list and their number, which the remaining bytes can contain.
    fn list(&mut self) -> Result<(Kind, usize), Malformed> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        match usize::try_from(count) {
            Ok(count) if count <= self.bytes.len() - self.offset => Ok((Kind(head & 0x0f), count)),
            _ => Err(self.malformed()),
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.offset).ok_or(self.malformed())?;
        self.offset += 1;
        Ok(byte)
    }

    fn advance(&mut self, length: u64) -> Result<(), Malformed> {
        let end = usize::try_from(length).ok().and_then(|length| self.offset.checked_add(length));
        self.offset = end.filter(|end| *end <= self.bytes.len()).ok_or(self.malformed())?;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.malformed())
    }
}

impl Kind {
    const STOP: Self = Self(0);
    const TRUE: Self = Self(1);
    const FALSE: Self = Self(2);
    const BYTE: Self = Self(3);
    const INT16: Self = Self(4);
    pub(super) const INT32: Self = Self(5);
    const INT64: Self = Self(6);
    const DOUBLE: Self = Self(7);
    const BINARY: Self = Self(8);
    const LIST: Self = Self(9);
    const SET: Self = Self(10);
    const STRUCTURE: Self = Self(12);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a structure and lists its fields.
    fn fields(bytes: &[u8]) -> Result<Vec<(i64, u8)>, Malformed> {
        let mut fields = Vec::new();
        let mut compact = Compact::new(bytes);
        compact.structure(&mut |_, id, kind| {
            fields.push((id, kind.0));
            Ok(false)
        })?;
        assert_eq!(compact.offset(), bytes.len());
        Ok(fields)
    }

    #[test]
    fn fields_have_ids_and_unknown_ones_are_skipped() {
        // i32 1 = 1; boolean 2; binary 20 (long form) = "ab"; list 21 of two i32; structure 22 with an i64.
        let bytes = [0x15, 2, 0x11, 0x08, 40, 2, b'a', b'b', 0x19, 0x25, 2, 4, 0x1c, 0x16, 0x80, 1, 0, 0];
        assert_eq!(fields(&bytes).unwrap(), [(1, 5), (2, 1), (20, 8), (21, 9), (22, 12)]);
    }

    #[test]
    fn sizes_beyond_the_bytes_are_rejected() {
        assert_eq!(fields(&[0x18, 5, b'a']), Err(Malformed { offset: 2 }));
        assert_eq!(fields(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0x7f, 0]), Err(Malformed { offset: 6 }));
        assert_eq!(fields(&[0x15, 0x80]), Err(Malformed { offset: 2 }));
        assert_eq!(fields(&[0x1c; 100]), Err(Malformed { offset: 17 }));
    }

    proptest! {
        #[test]
        fn any_bytes_cause_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Compact::new(&bytes).structure(&mut |compact, id, kind| {
                Ok(id == 1 && compact.int(kind).is_ok())
            });
        }
    }
}
