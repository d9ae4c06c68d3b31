//! Names of our indexes: a temporary name during the build, and a final one once in place.

/// PostgreSQL silently truncates longer names.
const MAX_NAME_BYTES: usize = 63;

const FINAL: &str = "_panopticon_vector";
const TEMPORARY: &str = "_panopticon_vector_new";

/// The final name of the index of `table`.
pub(crate) fn final_name(table: &str) -> String {
    named(table, FINAL)
}

/// Its name during the build, and until the index that it replaces is dropped.
pub(crate) fn temporary_name(table: &str) -> String {
    named(table, TEMPORARY)
}

/// Whether `name` is a name that we give to an index of `table`.
pub(crate) fn is_ours(name: &str, table: &str) -> bool {
    let unnumbered = name.trim_end_matches(|end: char| end.is_ascii_digit());
    // A number may have shortened the name.
    let is_numbered = |base: &str| {
        unnumbered == base
            || name != unnumbered && name.len() == MAX_NAME_BYTES && base.starts_with(unnumbered)
    };
    [final_name(table), temporary_name(table)].iter().any(|base| name == base || is_numbered(base))
}

/// `name`, with a numeric suffix if it is taken.
pub(crate) fn free(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(name) {
        return name.to_owned();
    }
    let numbered = |number: u32| {
        let suffix = number.to_string();
        format!("{}{suffix}", cut(name, MAX_NAME_BYTES - suffix.len()))
    };
    (2..).map(numbered).find(|name| !is_taken(name)).expect("some number is free")
}

fn named(table: &str, suffix: &str) -> String {
    if table.len() + suffix.len() <= MAX_NAME_BYTES {
        return format!("{table}{suffix}");
    }
    // The digest distinguishes tables with a common prefix.
    let digest = format!("_{:08x}", fnv1a(table));
    format!("{}{digest}{suffix}", cut(table, MAX_NAME_BYTES - digest.len() - suffix.len()))
}

fn cut(name: &str, bytes: usize) -> &str {
    &name[..name.floor_char_boundary(bytes)]
}

/// The 32-bit Fowler–Noll–Vo hash, which is stable across versions.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        assert_eq!(final_name("queries"), "queries_panopticon_vector");
        assert_eq!(temporary_name("queries"), "queries_panopticon_vector_new");
        let long = "ü".repeat(31);
        let names = [final_name(&long), temporary_name(&long), final_name(&format!("{long}x"))];
        assert!(names.iter().all(|name| name.len() <= MAX_NAME_BYTES), "{names:?}");
        assert!(names[0] != names[1] && names[0] != names[2], "{names:?}");
    }

    #[test]
    fn own_names_are_recognised() {
        let long = "x".repeat(60);
        for table in ["queries", long.as_str()] {
            for name in [final_name(table), temporary_name(table)] {
                let numbered = free(&name, |taken| taken == name);
                assert!(is_ours(&name, table) && is_ours(&numbered, table), "{name}, {numbered}");
            }
        }
        for name in
            ["queries_embedding_idx", "queries_panopticon_vector_mine", "queries_panopticon_words", ""]
        {
            assert!(!is_ours(name, "queries"), "{name}");
        }
    }

    #[test]
    fn taken_names_get_a_number() {
        assert_eq!(free("a", |_| false), "a");
        assert_eq!(free("a", |name| name == "a" || name == "a2"), "a3");
        let longest = "x".repeat(MAX_NAME_BYTES);
        assert_eq!(free(&longest, |name| name == longest).len(), MAX_NAME_BYTES);
    }
}
