//! Tests on persist directories that real versions of Chroma wrote, compared with what was written to them.

#![allow(missing_docs)]

mod crafted;
mod damaged;
mod fixtures;
mod generator;
mod golden;
mod hostile;
mod overview;
mod parquet;
mod parquet_bombs;
mod parquet_files;
mod parquet_roundtrip;
mod roundtrip;
#[path = "../../test-support/src/run_mode.rs"]
#[allow(unreachable_pub, reason = "it is public in test-support")]
mod run_mode;
mod salvage;
mod untouched;
