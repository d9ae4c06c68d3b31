#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chroma::fuzzing::hnsw_files(bytes));
