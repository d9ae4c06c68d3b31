//! What can go wrong when the model is loaded and when text is embedded.

use std::io;
use std::path::PathBuf;

use crate::kernels::Kernel;

/// What helps against a damaged file.
const REPLACE: &str =
    "remove the file and start again, which downloads it, or put the model's own file in its place";

/// Why a model directory could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A model file is absent or unreadable.
    #[error("failed to read model file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The weights file is not a well-formed safetensors file.
    #[error("failed to parse weights `{}`", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor is there with another type or shape than all-MiniLM-L6-v2 has.
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
        /// What the parser said.
        #[source]
        source: tokenizers::Error,
    },
    /// The tokenizer belongs to another model: its vocabulary and the weights do not fit together.
    #[error("failed to use tokenizer `{}`: expected {expected}, found {found}", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
        /// What the weights need.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The configuration asks for a kernel that this processor cannot run.
    #[error("failed to select kernel {kernel}: expected a processor that has it")]
    Kernel {
        /// The kernel asked for.
        kernel: Kernel,
    },
    /// The system refused a thread.
    #[error("failed to start the threads that embed")]
    Threads {
        /// What the system said.
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
        /// Which of the texts, from 0.
        index: usize,
        /// What the tokenizer said.
        #[source]
        source: tokenizers::Error,
    },
    /// The queue has no room now; the same request can succeed later.
    #[error("embedding queue is full ({limit} texts)")]
    Overloaded {
        /// How many texts may wait.
        limit: usize,
    },
    /// The request alone is larger than the queue; it must be split.
    #[error("request of {texts} texts exceeds the embedding queue ({limit} texts)")]
    TooManyTexts {
        /// Texts in the request.
        texts: usize,
        /// How many texts may wait.
        limit: usize,
    },
    /// The weights were overwritten: what is computed with them is no embedding.
    #[error("the model is damaged: weights `{}` give vectors that are not of length 1: {REPLACE}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// Embedding these texts panicked. Others are embedded as before.
    #[error("embedding the texts panicked: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The embedder has shut down, or its thread died.
    #[error("embedder has stopped")]
    Stopped,
}
