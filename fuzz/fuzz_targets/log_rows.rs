#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| chroma::fuzzing::log_rows(bytes));
