//! Pages with wrong declarations. Each of these made the decoder allocate gigabytes, or panic.

use std::{io::Write as _, sync::Arc};

use expect_test::{Expect, expect};
use parquet::{
    basic::Compression,
    data_type::{ByteArrayType, DataType, DoubleType},
    schema::{parser::parse_message_type, types::SchemaDescriptor},
};

use super::{
    column::{Column, Decoded},
    file::catch_panic,
    pages::{Allowance, Budget, Chunk, Pages, Use},
};
use crate::fault::ParquetFault;

const TEXTS: &str = "message m { optional byte_array a; }";
const LISTS: &str =
    "message m { optional group a (LIST) { repeated group list { optional double element; } } }";

const DATA: i32 = 0;
const DICTIONARY: i32 = 2;
const PLAIN: i32 = 0;
const RLE: i32 = 3;
const RLE_DICTIONARY: i32 = 8;

/// A page with a header of these declarations.
struct Declared<'b> {
    kind: i32,
    size: i32,
    values: i32,
    encoding: i32,
    body: &'b [u8],
}

impl Declared<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0x15];
        bytes.extend(zigzag(self.kind));
        bytes.push(0x15);
        bytes.extend(zigzag(self.size));
        bytes.push(0x15);
        bytes.extend(zigzag(i32::try_from(self.body.len()).unwrap()));
        // `data_page_header` is field 5, `dictionary_page_header` field 7.
        bytes.push(if self.kind == DICTIONARY { 0x4c } else { 0x2c });
        for number in [self.values, self.encoding, RLE, RLE] {
            bytes.push(0x15);
            bytes.extend(zigzag(number));
        }
        bytes.extend([0, 0]);
        bytes.extend(self.body);
        bytes
    }
}

fn zigzag(number: i32) -> Vec<u8> {
    let mut number = u64::try_from(number).unwrap() << 1;
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A column of these bytes.
fn column<T: DataType<T: Decoded>>(
    schema: &str,
    compression: Compression,
    bytes: &[u8],
    budget: Budget,
) -> Column<T> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
    let chunk = Chunk { start: 0, length: bytes.len() as u64, compression, value_size: 4 };
    let allowance = Allowance::default();
    let pages = Pages::new(Arc::new(file), chunk, allowance.clone());
    Column::new(schema.column(0), pages, allowance, budget)
}

/// Reads one row of it.
fn read<T: DataType<T: Decoded>>(
    schema: &str,
    compression: Compression,
    bytes: &[u8],
) -> Result<(), ParquetFault> {
    catch_panic(|| column::<T>(schema, compression, bytes, Budget::new(0, Use::Passed)).read(0, 1))
}

