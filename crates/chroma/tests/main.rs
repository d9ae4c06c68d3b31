//! Persist directories that real versions of Chroma wrote, read and compared with what was written to them.

#![allow(missing_docs)]

mod crafted;
mod damaged;
mod fixtures;
mod generator;
mod golden;
mod hostile;
mod overview;
mod parquet;
mod parquet_files;
mod parquet_roundtrip;
mod roundtrip;
mod salvage;
mod untouched;
