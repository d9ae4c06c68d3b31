//! Writes JSON Lines: [`CollectionLines`] writes one line per record, with everything that was read of it.
//!
//! `serde_json` is not used: it writes NaN as `null`, and building a tree of values is too slow for 100,000 records a
//! second. The format is that of Chroma's own log: integers have no fraction, floats always have a point or an
//! exponent, and numbers that JSON cannot express are a bare `NaN`, `Infinity` or `-Infinity`, as in Python. Control
//! characters and line separators are escaped, so that every reader sees one line.

mod record;

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use records::{
    Embedding, Metadata, MetadataValue,
    terminal::{is_obeyed, json_escape},
};
use uuid::Uuid;

pub use record::CollectionLines;

/// A value that can be appended to a buffer as JSON.
pub trait WriteJson {
    /// Appends the value.
    fn write_json(&self, out: &mut Vec<u8>);
}

/// An object being written; members are appended in the order of the calls.
#[derive(Debug)]
pub struct Object<'b> {
    out: &'b mut Vec<u8>,
    is_empty: bool,
}

/// Bytes, written as a base64 string (RFC 4648, padded).
#[derive(Clone, Copy, Debug)]
pub struct Base64<'b>(pub &'b [u8]);

/// A vector `[dimension]`, written as the base64 of its components, each a little-endian f32.
#[derive(Clone, Copy, Debug)]
pub struct Base64Floats<'e>(pub &'e Embedding);

/// Metadata; `null` if there are no keys, as Chroma returns it.
#[derive(Clone, Copy, Debug)]
pub struct MetadataOrNull<'m>(pub &'m Metadata);

impl<'b> Object<'b> {
    /// Begins an object.
    pub fn open(out: &'b mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Continues an object whose first members are at the end of `out`.
    pub fn resume(out: &'b mut Vec<u8>) -> Self {
        Self { out, is_empty: false }
    }

    /// Appends a member. Keys must be unique.
    pub fn member(&mut self, key: &str, value: &(impl WriteJson + ?Sized)) {
        value.write_json(self.key(key));
    }

    /// Appends a member that is an object.
    pub fn object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::open(self.key(key));
        fill(&mut object);
        object.close();
    }

    /// Appends a member that is an array of objects.
    pub fn objects<T>(
        &mut self,
        key: &str,
        elements: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Object<'_>, T),
    ) {
        array(self.key(key), elements, |out, element| {
            let mut object = Object::open(out);
            fill(&mut object, element);
            object.close();
        });
    }

    /// Ends the object.
    pub fn close(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        key.write_json(self.out);
        self.out.push(b':');
        self.out
    }
}

impl WriteJson for str {
    fn write_json(&self, out: &mut Vec<u8>) {
        let bytes = self.as_bytes();
        out.reserve(bytes.len() + 2);
        out.push(b'"');
        let mut written = 0;
        let mut offset = 0;
        while let Some(byte) = bytes.get(offset) {
            if !MAY_NEED_ESCAPE[usize::from(*byte)] {
                offset += 1;
                continue;
            }
            let c =
                self[offset..].chars().next().expect("the look-up stops at first bytes of characters only");
            let end = offset + c.len_utf8();
            if is_escaped(c) {
                out.extend_from_slice(&bytes[written..offset]);
                escape(c, out);
                written = end;
            }
            offset = end;
        }
        out.extend_from_slice(&bytes[written..]);
        out.push(b'"');
    }
}

/// First bytes of characters that may need escaping: C0 controls, `"`, `\`, DEL, and the lead bytes of all other
/// control characters.
const MAY_NEED_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20
            || matches!(byte as u8, b'"' | b'\\' | 0x7f | 0xc2 | 0xd8 | 0xe1 | 0xe2 | 0xef | 0xf3);
        byte += 1;
    }
    table
};

fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\') || is_obeyed(c)
}

fn escape(c: char, out: &mut Vec<u8>) {
    match c {
        '"' => out.extend_from_slice(br#"\""#),
        '\\' => out.extend_from_slice(br"\\"),
        '\n' => out.extend_from_slice(br"\n"),
        '\r' => out.extend_from_slice(br"\r"),
        '\t' => out.extend_from_slice(br"\t"),
        c => out.extend_from_slice(json_escape(c).as_bytes()),
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes whatever is written to it");
}

impl WriteJson for String {
    fn write_json(&self, out: &mut Vec<u8>) {
        self.as_str().write_json(out);
    }
}

impl WriteJson for bool {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if *self { b"true" } else { b"false" });
    }
}

