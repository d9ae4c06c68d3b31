//! How long a name may be, whoever gives it.

/// Bytes of a name, a theme, a metric type, and other texts that sort and name things. They stand in keys, groups and lists,
/// of which there are many in memory at once.
pub const MAX_LABEL_BYTES: usize = 4096;
/// Characters of an id: more than any provider's have, and still short enough for a path and an index.
pub const MAX_ID_CHARS: usize = 512;
