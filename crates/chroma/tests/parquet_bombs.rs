//! Parquet files of a few megabytes that decode to gigabytes, written by the same library as real ones.

use std::{
    fs::{self, File},
    ops::ControlFlow,
    path::Path,
};

use chroma::{Error, ParquetFault, PersistDirectory};
use parquet::{
    data_type::ByteArray,
    file::{
        metadata::{
            FileMetaData, ParquetMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
            RowGroupMetaData,
        },
        properties::{EnabledStatistics, WriterPropertiesBuilder},
    },
};
use tempfile::TempDir;

use crate::{
    parquet::A,
    parquet_files::{
        COLLECTIONS, EMBEDDINGS, Row, Text, as_duckdb, text, write_collections, write_collections_with,
        write_embeddings,
    },
};

/// Size of a document that Snappy cannot compress.
const TEXT_BYTES: usize = 3 << 20;
const ROWS_OF_GROUP: usize = 20;

fn long_text() -> Text {
    // Knuth's linear congruential generator: its high bits are random enough.
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..TEXT_BYTES)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b'a' + (state >> 60) as u8
        })
        .collect();
    Some(ByteArray::from(bytes))
}

fn with_long_dictionaries() -> WriterPropertiesBuilder {
    as_duckdb().set_dictionary_page_size_limit(2 * TEXT_BYTES).set_statistics_enabled(EnabledStatistics::None)
}

/// Repeats each row group `times` times in the footer, so that the same bytes are read as rows repeatedly.
fn multiply_row_groups(path: &Path, times: usize) {
    let bytes = fs::read(path).unwrap();
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&File::open(path).unwrap()).unwrap();
    let groups: Vec<RowGroupMetaData> =
        (0..times).flat_map(|_| metadata.row_groups().iter().cloned()).collect();
    let file = metadata.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        groups.iter().map(RowGroupMetaData::num_rows).sum(),
        file.created_by().map(str::to_owned),
        None,
        file.schema_descr_ptr(),
        None,
    );
    let metadata = ParquetMetaDataBuilder::new(file).set_row_groups(groups).build();
    // The footer, its length and the magic are the end of the file.
    let (rest, _) = bytes.split_last_chunk::<8>().unwrap();
    let length = u32::from_le_bytes(*bytes[rest.len()..].first_chunk().unwrap()) as usize;
    let mut bytes = rest[..rest.len() - length].to_vec();
    ParquetMetaDataWriter::new(&mut bytes, &metadata).finish().unwrap();
    fs::write(path, bytes).unwrap();
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// The limit in the error.
fn limit(error: &Error) -> u64 {
    let Error::Parquet { source: ParquetFault::Expands { limit_bytes }, .. } = error else {
        panic!("{error:?}")
    };
    *limit_bytes
}

/// 5 MB that decode to 6 GB: all rows of a group share the document of its dictionary, and all groups are the same.
#[test]
fn document_shared_by_all_records_is_read_only_up_to_the_limit() {
    let directory = TempDir::new().unwrap();
    write_collections(directory.path(), &[[text(A), text("a"), text("null")]]);
    let document = long_text();
    let rows: Vec<Row> = (0..ROWS_OF_GROUP)
        .map(|id| Row { document: document.clone(), ..Row::new(A, &id.to_string(), &[1.0]) })
        .collect();
    write_embeddings(directory.path(), [&rows[..]], with_long_dictionaries());
    let file = directory.path().join(EMBEDDINGS);
    multiply_row_groups(&file, 100);
    assert!(size(&file) < 2 * TEXT_BYTES as u64, "{}", size(&file));

    let opened = PersistDirectory::open(directory.path()).unwrap();
    let mut bytes = 0;
    let error = opened.read(&opened.collections()[0], |record| {
        bytes += record.document.map_or(0, |document| document.len() as u64);
        ControlFlow::Continue(())
    });
    let limit = limit(&error.unwrap_err());
    assert!(bytes <= limit && limit - bytes < 1 << 30, "{bytes} of {limit}");
}

/// All collections are in memory at once, so their limit is smaller.
#[test]
fn text_shared_by_all_collections_is_rejected_before_it_exhausts_memory() {
    for column in [1, 2] {
        let directory = TempDir::new().unwrap();
        let shared = long_text();
        let rows: Vec<[Text; 3]> = (0..ROWS_OF_GROUP)
            .map(|number| {
                let id = format!("aaaaaaaa-0000-4000-8000-{number:012}");
                let mut row = [text(&id), text("name"), text("null")];
                row[column] = shared.clone();
                row
            })
            .collect();
        write_collections_with(directory.path(), &rows, with_long_dictionaries());
        let file = directory.path().join(COLLECTIONS);
        multiply_row_groups(&file, 100);
        let error = PersistDirectory::open(directory.path()).unwrap_err();
        assert!(limit(&error) <= 512 << 20, "{column}: {error:?}");
    }
}
