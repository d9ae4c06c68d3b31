//! The committed corpus, run once more: what fuzzing has found stays found.

use std::{fs, path::Path};

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // Shown if the test fails.
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
    }
}

macro_rules! replays {
    ($($target:ident,)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target), super::$target);
        })*

        #[test]
        fn every_target_is_replayed() {
            let targets = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets")).unwrap();
            let mut targets: Vec<_> = targets
                .map(|target| target.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            targets.sort();
            assert_eq!(targets, [$(stringify!($target)),*]);
        }
    };
}

replays! { directory, hnsw_files, json, log_rows, parquet, pickle, }
