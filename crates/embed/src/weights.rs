//! Reads `model.safetensors` and arranges the matrices for a kernel.
//!
//! The file is read, not mapped: truncating or overwriting a mapped file would end the process (SIGBUS) or change embeddings.
//! The word embeddings (47 MB) stay in memory unchanged; the encoder's matrices are copied into panels.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use safetensors::{Dtype, SafeTensors};

use crate::error::LoadError;
use crate::floats::Floats;
use crate::shape::{FEED_FORWARD, HIDDEN, LAYERS, MAX_TOKENS, POSITIONS, VOCABULARY};

/// Three times the size of the model's file; not more is read of a larger file.
const MAX_BYTES: u64 = 256 << 20;

/// File with the weights in a model directory.
pub(crate) const WEIGHTS_FILE: &str = "model.safetensors";

/// A linear layer: `columns` outputs, with `depth` inputs, as panels `[depth, panel_width]`.
pub(crate) struct Linear {
    /// Where the panels begin in `Weights::panels`.
    start: usize,
    pub(crate) depth: usize,
    /// `[columns]`
    pub(crate) bias: Vec<f32>,
}

/// Gain and bias of a layer normalisation, `[HIDDEN]` each.
pub(crate) struct Norm {
    pub(crate) gain: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// One encoder layer.
pub(crate) struct Layer {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) project: Linear,
    pub(crate) attention_norm: Norm,
    pub(crate) expand: Linear,
    pub(crate) contract: Linear,
    pub(crate) output_norm: Norm,
}

/// All parameters, ready for one kernel.
pub(crate) struct Weights {
    /// The word embeddings `[VOCABULARY, HIDDEN]`, in the bytes of the file.
    words: Vec<u8>,
    /// `[MAX_TOKENS, HIDDEN]`
    positions: Vec<f32>,
    /// Row 0 of the token type table, the only type a single text has. `[HIDDEN]`
    token_type: Vec<f32>,
    pub(crate) embedding_norm: Norm,
    pub(crate) layers: Vec<Layer>,
    panels: Floats,
    panel_width: usize,
}

impl Weights {
    /// Reads and checks the weights of `dir` and packs them into panels of `panel_width` on `threads` threads.
    pub(crate) fn load(dir: &Path, panel_width: usize, threads: usize) -> Result<Self, LoadError> {
        let path = dir.join(WEIGHTS_FILE);
        let mut file = read(&path).map_err(|source| LoadError::Read { path: path.clone(), source })?;
        let tensors = SafeTensors::deserialize(&file)
            .map_err(|source| LoadError::Weights { path: path.clone(), source })?;
        let mut reader = Reader { path, tensors, packing: Vec::new(), packed_len: 0 };

        let words = reader.tensor("embeddings.word_embeddings.weight", &[VOCABULARY, HIDDEN])?;
        let words_start = words.as_ptr().addr() - file.as_ptr().addr();
        let words_end = words_start + words.len();
        let mut positions = reader.vector("embeddings.position_embeddings.weight", &[POSITIONS, HIDDEN])?;
        positions.truncate(MAX_TOKENS * HIDDEN);
        let mut token_type = reader.vector("embeddings.token_type_embeddings.weight", &[2, HIDDEN])?;
        token_type.truncate(HIDDEN);
        let embedding_norm = reader.norm("embeddings.LayerNorm")?;
        let layers = (0..LAYERS).map(|layer| reader.layer(layer)).collect::<Result<Vec<_>, _>>()?;

        let mut panels = Floats::zeroed(reader.packed_len);
        pack_all(&reader.packing, panels.as_mut_slice(), panel_width, threads);
        // In place, so that the file and a copy are never in memory at the same time.
        file.truncate(words_end);
        file.drain(..words_start);
        file.shrink_to_fit();
        Ok(Self { words: file, positions, token_type, embedding_norm, layers, panels, panel_width })
    }

    /// The panels of `linear` from the one that begins with column `column`, a multiple of the panel width.
    pub(crate) fn panels(&self, linear: &Linear, column: usize) -> &[f32] {
        &self.panels.as_slice()[linear.start + column * linear.depth..]
    }

    /// Columns of a panel.
    pub(crate) fn panel_width(&self) -> usize {
        self.panel_width
    }

