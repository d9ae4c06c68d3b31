#![no_main]

use std::{panic, process};

// The decoder of the `parquet` crate panics on damaged bytes, which the reader converts to errors. libFuzzer's own hook
// would abort the process, so it is replaced by this one, which aborts only on panics in our code.
libfuzzer_sys::fuzz_target!(
    init: panic::set_hook(Box::new(|info| {
        if info.location().is_some_and(|location| location.file().contains("chroma/src")) {
            eprintln!("{info}");
            process::abort();
        }
    })),
    |bytes: &[u8]| chroma::fuzzing::parquet(bytes)
);