fn check(compression: Compression, pages: &[Declared<'_>], expected: Expect) {
    let bytes: Vec<u8> = pages.iter().flat_map(Declared::bytes).collect();
    let error = read::<ByteArrayType>(TEXTS, compression, &bytes).unwrap_err();
    expected.assert_eq(&error.to_string());
}

#[test]
fn sizes_beyond_the_bytes_are_rejected() {
    let (plain, snappy) = (Compression::UNCOMPRESSED, Compression::SNAPPY);
    let page = Declared { kind: DATA, size: i32::MAX, values: 1, encoding: PLAIN, body: b"abcd" };
    check(
        snappy,
        &[page],
        expect!["expected a page of at most 88 bytes decompressed at byte 0, found 2147483647"],
    );
    let page = Declared { kind: DATA, size: i32::MAX, values: 1, encoding: PLAIN, body: b"abcd" };
    check(plain, &[page], expect!["expected a page of 4 bytes at byte 0, found 2147483647"]);
    let page =
        Declared { kind: DATA, size: 80, values: 1, encoding: PLAIN, body: &[0xff, 0xff, 0xff, 0xff, 0x07] };
    check(
        snappy,
        &[page],
        expect!["expected a page that decompresses to 80 bytes at byte 0, found 2147483647"],
    );
    let page = Declared { kind: DICTIONARY, size: 4, values: i32::MAX, encoding: PLAIN, body: b"abcd" };
    check(plain, &[page], expect!["expected at most 1 values in a page at byte 0, found 2147483647"]);
    let page = Declared { kind: DATA, size: 4, values: i32::MAX, encoding: PLAIN, body: b"abcd" };
    check(plain, &[page], expect!["expected at most 16777216 values in a page at byte 0, found 2147483647"]);
}

#[test]
fn pages_on_which_the_decoder_panics_are_errors() {
    let plain = Compression::UNCOMPRESSED;
    let page = Declared { kind: DATA, size: 4, values: 1, encoding: RLE_DICTIONARY, body: b"abcd" };
    check(
        plain,
        &[page],
        expect!["expected plain values, or indexes into a dictionary at byte 0, found RLE_DICTIONARY"],
    );
    let page = Declared { kind: DATA, size: 4, values: 1, encoding: 4, body: b"abcd" };
    check(
        plain,
        &[page],
        expect![
            "expected the header of a page in an encoding that Chroma 0.3 wrote at byte 0, found other bytes at offset 17 of the header"
        ],
    );
    // The levels declare one value, but only two bytes are left for its length.
    let body = [2, 0, 0, 0, 2, 1, b'a', b'b'];
    let page = Declared { kind: DATA, size: 8, values: 1, encoding: PLAIN, body: &body };
    check(plain, &[page], expect!["the decoder panicked: assertion failed: size <= src.len()"]);
}

/// 16 million values take ten bytes, and a record may span any number of pages.
#[test]
fn endless_record_is_rejected() {
    // Levels of 16,777,216 values: two runs (the length times two in five bytes), of 1 and of 2 (a null element).
    let level = |level: u8| [&[5, 0, 0, 0][..], &[0x80, 0x80, 0x80, 0x10, level]].concat();
    let body = [level(1), level(2)].concat();
    let page = || Declared { kind: DATA, size: 18, values: 1 << 24, encoding: PLAIN, body: &body };
    let bytes: Vec<u8> = (0..1000).flat_map(|_| page().bytes()).collect();
    let error = read::<DoubleType>(LISTS, Compression::UNCOMPRESSED, &bytes).unwrap_err();
    expect!["expected a record of at most 16777216 values at byte 38, found more"]
        .assert_eq(&error.to_string());
}

/// A row that refers to a value of a dictionary takes almost no space: kilobytes decode to a gigabyte.
#[test]
fn values_multiplied_by_a_dictionary_count_towards_the_budget() {
    const VALUE_BYTES: u32 = 10_000;
    const ROWS: u64 = 100_000;
    let value = [&VALUE_BYTES.to_le_bytes()[..], &[b'a'; VALUE_BYTES as usize]].concat();
    let size = i32::try_from(value.len()).unwrap();
    let dictionary = Declared { kind: DICTIONARY, size, values: 1, encoding: PLAIN, body: &value };
    // Levels of 100,000 values of 1 in a run, then indexes of one bit, a run of zeros.
    let body = [4, 0, 0, 0, 0xc0, 0x9a, 0x0c, 1, 1, 0xc0, 0x9a, 0x0c, 0];
    let rows = Declared { kind: DATA, size: 13, values: ROWS as i32, encoding: RLE_DICTIONARY, body: &body };
    let bytes = [dictionary.bytes(), rows.bytes()].concat();
    let read = |budget: Budget, rows: u64| {
        let mut column = column::<ByteArrayType>(TEXTS, Compression::UNCOMPRESSED, &bytes, budget);
        catch_panic(|| (0..rows).step_by(100).try_for_each(|first| column.read(first, 100)))
    };
    let budget = Budget::limited(20 << 20);
    read(budget.clone(), 2_000).unwrap();
    let error = read(budget.clone(), 2_000).unwrap_err();
    assert!(error.to_string().starts_with("expected at most 20971520 bytes of decoded values"), "{error}");
    budget.renew();
    read(budget, 2_000).unwrap();
    read(Budget::new(bytes.len() as u64, Use::Passed), ROWS).unwrap();
}
