//! The domain types that all other crates use. No I/O, no async, no SQL, no serde.

mod embedding;
mod failure;
mod identity;
mod label;
pub mod lock;
mod metadata;
mod nul;
pub mod oldest;
mod service;
mod shortened;
mod size;
mod space;
pub mod terminal;
pub mod timestamp;
mod unfinished;

pub use embedding::{Embedding, MODEL_DIMENSION};
pub use failure::{error_chain, panic_message};
pub use identity::{ID_NAMESPACE, stored_id};
pub use label::{MAX_ID_CHARS, MAX_LABEL_BYTES};
pub use metadata::{Metadata, MetadataValue};
pub use nul::without_nul;
pub use service::{OwnKey, Service, UnknownService};
pub use shortened::{cut_short, shortened};
pub use size::size_text;
pub use space::DistanceSpace;
pub use unfinished::Unfinished;
