#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| judge::fuzzing::judge_parse(bytes));