impl WriteJson for i64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        append(out, format_args!("{self}"));
    }
}

impl WriteJson for usize {
    fn write_json(&self, out: &mut Vec<u8>) {
        append(out, format_args!("{self}"));
    }
}

impl WriteJson for u64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        append(out, format_args!("{self}"));
    }
}

impl WriteJson for f64 {
    fn write_json(&self, out: &mut Vec<u8>) {
        match *self {
            number if number.is_nan() => out.extend_from_slice(b"NaN"),
            Self::INFINITY => out.extend_from_slice(b"Infinity"),
            Self::NEG_INFINITY => out.extend_from_slice(b"-Infinity"),
            // `Debug` is the shortest text that parses to this number, and has a point or an exponent.
            number => append(out, format_args!("{number:?}")),
        }
    }
}

impl WriteJson for Uuid {
    fn write_json(&self, out: &mut Vec<u8>) {
        append(out, format_args!("\"{}\"", self.hyphenated()));
    }
}

impl<T: WriteJson> WriteJson for Option<T> {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Some(value) => value.write_json(out),
            None => out.extend_from_slice(b"null"),
        }
    }
}

impl<T: WriteJson + ?Sized> WriteJson for &T {
    fn write_json(&self, out: &mut Vec<u8>) {
        (**self).write_json(out);
    }
}

impl<T: WriteJson> WriteJson for [T] {
    fn write_json(&self, out: &mut Vec<u8>) {
        array(out, self, |out, element| element.write_json(out));
    }
}

fn array<T>(
    out: &mut Vec<u8>,
    elements: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (position, element) in elements.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write(out, element);
    }
    out.push(b']');
}

impl WriteJson for MetadataValue {
    fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => value.write_json(out),
            Self::Int(number) => number.write_json(out),
            Self::Float(number) => number.write_json(out),
            Self::Text(text) => text.write_json(out),
            Self::List(elements) => elements.as_slice().write_json(out),
        }
    }
}

impl WriteJson for MetadataOrNull<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        if self.0.is_empty() {
            return out.extend_from_slice(b"null");
        }
        let mut object = Object::open(out);
        for (key, value) in self.0 {
            object.member(key, value);
        }
        object.close();
    }
}

impl WriteJson for Base64<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        let start = out.len();
        // Base64 adds a third, and padding; the rest is truncated below.
        out.resize(start + self.0.len() / 3 * 4 + 4, 0);
        let length = STANDARD.encode_slice(self.0, &mut out[start..]).expect("the space is reserved above");
        out.truncate(start + length);
        out.push(b'"');
    }
}

