#![no_main]

use std::{panic, process};

// The decoder of the `parquet` crate panics on damaged bytes, and the reader makes errors of that. libFuzzer's own
// hook would end the process at once, so this one takes its place: only a panic of ours does.
libfuzzer_sys::fuzz_target!(
    init: panic::set_hook(Box::new(|info| {
        if info.location().is_some_and(|location| location.file().contains("chroma/src")) {
            eprintln!("{info}");
            process::abort();
        }
    })),
    |bytes: &[u8]| chroma::fuzzing::parquet(bytes)
);
