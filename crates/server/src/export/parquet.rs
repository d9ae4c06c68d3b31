//! Parquet: one row group per part, compressed with Snappy.

use std::sync::Arc;

use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use store::{
    StoredTime,
    postgres::{EvaluationResult, StoredResult},
};
use time::PrimitiveDateTime;

use super::problems_json;

/// All texts are UTF-8; `timestamp` is in microseconds since 1970, UTC. Outside the years 1 to 9999, which readers
/// reject, it is null and `problems` has the value.
const SCHEMA: &str = "message results {
    required byte_array id (STRING);
    optional byte_array query_id (STRING);
    optional byte_array query_text (STRING);
    optional byte_array output_text (STRING);
    optional byte_array model_id (STRING);
    optional byte_array theme (STRING);
    optional byte_array evaluation_prompt_id (STRING);
    optional byte_array evaluation_prompt (STRING);
    optional double score;
    optional byte_array judge_model (STRING);
    optional int64 timestamp (TIMESTAMP(MICROS, true));
    optional byte_array metadata (JSON);
    optional byte_array problems (JSON);
}";

/// A file.
pub(super) struct ParquetFile(SerializedFileWriter<Vec<u8>>);

type Group<'f> = SerializedRowGroupWriter<'f, Vec<u8>>;

/// Writing to memory does not fail, and the columns are those of the schema.
const WRITTEN: &str = "the columns are those of the schema";

impl ParquetFile {
    /// A file.
    pub(super) fn begin() -> Self {
        let schema = parse_message_type(SCHEMA).expect("the schema is valid");
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties));
        Self(writer.expect(WRITTEN))
    }

    /// Encodes a row group.
    pub(super) fn write(&mut self, stored: &[StoredResult]) -> Vec<u8> {
        let results: Vec<&EvaluationResult> = stored.iter().map(|stored| &stored.result).collect();
        let mut group = self.0.next_row_group().expect(WRITTEN);
        let ids: Vec<ByteArray> = results.iter().map(|result| result.id.as_str().into()).collect();
        write_column::<ByteArrayType>(&mut group, &ids, None);
        let parts: [fn(&EvaluationResult) -> &Option<String>; 7] = [
            |result| &result.query_id,
            |result| &result.query_text,
            |result| &result.output_text,
            |result| &result.model_id,
            |result| &result.theme,
            |result| &result.evaluation_prompt_id,
            |result| &result.evaluation_prompt,
        ];
        for part in parts {
            write_texts(&mut group, results.iter().map(|result| part(result).as_deref()));
        }
        write_optional::<DoubleType>(&mut group, results.iter().map(|result| result.score));
        write_texts(&mut group, results.iter().map(|result| result.judge_model.as_deref()));
        write_optional::<Int64Type>(
            &mut group,
            results.iter().map(|result| result.timestamp.and_then(StoredTime::in_calendar).map(microseconds)),
        );
        let metadata: Vec<Option<String>> =
            results.iter().map(|result| result.result_metadata.as_ref().map(ToString::to_string)).collect();
        write_texts(&mut group, metadata.iter().map(Option::as_deref));
        let problems: Vec<Option<String>> =
            stored.iter().map(|stored| problems_json(&stored.problems)).collect();
        write_texts(&mut group, problems.iter().map(Option::as_deref));
        group.close().expect(WRITTEN);
        std::mem::take(self.0.inner_mut())
    }

    /// The footer.
    pub(super) fn end(self) -> Vec<u8> {
        self.0.into_inner().expect(WRITTEN)
    }
}

fn write_texts<'r>(group: &mut Group<'_>, texts: impl Iterator<Item = Option<&'r str>>) {
    write_optional::<ByteArrayType>(group, texts.map(|text| text.map(ByteArray::from)));
}

fn write_optional<T: DataType>(group: &mut Group<'_>, values: impl Iterator<Item = Option<T::T>>) {
    let (mut levels, mut present) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        present.extend(value);
    }
    write_column::<T>(group, &present, Some(&levels));
}

fn write_column<T: DataType>(group: &mut Group<'_>, values: &[T::T], levels: Option<&[i16]>) {
    let mut column = group.next_column().expect(WRITTEN).expect(WRITTEN);
    column.typed::<T>().write_batch(values, levels, None).expect(WRITTEN);
    column.close().expect(WRITTEN);
}

fn microseconds(time: PrimitiveDateTime) -> i64 {
    // Years -9999 to 9999 fit into 64 bits of microseconds.
    i64::try_from(time.assume_utc().unix_timestamp_nanos() / 1_000).expect("microseconds fit into 64 bits")
}
