// Runs the committed corpus as a regression test. Each crate with fuzz targets includes this file in
// `src/fuzzing/replay.rs` and lists them there: `replays! { pickle, json, }`. A repository test checks that the list is
// complete.

fn replay(target: &str, run: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        // Shown if the test fails.
        println!("{}", file.display());
        run(&std::fs::read(&file).unwrap());
    }
}

macro_rules! replays {
    ($($target:ident,)*) => {
        $(#[test]
        fn $target() {
            replay(stringify!($target), super::$target);
        })*
    };
}
