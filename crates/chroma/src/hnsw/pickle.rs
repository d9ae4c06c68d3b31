//! A decoder of `index_metadata.pickle`, the only pickle that Chroma writes (FORMAT §7).
//!
//! A pickle is a program. This machine supports the opcodes that were observed in Chroma's pickles and one class, which
//! it never instantiates; it rejects all other opcodes and globals, so no code in the file can run.
//!
//! Memory is limited to a small multiple of the file's size, although a byte of the file may be a value of forty bytes:
//! the file is not held in memory; a string is only a position, which is read on demand; the memo stores only strings,
//! since memoised containers could be multiplied endlessly; the stack is bounded; and of unused values only the depth
//! is kept. The relevant map, `id_to_label`, is packed during decoding, and the two maps of the same size are dropped:
//! a million ids would otherwise need more memory than everything else together.

use std::{
    fmt,
    io::{self, Read, Seek},
};

use super::{
    labels::Labels,
    window::{Span, Window},
};

/// `PersistentData` nests three levels deep (object, state, map). The limit prevents a stack overflow by `drop`.
const DEPTH_LIMIT: u8 = 8;

/// The class of Chroma 0.4 – 0.6 (`chromadb/segment/impl/vector/local_persistent_hnsw.py`).
const MODULE: &[u8] = b"chromadb.segment.impl.vector.local_persistent_hnsw";
const CLASS: &[u8] = b"PersistentData";

/// The field whose dict becomes [`Value::Labels`].
const LABELS_FIELD: &[u8] = b"id_to_label";

/// Unused dicts as large as that one.
const DROPPED_FIELDS: [&[u8]; 2] = [b"label_to_id", b"id_to_seq_id"];

/// The used fields.
const KEPT_FIELDS: [&[u8]; 2] = [LABELS_FIELD, b"max_seq_id"];

/// How many values of a dict may be on the stack. Python writes 2000 at a time, serde_pickle all of them.
const PENDING_LIMIT: usize = 4096;

/// Nesting is shallow and the number of values above a mark is limited, so Chroma's pickles stay far below this.
const STACK_LIMIT: usize = 1 << 16;

/// A memoised string takes at least an opcode, its length, a byte and MEMOIZE.
const BYTES_PER_MEMO: u32 = 4;

/// One unpickled value. Strings are bytes, because Python's `surrogatepass` is not valid UTF-8.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    None,
    Int(i64),
    Str(Span),
    EmptyTuple,
    List(Container),
    Dict(Container),
    /// The dict of the field `id_to_label`, unless it is empty.
    Labels(Box<Labels>),
    /// The class `PersistentData` itself.
    Class,
    /// An instance of it before BUILD, which replaces it by its state.
    Object,
}

