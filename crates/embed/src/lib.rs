//! Text to embedding: all-MiniLM-L6-v2 in f32 on the CPU, implemented by hand.
//!
//! [`Model`] loads a model directory and embeds on the calling thread and its own helpers. [`Embedder`] adds a bounded queue
//! and threads for async callers. The crate uses no network and reads no environment: the caller names the directory.
//!
//! Steps: `beginning` removes characters without effect, `tokenize` splits the rest into word pieces, `pack` distributes
//! texts to packs, and `forward` computes a pack in stages that `team` runs on threads, with the arithmetic of `kernels` on
//! the matrices of `weights`.

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
