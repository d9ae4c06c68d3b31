//! Errors of loading the model and embedding texts.

use std::io;
use std::path::PathBuf;

use crate::kernels::Kernel;

/// The remedy for a damaged file.
const REPLACE: &str = "remove the file and run again to download it, or replace it with the model's own file";

/// Why a model directory could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A model file is absent or unreadable.
    #[error("failed to read model file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The weights file is not a well-formed safetensors file.
    #[error("failed to parse weights `{}`", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor has another type or shape than in all-MiniLM-L6-v2.
    #[error(
        "failed to read tensor `{tensor}` of `{}`: expected F32 {expected:?}, found {found_type} {found:?}",
        path.display()
    )]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape that the model needs.
        expected: Vec<usize>,
        /// The element type in the file.
        found_type: String,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The weights were overwritten.
    #[error("the model is damaged: tensor `{tensor}` of `{}` has values that are not finite: {REPLACE}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
    },
    /// The tokenizer file is not one that the `tokenizers` crate can read.
    #[error("failed to parse tokenizer `{}`", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        #[source]
        source: tokenizers::Error,
    },
    /// The tokenizer belongs to another model: its vocabulary does not fit the weights.
    #[error("failed to use tokenizer `{}`: expected {expected}, found {found}", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// The vocabulary that the weights need.
        expected: String,
        /// The vocabulary of the file.
        found: String,
    },
    /// The configured kernel cannot run on this processor.
    #[error("failed to select kernel {kernel}: this processor does not support it")]
    Kernel {
        /// The configured kernel.
        kernel: Kernel,
    },
    /// A thread could not be started.
    #[error("failed to start the threads that embed")]
    Threads {
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
}

/// Why texts were not embedded.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The tokenizer refused a text.
    #[error("failed to split text {index} of the request into word pieces")]
    Tokenize {
        /// The index of the text, from 0.
        index: usize,
        /// The error of the tokenizer.
        #[source]
        source: tokenizers::Error,
    },
    /// The queue is full; the same request can succeed later.
    #[error("embedding queue is full ({limit} texts)")]
    Overloaded {
        /// Maximum waiting texts.
        limit: usize,
    },
    /// The request is larger than the queue; it must be split.
    #[error("request of {texts} texts exceeds the embedding queue ({limit} texts)")]
    TooManyTexts {
        /// Texts in the request.
        texts: usize,
        /// Maximum waiting texts.
        limit: usize,
    },
    /// The weights were overwritten, so that their results are not embeddings.
    #[error("the model is damaged: weights `{}` give vectors that are not of length 1: {REPLACE}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Embedding these texts panicked. Other texts are not affected.
    #[error("embedding the texts panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// The embedder has shut down, or its thread died.
    #[error("embedder has stopped")]
    Stopped,
}
