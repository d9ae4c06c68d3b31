//! Limits on the length of names and ids.

/// Most bytes of a name, a theme, a metric type and other labels. Many of them are in memory at once, as keys and in
/// groups and lists.
pub const MAX_LABEL_BYTES: usize = 4096;
/// Most characters of an id: longer than any provider's, short enough for a URL path and an index.
pub const MAX_ID_CHARS: usize = 512;
