//! The committed corpora of this crate's targets.

include!("../../../../fuzz/replay.rs");

replays! { directory, hnsw_files, json, log_rows, parquet, pickle, }
