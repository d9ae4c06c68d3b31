//! Compares the crate with PyTorch and the `tokenizers` crate on the same files.

mod batching;
mod embedder;
mod loading;
mod reference;
mod support;
mod tokens;
