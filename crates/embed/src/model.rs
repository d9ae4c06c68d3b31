//! The loaded model: text in, vectors out.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use records::Embedding;

use crate::error::{EmbedError, LoadError};
use crate::forward::{Engine, Pass};
use crate::kernels::Kernel;
use crate::pack::pack;
use crate::scratch::Scratch;
use crate::team::Team;
use crate::tokenize::{Tokens, WordPieces};
use crate::weights::{WEIGHTS_FILE, Weights};

/// The configuration of a model.
#[derive(Clone, Copy, Debug)]
pub struct ModelConfig {
    /// Threads that compute a request, including the caller's. Default: the available parallelism. More than the number of
    /// cores makes every request slower.
    pub threads: NonZeroUsize,
    /// Instruction set. Default: the fastest that the processor supports.
    pub kernel: Kernel,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            kernel: Kernel::detect(),
        }
    }
}

/// all-MiniLM-L6-v2, ready to embed.
///
/// The vector of a text is bit-identical for any other texts in the request and any number of threads. It depends on the
/// kernel only by f32 rounding.
pub struct Model {
    pieces: Arc<WordPieces>,
    engine: Arc<Engine>,
    weights_file: PathBuf,
    team: Team,
    /// Computes requests of low priority, concurrently with `team`.
    patient: Team,
}

impl Model {
    /// Loads the model from `dir`, which contains `model.safetensors` and `tokenizer.json`, with the default configuration.
    ///
    /// # Errors
    ///
    /// When a file is missing, is damaged, or belongs to another model.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        Self::load_with(dir, ModelConfig::default())
    }

    /// Loads the model from `dir` with `config`.
    ///
    /// # Errors
    ///
    /// As [`Model::load`], and when the processor does not support the kernel or a thread cannot be started.
    pub fn load_with(dir: &Path, config: ModelConfig) -> Result<Self, LoadError> {
        let ModelConfig { threads, kernel } = config;
        let functions = kernel.functions().ok_or(LoadError::Kernel { kernel })?;
        let (pieces, weights) = thread::scope(|scope| {
            let pieces = scope.spawn(|| WordPieces::load(dir));
            let weights = Weights::load(dir, functions.panel_width, threads.get());
            (pieces.join().expect("loading the tokenizer does not panic"), weights)
        });
        let engine = Engine { weights: weights?, functions, scratch: Scratch::default() };
        let team = Team::new(threads.get()).map_err(|source| LoadError::Threads { source })?;
        let patient = Team::patient(threads.get()).map_err(|source| LoadError::Threads { source })?;
        let weights_file = dir.join(WEIGHTS_FILE);
        Ok(Self { pieces: Arc::new(pieces?), engine: Arc::new(engine), weights_file, team, patient })
    }

    /// The embeddings of `texts`, in their order, each `[384]` and of length 1. Only the first 256 word pieces of a text are
    /// embedded; an empty text has an embedding too.
    ///
    /// Computes on the calling thread and the model's threads: do not call it from an async task.
    ///
    /// # Errors
    ///
    /// When the tokenizer refuses a text, or damaged weights give invalid vectors.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        self.embed_by(&self.team, texts)
    }

    /// The same, on threads of low priority; that of the calling thread is not changed.
    ///
    /// # Errors
    ///
    /// As [`embed`](Self::embed).
    pub fn embed_patiently(&self, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        self.embed_by(&self.patient, texts)
    }

    fn embed_by(&self, team: &Team, texts: &[&str]) -> Result<Vec<Embedding>, EmbedError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let tokens = self.split(team, texts)?;
        let lens: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
        let packs = Arc::new(pack(&lens, team.threads()));
        let computed = if let [only] = &packs[..] {
            let pass = Arc::new(Pass::new(&self.engine, only.iter().map(|text| &tokens[*text])));
            team.run(pass.clone());
            vec![pass.embeddings()]
        } else {
            let (engine, packs) = (Arc::clone(&self.engine), Arc::clone(&packs));
            team.map(packs.len(), move |index| {
                let pass = Pass::new(&engine, packs[index].iter().map(|text| &tokens[*text]));
                pass.run_alone();
                pass.embeddings()
            })
        };
        let mut by_text: Vec<_> = packs.iter().flatten().zip(computed.into_iter().flatten()).collect();
        by_text.sort_unstable_by_key(|(text, _)| **text);
        if !by_text.iter().all(|(_, embedding)| is_of_length_1(embedding)) {
            return Err(EmbedError::Damaged { path: self.weights_file.clone() });
        }
        Ok(by_text.into_iter().map(|(_, embedding)| embedding).collect())
    }

    /// The word pieces of `text` that the model sees, and whether the text was truncated.
    ///
    /// # Errors
    ///
    /// When the tokenizer refuses the text.
    pub fn tokenize(&self, text: &str) -> Result<Tokens, EmbedError> {
        self.pieces.split(text).map_err(|source| EmbedError::Tokenize { index: 0, source })
    }

    /// A text of bounded length with the same embedding as `text`. Takes time linear in the length of `text`.
    pub fn beginning(&self, text: &str) -> String {
        self.pieces.beginning(text)
    }

    fn split(&self, team: &Team, texts: &[&str]) -> Result<Vec<Tokens>, EmbedError> {
        let pieces = Arc::clone(&self.pieces);
        let owned: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let split = team.map(owned.len(), move |text| pieces.split(&owned[text]));
        let split = split.into_iter().enumerate();
        split.map(|(index, tokens)| tokens.map_err(|source| EmbedError::Tokenize { index, source })).collect()
    }
}

/// Far more than rounding errors; NaN is outside of it.
fn is_of_length_1(embedding: &Embedding) -> bool {
    let squared: f32 = embedding.as_slice().iter().map(|component| component * component).sum();
    (0.99..1.01).contains(&squared)
}
