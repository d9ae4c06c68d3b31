//! Export of results to a file, written in parts; labels as files, and back.

pub(crate) mod csv;
pub(crate) mod labels;
mod parquet;

use async_stream::try_stream;
use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _};
use store::{Problem, postgres::StoredResult, storage::StorageError};
use tokio::task::spawn_blocking;

use self::parquet::ParquetFile;
use crate::{
    answer::ApiError,
    wire::{ExportFormat, ExportParameters, Formulas, ProblemResponse, ResultResponse},
};

/// Maximum results of a part, which is a row group of a Parquet file.
const PART_RESULTS: usize = 4_096;
/// Bytes of texts after which a part ends early.
const PART_BYTES: usize = 4 << 20;

/// A file that is being written.
enum File {
    Csv(Formulas),
    Lines,
    Parquet(Box<ParquetFile>),
}

impl File {
    /// The file, and its first bytes.
    fn begin(ExportParameters { format, formulas }: ExportParameters) -> (Self, Vec<u8>) {
        match format {
            ExportFormat::Csv => (Self::Csv(formulas), csv::HEADER.into()),
            ExportFormat::Jsonl => (Self::Lines, Vec::new()),
            // The first part includes the magic bytes.
            ExportFormat::Parquet => (Self::Parquet(Box::new(ParquetFile::begin())), Vec::new()),
        }
    }

    /// Encodes `results`.
    fn write(&mut self, results: Vec<StoredResult>) -> Vec<u8> {
        match self {
            Self::Csv(formulas) => csv::write(&results, *formulas),
            Self::Lines => lines(results),
            Self::Parquet(file) => file.write(&results),
        }
    }

    /// The last bytes of the file.
    fn end(self) -> Vec<u8> {
        match self {
            Self::Csv(_) | Self::Lines => Vec::new(),
            Self::Parquet(file) => file.end(),
        }
    }
}

/// The file of `results` in parts, one in memory at a time. The stream ends at the first failure.
pub(crate) fn file(
    parameters: ExportParameters,
    mut results: impl Stream<Item = Result<StoredResult, StorageError>> + Unpin + Send + 'static,
) -> impl Stream<Item = Result<Bytes, ApiError>> + Send {
    try_stream! {
        let (mut file, beginning) = File::begin(parameters);
        yield Bytes::from(beginning);
        loop {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while part.len() < PART_RESULTS && bytes < PART_BYTES {
                let Some(result) = results.next().await else { break };
                let result = result?;
                bytes += text_bytes(&result);
                part.push(result);
            }
            if part.is_empty() {
                break;
            }
            // Compressing megabytes would delay other requests.
            let written = spawn_blocking(move || {
                let written = file.write(part);
                (file, written)
            });
            let written = written.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            file = written.0;
            yield Bytes::from(written.1);
        }
        yield Bytes::from(file.end());
    }
}

/// Approximate bytes of a result; its metadata contain at most one more text.
fn text_bytes(StoredResult { result, problems: _ }: &StoredResult) -> usize {
    let texts = [&result.query_text, &result.output_text, &result.evaluation_prompt];
    let raw_text = result.result_metadata.as_ref().and_then(|metadata| metadata.get("raw_text")?.as_str());
    texts.into_iter().flatten().map(String::len).sum::<usize>() + raw_text.map_or(0, str::len)
}

fn lines(results: Vec<StoredResult>) -> Vec<u8> {
    let mut lines = Vec::new();
    for result in results {
        serde_json::to_writer(&mut lines, &ResultResponse::from(result)).expect("wire types are JSON");
        lines.push(b'\n');
    }
    lines
}

/// The problems of a result as JSON; `None` if there are none.
fn problems_json(problems: &[Problem]) -> Option<String> {
    let shown: Vec<ProblemResponse> = problems.iter().cloned().map(ProblemResponse::from).collect();
    (!shown.is_empty()).then(|| serde_json::to_string(&shown).expect("wire types are JSON"))
}