    /// Writes the sum of word, token type and position embedding. `out` is `[HIDDEN]`.
    pub(crate) fn input_row(&self, token: u32, position: usize, out: &mut [f32]) {
        let row = HIDDEN * size_of::<f32>();
        let at = token as usize * row;
        let (word, _) = self.words[at..at + row].as_chunks::<4>();
        let position = &self.positions[position * HIDDEN..][..HIDDEN];
        for (((out, word), token_type), position) in
            out.iter_mut().zip(word).zip(&self.token_type).zip(position)
        {
            // The order of the additions is PyTorch's.
            *out = (f32::from_le_bytes(*word) + token_type) + position;
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(MAX_BYTES);
    let mut content = Vec::with_capacity(usize::try_from(length).expect("the limit fits"));
    file.take(MAX_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// A matrix to pack: PyTorch's `[columns, depth]` in the file, panels in memory.
struct Packing<'a> {
    source: &'a [u8],
    depth: usize,
    len: usize,
}

struct Reader<'a> {
    path: PathBuf,
    tensors: SafeTensors<'a>,
    packing: Vec<Packing<'a>>,
    packed_len: usize,
}

impl<'a> Reader<'a> {
    /// The little-endian bytes of a tensor, after its type, shape and values are checked.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<&'a [u8], LoadError> {
        let view = self
            .tensors
            .tensor(name)
            .map_err(|source| LoadError::Weights { path: self.path.clone(), source })?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(LoadError::Tensor {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found_type: format!("{:?}", view.dtype()),
                found: view.shape().to_vec(),
            });
        }
        let (values, _) = view.data().as_chunks::<4>();
        // Checks all values, several at a time.
        if !values.iter().fold(true, |all, value| all & f32::from_le_bytes(*value).is_finite()) {
            return Err(LoadError::Damaged { path: self.path.clone(), tensor: name.to_owned() });
        }
        Ok(view.data())
    }

    fn vector(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let (values, _) = self.tensor(name, shape)?.as_chunks::<4>();
        Ok(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn norm(&self, name: &str) -> Result<Norm, LoadError> {
        Ok(Norm {
            gain: self.vector(&format!("{name}.weight"), &[HIDDEN])?,
            bias: self.vector(&format!("{name}.bias"), &[HIDDEN])?,
        })
    }

    fn linear(&mut self, name: &str, columns: usize, depth: usize) -> Result<Linear, LoadError> {
        let source = self.tensor(&format!("{name}.weight"), &[columns, depth])?;
        let bias = self.vector(&format!("{name}.bias"), &[columns])?;
        let start = self.packed_len;
        self.packing.push(Packing { source, depth, len: columns * depth });
        self.packed_len += columns * depth;
        Ok(Linear { start, depth, bias })
    }

    fn layer(&mut self, layer: usize) -> Result<Layer, LoadError> {
        let name = format!("encoder.layer.{layer}");
        Ok(Layer {
            query: self.linear(&format!("{name}.attention.self.query"), HIDDEN, HIDDEN)?,
            key: self.linear(&format!("{name}.attention.self.key"), HIDDEN, HIDDEN)?,
            value: self.linear(&format!("{name}.attention.self.value"), HIDDEN, HIDDEN)?,
            project: self.linear(&format!("{name}.attention.output.dense"), HIDDEN, HIDDEN)?,
            attention_norm: self.norm(&format!("{name}.attention.output.LayerNorm"))?,
            expand: self.linear(&format!("{name}.intermediate.dense"), FEED_FORWARD, HIDDEN)?,
            contract: self.linear(&format!("{name}.output.dense"), HIDDEN, FEED_FORWARD)?,
            output_norm: self.norm(&format!("{name}.output.LayerNorm"))?,
        })
    }
}

/// Packs the matrices one after another into `panels`.
fn pack_all(packing: &[Packing<'_>], panels: &mut [f32], panel_width: usize, threads: usize) {
    let mut shares: Vec<Vec<(&Packing<'_>, &mut [f32])>> = (0..threads).map(|_| Vec::new()).collect();
    let mut lens = vec![0; threads];
    let mut rest = panels;
    for matrix in packing {
        let (target, after) = rest.split_at_mut(matrix.len);
        rest = after;
        let share = (0..threads).min_by_key(|share| lens[*share]).expect("threads is at least 1");
        lens[share] += matrix.len;
        shares[share].push((matrix, target));
    }
    thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || {
                for (matrix, target) in share {
                    pack(matrix, target, panel_width);
                }
            });
        }
    });
}

fn pack(matrix: &Packing<'_>, target: &mut [f32], panel_width: usize) {
    let (source, _) = matrix.source.as_chunks::<4>();
    let panel_len = panel_width * matrix.depth;
    for (rows, panel) in source.chunks_exact(panel_len).zip(target.chunks_exact_mut(panel_len)) {
        for (d, lane) in panel.chunks_exact_mut(panel_width).enumerate() {
            for (column, value) in lane.iter_mut().enumerate() {
                *value = f32::from_le_bytes(rows[column * matrix.depth + d]);
            }
        }
    }
}