/// The used pairs of a dict, and the nesting depth including unused elements.
#[derive(Debug, PartialEq)]
pub(super) struct Container {
    pub(super) elements: Vec<(&'static [u8], Value)>,
    depth: u8,
}

/// Why the bytes are not such a pickle, with the offset.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PickleError {
    #[error("{problem} at byte {offset} of the pickle")]
    Content { offset: u32, problem: PickleProblem },
    #[error("failed to read the pickle")]
    Io(#[source] io::Error),
}

/// The problem of an opcode.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PickleProblem {
    Truncated,
    Opcode(u8),
    Global(String),
    Expected(&'static str),
}

/// Unpickles up to STOP. Returns an object as its state, a dict; with an error, the labels before it.
pub(super) fn unpickle(source: impl Read + Seek, size: u32) -> Result<Value, (PickleError, Box<Labels>)> {
    let mut machine = Machine {
        input: Window::new(source, size),
        offset: 0,
        opcode_offset: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    let result = loop {
        match machine.step() {
            Ok(Flow::Continue) => {}
            Ok(Flow::Stop) => break machine.pop("a value to return"),
            Err(error) => break Err(error),
        }
    };
    result.map_err(|error| (error, machine.remaining_labels()))
}

#[derive(PartialEq)]
enum Flow {
    Continue,
    Stop,
}

struct Machine<R> {
    input: Window<R>,
    offset: u32,
    /// Offset of the current opcode, for errors.
    opcode_offset: u32,
    stack: Vec<Value>,
    marks: Vec<usize>,
    /// Positions of the memoised strings; `None` for other values.
    memo: Vec<Option<Span>>,
}

impl<R: Read + Seek> Machine<R> {
    fn step(&mut self) -> Result<Flow, PickleError> {
        self.opcode_offset = self.offset;
        let [opcode] = self.array()?;
        match opcode {
            0x80 => drop(self.array::<1>()?), // PROTO
            0x95 => drop(self.array::<8>()?), // FRAME: a hint for buffering
            b'(' if self.marks.len() >= usize::from(DEPTH_LIMIT) => {
                return Err(self.expected("at most 8 levels of nesting"));
            }
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Value::EmptyTuple)?,
            b'}' => self.push(Value::Dict(Container::new()))?,
            b']' => self.push(Value::List(Container::new()))?,
            b'N' => self.push(Value::None)?,
            b'K' => self.int(|[byte]: [u8; 1]| i64::from(byte))?,
            b'M' => self.int(|bytes| i64::from(u16::from_le_bytes(bytes)))?,
            b'J' => self.int(|bytes| i64::from(i32::from_le_bytes(bytes)))?,
            0x8a => self.long1()?,
            0x8c => self.string(|[byte]: [u8; 1]| u64::from(byte))?,
            b'X' => self.string(|bytes| u64::from(u32::from_le_bytes(bytes)))?,
            0x8d => self.string(u64::from_le_bytes)?,
            0x94 => self.memoize()?,
            b'h' => self.get_memo(|[byte]: [u8; 1]| u32::from(byte))?,
            b'j' => self.get_memo(u32::from_le_bytes)?,
            0x93 => self.stack_global()?,
            0x81 => self.new_object()?,
            b'b' => self.build()?,
            b's' => {
                let value = self.pop("a value for SETITEM")?;
                let key = self.pop("a key for SETITEM")?;
                self.set_items([key, value])?;
            }
            b'u' => {
                let elements = self.pop_to_mark()?;
                self.set_items(elements)?;
            }
            b'e' => self.append_elements()?,
            b'.' => return Ok(Flow::Stop),
            _ => return Err(self.error(PickleProblem::Opcode(opcode))),
        }
        Ok(Flow::Continue)
    }

    fn error(&self, problem: PickleProblem) -> PickleError {
        PickleError::Content { offset: self.opcode_offset, problem }
    }

    fn expected(&self, expected: &'static str) -> PickleError {
        self.error(PickleProblem::Expected(expected))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let span = self.span(N as u64)?;
        let bytes = self.input.get(span).map_err(PickleError::Io)?;
        Ok(bytes.first_chunk().copied().expect("a span is as long as was asked for"))
    }

    /// Consumes `length` bytes without reading them.
    fn span(&mut self, length: u64) -> Result<Span, PickleError> {
        let span = self.input.span(self.offset, length);
        let span = span.ok_or_else(|| self.error(PickleProblem::Truncated))?;
        self.offset += span.length();
        Ok(span)
    }

    fn int<const N: usize>(&mut self, decode: impl Fn([u8; N]) -> i64) -> Result<(), PickleError> {
        let bytes = self.array()?;
        self.push(Value::Int(decode(bytes)))
    }

    /// LONG1: a length and a little-endian two's complement integer of that many bytes.
    fn long1(&mut self) -> Result<(), PickleError> {
        let [length] = self.array()?;
        let span = self.span(u64::from(length))?;
        let bytes = self.input.get(span).map_err(PickleError::Io)?;
        let sign = bytes.last().is_some_and(|byte| *byte >= 0x80);
        let mut wide = [if sign { 0xff } else { 0 }; 8];
        match wide.get_mut(..bytes.len()) {
            Some(low) => low.copy_from_slice(bytes),
            None => return Err(self.expected("an integer of at most 64 bits")),
        }
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn string<const N: usize>(&mut self, length: impl Fn([u8; N]) -> u64) -> Result<(), PickleError> {
        let bytes = self.array()?;
        let string = self.span(length(bytes))?;
        self.push(Value::Str(string))
    }

    fn memoize(&mut self) -> Result<(), PickleError> {
        let memo = match self.stack.last() {
            Some(Value::Str(string)) => Some(*string),
            Some(_) => None,
            None => return Err(self.expected("a value to memoise")),
        };
        if self.memo.len() > (self.input.size() / BYTES_PER_MEMO) as usize {
            return Err(self.expected("a memo for strings"));
        }
        self.memo.push(memo);
        Ok(())
    }

    fn get_memo<const N: usize>(&mut self, index: impl Fn([u8; N]) -> u32) -> Result<(), PickleError> {
        let bytes = self.array()?;
        let memo = usize::try_from(index(bytes)).ok().and_then(|index| self.memo.get(index));
        match memo.copied().flatten() {
            Some(string) => self.push(Value::Str(string)),
            None => Err(self.expected("a memoised string")),
        }
    }

    /// Pushes a value. If the stack has too many pairs of a dict, adds them to the dict first: a new value after
    /// complete pairs means that these can no longer change.
    fn push(&mut self, value: Value) -> Result<(), PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let waiting = self.stack.len().saturating_sub(floor);
        let is_dict = || {
            floor
                .checked_sub(1)
                .is_some_and(|top| matches!(self.stack.get(top), Some(Value::Dict(_) | Value::Labels(_))))
        };
        if waiting >= PENDING_LIMIT && waiting % 2 == 0 && !self.marks.is_empty() && is_dict() {
            let elements = self.stack.split_off(floor);
            self.set_items(elements)?;
        }
        if self.stack.len() >= STACK_LIMIT {
            return Err(self.expected("at most 65536 values on the stack"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), PickleError> {
        let name = self.pop("a global's name")?;
        let module = self.pop("a global's module")?;
        let (Value::Str(module), Value::Str(name)) = (module, name) else {
            return Err(self.expected("a global's module and name as strings"));
        };
        if self.is(module, MODULE)? && self.is(name, CLASS)? {
            return self.push(Value::Class);
        }
        let [module, name] = [self.beginning(module)?, self.beginning(name)?];
        Err(self.error(PickleProblem::Global(format!("{module}.{name}"))))
    }

    /// Whether a string equals `text`.
    fn is(&mut self, string: Span, text: &[u8]) -> Result<bool, PickleError> {
        let is_as_long = string.length() as usize == text.len();
        Ok(is_as_long && self.input.get(string).map_err(PickleError::Io)? == text)
    }

    /// The beginning of a string, for errors.
    fn beginning(&mut self, string: Span) -> Result<String, PickleError> {
        let bytes = self.input.get(string.at_most(100)).map_err(PickleError::Io)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Returns the field of this name, if it is a known one.
    fn field(&mut self, name: Span) -> Result<Option<&'static [u8]>, PickleError> {
        for field in KEPT_FIELDS.into_iter().chain(DROPPED_FIELDS) {
            if self.is(name, field)? {
                return Ok(Some(field));
            }
        }
        Ok(None)
    }

    fn new_object(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop("constructor arguments")?;
        let class = self.pop("a class")?;
        if (class, arguments) != (Value::Class, Value::EmptyTuple) {
            return Err(self.expected("the class PersistentData and no arguments"));
        }
        self.push(Value::Object)
    }

    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop("an object's state")?;
        let object = self.pop("an object")?;
        if object != Value::Object || !matches!(state, Value::Dict(_)) {
            return Err(self.expected("an object and a dict as its state"));
        }
        self.push(state)
    }

    fn set_items(&mut self, elements: impl IntoIterator<Item = Value>) -> Result<(), PickleError> {
        let mut elements = elements.into_iter();
        let error = self.expected("a dict and pairs to put into it");
        let Some(mut top) = self.stack.pop() else { return Err(error) };
        let field = match self.stack.last() {
            Some(Value::Str(field)) => self.field(*field),
            _ => Ok(None),
        };
        let set = field.and_then(|field| {
            if field == Some(LABELS_FIELD) && top == Value::Dict(Container::new()) {
                top = Value::Labels(Box::default());
            }
            let is_dropped = field.is_some_and(|field| DROPPED_FIELDS.contains(&field));
            while let Some(key) = elements.next() {
                match elements.next() {
                    Some(_) if is_dropped && matches!(top, Value::Dict(_)) => {}
                    Some(value) => self.set_item(&mut top, key, value)?,
                    None => return Err(error),
                }
            }
            Ok(())
        });
        // Also after an error: earlier pairs are still used.
        self.stack.push(top);
        set
    }

    fn set_item(&mut self, top: &mut Value, key: Value, value: Value) -> Result<(), PickleError> {
        match (top, key, value) {
            (Value::Labels(labels), Value::Str(id), Value::Int(label)) if label >= 0 => {
                let id = self.input.get(id).map_err(PickleError::Io)?;
                labels.insert(id, label.unsigned_abs());
            }
            (Value::Labels(_), ..) => return Err(self.expected("an id and a label that is not negative")),
            (Value::Dict(dict), key, value) => {
                if !dict.deepen(key.depth().max(value.depth())) {
                    return Err(self.expected("at most 8 levels of nesting"));
                }
                if let Value::Str(name) = key
                    && let Some(field) = self.field(name)?
                    && KEPT_FIELDS.contains(&field)
                {
                    dict.set(field, value);
                }
            }
            _ => return Err(self.expected("a dict and pairs to put into it")),
        }
        Ok(())
    }

    fn append_elements(&mut self) -> Result<(), PickleError> {
        let elements = self.pop_to_mark()?;
        let error = self.expected("a list to append to");
        let Some(Value::List(list)) = self.stack.last_mut() else { return Err(error) };
        for element in elements {
            if !list.deepen(element.depth()) {
                return Err(self.expected("at most 8 levels of nesting"));
            }
        }
        Ok(())
    }

    /// The part of `id_to_label` before an error.
    fn remaining_labels(&mut self) -> Box<Labels> {
        let waiting = match self.marks.last() {
            Some(mark) if *mark <= self.stack.len() => self.stack.split_off(*mark),
            _ => Vec::new(),
        };
        let whole_pairs = waiting.len() - waiting.len() % 2;
        // An invalid pair stops the loop, which keeps the pairs before it.
        let _ = self.set_items(waiting.into_iter().take(whole_pairs));
        let labels = |value| if let Value::Labels(labels) = value { Some(labels) } else { None };
        // `None` if the error is before `id_to_label`.
        self.stack.drain(..).find_map(labels).unwrap_or_default()
    }

    fn pop(&mut self, expected: &'static str) -> Result<Value, PickleError> {
        // Values below the innermost mark belong to an outer opcode.
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.expected(expected));
        }
        self.stack.pop().ok_or_else(|| self.expected(expected))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        mark.map(|mark| self.stack.split_off(mark)).ok_or_else(|| self.expected("a mark"))
    }
}

impl Value {
    fn depth(&self) -> u8 {
        match self {
            Self::List(list) => list.depth,
            Self::Dict(dict) => dict.depth,
            Self::Labels(_) => 1,
            _ => 0,
        }
    }
}

impl Container {
    fn new() -> Self {
        Self { elements: Vec::new(), depth: 1 }
    }

