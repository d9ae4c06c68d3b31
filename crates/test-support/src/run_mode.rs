//! Settings of a test run from the environment. Included by crates that cannot depend on test-support.

/// Reports that the running test, or a part of it, is skipped, and why. With `PANOPTICON_REQUIRE_ALL=1`, that is a failure.
/// `.ci/test` counts the lines in the file that `PANOPTICON_SKIPPED` names.
pub fn skip(reason: &str) {
    not_permitted(reason);
    let is_required = std::env::var_os("PANOPTICON_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!is_required, "PANOPTICON_REQUIRE_ALL allows no skip: {reason}");
}

/// Reports that the kernel does not permit the running test, in a container for example. Listed like a skip, but never a
/// failure: no installation can end it.
pub fn not_permitted(reason: &str) {
    use std::io::Write as _;

    println!("skipped: {reason}");
    if let Some(path) = std::env::var_os("PANOPTICON_SKIPPED") {
        let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let file = std::fs::File::options().append(true).create(true).open(path);
        let line = format!("{package} {test}: {reason}\n");
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the skip is recorded");
    }
}

/// The number of repetitions: `few` for each change, `many` in `.ci/nightly`, which sets `PANOPTICON_FULL_COUNTS=1`.
pub fn count<T>(few: T, many: T) -> T {
    let is_full = std::env::var_os("PANOPTICON_FULL_COUNTS").is_some_and(|value| value == "1");
    if is_full { many } else { few }
}
