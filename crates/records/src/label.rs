//! What is short: names, and what records are sorted by.

/// Bytes of a name, a theme, a metric type, and other texts that sort and name things. They stand in keys, groups and lists,
/// of which there are many in memory at once.
pub const MAX_LABEL_BYTES: usize = 4096;