impl WriteJson for Base64Floats<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        // In chunks, which compiles to a memory copy; a flattened iterator takes a microsecond more.
        let components = self.0.as_slice();
        let mut bytes = vec![0; size_of_val(components)];
        for (chunk, component) in bytes.chunks_exact_mut(size_of::<f32>()).zip(components) {
            chunk.copy_from_slice(&component.to_le_bytes());
        }
        Base64(&bytes).write_json(out);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn text(value: &(impl WriteJson + ?Sized)) -> String {
        let mut out = Vec::new();
        value.write_json(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    fn check(value: &(impl WriteJson + ?Sized), expected: Expect) {
        expected.assert_eq(&text(value));
    }

    #[test]
    fn floats_have_a_point_or_an_exponent_and_integers_do_not() {
        let floats = [1.0, -0.0, 0.1, 1e300, 5e-324, 123_456_789_012_345_680.0, f64::NAN];
        check(floats.as_slice(), expect!["[1.0,-0.0,0.1,1e300,5e-324,1.2345678901234568e17,NaN]"]);
        check([f64::INFINITY, f64::NEG_INFINITY].as_slice(), expect!["[Infinity,-Infinity]"]);
        check(
            [i64::MIN, 9_007_199_254_740_993].as_slice(),
            expect!["[-9223372036854775808,9007199254740993]"],
        );
    }

    #[test]
    fn text_is_one_line_without_escape_sequences() {
        check(
            "a\"\\\n\r\t\0\u{1b}[31m\u{7f}\u{9b}\u{85}",
            expect![[r#""a\"\\\n\r\t\u0000\u001b[31m\u007f\u009b\u0085""#]],
        );
        check("\u{2028}\u{2029} “é” ¢ € 🎈 \u{2027}", expect![[r#""\u2028\u2029 “é” ¢ € 🎈 ‧""#]]);
        check(
            "\u{202e}\u{2066}\u{200b}\u{ad}\u{61c}\u{180e}\u{feff}\u{fff9}\u{e0041}",
            expect![[r#""\u202e\u2066\u200b\u00ad\u061c\u180e\ufeff\ufff9\udb40\udc41""#]],
        );
    }

    #[test]
    fn every_control_character_is_escaped_and_parsed_back() {
        for c in ('\0'..=char::MAX).filter(|c| is_obeyed(*c)) {
            let shown = text(&format!("a{c}b"));
            assert!(shown.is_ascii() && shown.contains('\\'), "{c:?}: {shown}");
            assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), format!("a{c}b"));
        }
    }

    #[test]
    fn bytes_and_vectors_are_padded_base64() {
        check(&Base64(b""), expect![[r#""""#]]);
        check(&Base64(b"ab"), expect![[r#""YWI=""#]]);
        check(&Base64Floats(&Embedding::from(vec![1.0, -2.5])), expect![[r#""AACAPwAAIMA=""#]]);
    }

    #[test]
    fn objects_nest() {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.member("a", &None::<u64>);
        object.object("b", |inner| inner.member("c", &true));
        object.objects("d", [1_i64, 2], |inner, number| inner.member("e", &number));
        object.member("f", &MetadataOrNull(&Metadata::new()));
        object.close();
        let written = String::from_utf8(out).expect("JSON is UTF-8");
        expect![[r#"{"a":null,"b":{"c":true},"d":[{"e":1},{"e":2}],"f":null}"#]].assert_eq(&written);
    }

    fn scalar() -> impl Strategy<Value = MetadataValue> {
        prop_oneof![
            any::<bool>().prop_map(MetadataValue::Bool),
            any::<i64>().prop_map(MetadataValue::Int),
            any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(MetadataValue::Float),
            any::<String>().prop_map(MetadataValue::Text),
        ]
    }

    fn value() -> impl Strategy<Value = MetadataValue> {
        prop_oneof![scalar(), prop::collection::vec(scalar(), 0..4).prop_map(MetadataValue::List)]
    }

    fn by_serde(value: &MetadataValue) -> Value {
        match value {
            MetadataValue::Bool(value) => Value::from(*value),
            MetadataValue::Int(number) => Value::from(*number),
            MetadataValue::Float(number) => Value::from(*number),
            MetadataValue::Text(text) => Value::from(text.as_str()),
            MetadataValue::List(elements) => elements.iter().map(by_serde).collect(),
        }
    }

    proptest! {
        #[test]
        fn serde_json_parses_the_same_values(metadata in prop::collection::btree_map(any::<String>(), value(), 1..4)) {
            let line = text(&MetadataOrNull(&metadata));
            prop_assert!(!line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')), "{line}");
            let expected: Value =
                metadata.iter().map(|(key, value)| (key.clone(), by_serde(value))).collect::<serde_json::Map<_, _>>().into();
            // serde_json also distinguishes integers from floats.
            prop_assert_eq!(serde_json::from_str::<Value>(&line).expect("it is JSON"), expected);
        }

        #[test]
        fn floats_read_back_bit_for_bit(bits in any::<u64>()) {
            let number = f64::from_bits(bits);
            let written = text(&number);
            let read: f64 = written.replace("Infinity", "inf").parse().expect("a number");
            prop_assert!(read.to_bits() == bits || (read.is_nan() && number.is_nan()), "{}", written);
            prop_assert!(!number.is_finite() || written.contains(['.', 'e']), "{}", written);
        }

        #[test]
        fn embeddings_read_back_bit_for_bit(bits in prop::collection::vec(any::<u32>(), 0..20)) {
            let written = text(&Base64Floats(&bits.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>().into()));
            let bytes = STANDARD.decode(written.trim_matches('"')).expect("base64");
            let read: Vec<u32> = bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect();
            prop_assert_eq!(read, bits);
        }
    }
}
