//! The committed corpora of this crate's targets.

include!("../../../../fuzz/replay.rs");

replays! { metadata, }