    /// Adds an element of the given depth; returns false if that is too deep.
    fn deepen(&mut self, depth: u8) -> bool {
        self.depth = self.depth.max(depth.saturating_add(1));
        depth < DEPTH_LIMIT
    }

    /// Sets a field; the last duplicate wins.
    fn set(&mut self, field: &'static [u8], value: Value) {
        match self.elements.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = value,
            None => self.elements.push((field, value)),
        }
    }
}

impl fmt::Display for PickleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "expected more bytes, found the end"),
            Self::Opcode(opcode) => write!(f, "expected an opcode that Chroma writes, found {opcode:#04x}"),
            Self::Global(global) => write!(f, "expected the global PersistentData, found `{global}`"),
            Self::Expected(expected) => write!(f, "expected {expected}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn unpickle(input: &[u8]) -> Result<Value, (PickleError, Box<Labels>)> {
        super::unpickle(Cursor::new(input), input.len() as u32)
    }

    /// A small `pickle.dumps(PersistentData, 5)`: object form, memoised strings, FRAME.
    fn object_form() -> Vec<u8> {
        let mut bytes = b"\x80\x05\x95\x00\x00\x00\x00\x00\x00\x00\x00".to_vec();
        bytes.extend(b"\x8c\x32chromadb.segment.impl.vector.local_persistent_hnsw\x94\x8c\x0ePersistentData\x94\x93\x94)\x81\x94}\x94(");
        bytes.extend(b"\x8c\x0edimensionality\x94K\x08\x8c\x0aid_to_label\x94}\x94(\x8c\x01a\x94K\x01\x8c\x01b\x94M\x02\x01u");
        bytes.extend(b"\x8c\x0blabel_to_id\x94}\x94K\x01h\x07sub.");
        bytes
    }

    fn check(input: &[u8], expected: Expect) {
        let found = match unpickle(input) {
            Ok(value) => format!("{value:?}"),
            Err((error, _)) => error.to_string(),
        };
        expected.assert_eq(&found);
    }

    #[test]
    fn object_and_dict_forms_decode() {
        check(
            &object_form(),
            expect!["expected an opcode that Chroma writes, found 0x6c at byte 120 of the pickle"],
        );
        check(
            b"\x80\x03}(X\x0e\0\0\0dimensionalityNX\x0a\0\0\0max_seq_id\x8a\x02\xff\x00u.",
            expect![
                "Dict(Container { elements: [([109, 97, 120, 95, 115, 101, 113, 95, 105, 100], Int(255))], depth: 1 })"
            ],
        );
        check(
            b"\x80\x02}\x8d\x01\0\0\0\0\0\0\0a](K\x01J\xff\xff\xff\xffes.",
            expect!["Dict(Container { elements: [], depth: 2 })"],
        );
    }

    /// A hundred thousand values in as many bytes, none of which is kept.
    #[test]
    fn unused_values_are_not_kept() {
        let pickle = [
            &b"}X\x01\0\0\0a]("[..],
            &b"N".repeat(50_000),
            b"es",
            b"X\x0a\0\0\0max_seq_id\x94NsX\x01\0\0\0b\x94",
        ]
        .concat();
        let again = b"h\x00K\x05sh\x01Ns".repeat(10_000);
        check(
            &[&pickle[..], b"Ns", &again, b"."].concat(),
            expect![
                "Dict(Container { elements: [([109, 97, 120, 95, 115, 101, 113, 95, 105, 100], Int(5))], depth: 2 })"
            ],
        );
    }

    #[test]
    fn other_globals_and_opcodes_are_rejected() {
        check(
            b"cos\ngetcwd\n(tR.",
            expect!["expected an opcode that Chroma writes, found 0x63 at byte 0 of the pickle"],
        );
        check(
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
            expect!["expected the global PersistentData, found `os.system` at byte 14 of the pickle"],
        );
        let known = b"\x80\x95()}]NKMJX.hjsuebe\x8a\x8c\x8d\x94\x93\x81";
        for opcode in (0..=255_u8).filter(|opcode| !known.contains(opcode)) {
            let (error, _) = unpickle(&[0x80, 4, opcode, b'.']).unwrap_err();
            let expected = PickleProblem::Opcode(opcode);
            assert!(matches!(error, PickleError::Content { offset: 2, problem } if problem == expected));
        }
    }

    #[test]
    fn containers_cannot_be_multiplied_or_nested_endlessly() {
        check(b"}\x94(h\x00h\x00u.", expect!["expected a memoised string at byte 3 of the pickle"]);
        check(
            &[&b"](".repeat(200_000)[..], &b"e".repeat(200_000), b"."].concat(),
            expect!["expected at most 8 levels of nesting at byte 17 of the pickle"],
        );
        check(b"N(s.", expect!["expected a value for SETITEM at byte 2 of the pickle"]);
        check(b"}(Nu.", expect!["expected a dict and pairs to put into it at byte 3 of the pickle"]);
        check(
            b"\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01.",
            expect!["expected an integer of at most 64 bits at byte 0 of the pickle"],
        );
        check(b"X\xff\xff\xff\xff", expect!["expected more bytes, found the end at byte 0 of the pickle"]);
        check(
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
            expect!["expected more bytes, found the end at byte 0 of the pickle"],
        );
    }

    #[test]
    fn truncation_at_any_byte_is_an_error() {
        let whole = object_form();
        for end in 0..whole.len() {
            assert!(unpickle(&whole[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn mutations_cause_no_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = object_form();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            let _ = unpickle(&bytes);
        }

        #[test]
        fn any_bytes_cause_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpickle(&bytes);
        }
    }
}
