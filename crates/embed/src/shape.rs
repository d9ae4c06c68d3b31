//! The fixed sizes of all-MiniLM-L6-v2.

/// Length of a token's vector.
pub(crate) const HIDDEN: usize = records::MODEL_DIMENSION;
/// Encoder layers.
pub(crate) const LAYERS: usize = 6;
/// Attention heads.
pub(crate) const HEADS: usize = 12;
/// Length of one head's query, key and value.
pub(crate) const HEAD_DIM: usize = HIDDEN / HEADS;
/// Query, key and value of one head side by side.
pub(crate) const HEAD_QKV: usize = 3 * HEAD_DIM;
/// Width of the feed-forward layer.
pub(crate) const FEED_FORWARD: usize = 1536;
/// Rows of the word embedding table.
pub(crate) const VOCABULARY: usize = 30_522;
/// Rows of the position table in the file; only the first `MAX_TOKENS` are used.
pub(crate) const POSITIONS: usize = 512;
/// Word pieces of a text that the model sees, including \[CLS\] and \[SEP\]; the rest is truncated, as by the model's authors.
pub(crate) const MAX_TOKENS: usize = 256;
