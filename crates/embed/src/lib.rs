//! Text to embedding: all-MiniLM-L6-v2 in f32 on the CPU, written out by hand.
//!
//! [`Model`] loads a model directory and embeds on the calling thread and its own helpers. [`Embedder`] puts
//! a bounded queue and a thread before it, for callers that are async. The crate does no network and reads no
//! environment: where the model files are is the caller's affair.
//!
//! A text's way: `beginning` leaves out what cannot matter, `tokenize` splits the rest into word pieces, `pack` shares texts out, `forward` computes a pack in
//! stages that `team` runs on threads, with the arithmetic of `kernels` on the matrices of `weights`.

mod beginning;
mod embedder;
mod error;
mod floats;
mod forward;
mod kernels;
mod model;
mod pack;
mod priority;
mod scratch;
mod shape;
mod team;
mod tokenize;
mod weights;

pub use embedder::{Embedder, EmbedderConfig, EmbedderState};
pub use error::{EmbedError, LoadError};
pub use kernels::Kernel;
pub use model::{Model, ModelConfig};
pub use tokenize::Tokens;
