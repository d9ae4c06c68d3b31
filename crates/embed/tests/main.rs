//! The crate against what PyTorch and the `tokenizers` crate compute with the same files.

mod batching;
mod embedder;
mod loading;
mod reference;
mod support;
mod tokens;
