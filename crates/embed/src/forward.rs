//! One pass of the encoder over a pack of texts, laid end to end without padding.
//!
//! The pass is divided into stages of chunks (see `team`), so that one thread or several can compute it; the arithmetic is
//! the same.

use std::ops::Range;
use std::sync::Arc;
use std::{ptr, slice};

use records::Embedding;

use crate::kernels::{Attention, Epilogue, Functions, Gemm, LayerNorm};
use crate::scratch::{Planes, Scratch};
use crate::shape::{FEED_FORWARD, HEAD_DIM, HEAD_QKV, HEADS, HIDDEN, LAYERS};
use crate::team::Stages;
use crate::tokenize::Tokens;
use crate::weights::{Layer, Linear, Norm, Weights};

/// Columns of the feed-forward layer in a chunk: 16 chunks.
const EXPAND_COLUMNS: usize = 96;
/// Columns in a chunk of the other linear layers: 12 chunks.
const COLUMNS: usize = 32;
/// Rows in a chunk of the stages that work by rows.
const ROWS: usize = 64;

/// Shared by all passes of a model.
pub(crate) struct Engine {
    pub(crate) weights: Weights,
    pub(crate) functions: &'static Functions,
    pub(crate) scratch: Scratch,
}

/// A pass over some texts.
pub(crate) struct Pass {
    engine: Arc<Engine>,
    /// Id and position in its text of every row.
    tokens: Vec<(u32, usize)>,
    /// The rows of each text.
    texts: Vec<Range<usize>>,
    planes: Planes,
}

impl Pass {
    /// A pass over `texts`, at least one, each of at least one token.
    pub(crate) fn new<'a>(engine: &Arc<Engine>, texts: impl Iterator<Item = &'a Tokens>) -> Self {
        let mut tokens = Vec::new();
        let mut spans = Vec::new();
        for text in texts {
            let start = tokens.len();
            tokens.extend(text.ids.iter().enumerate().map(|(position, id)| (*id, position)));
            spans.push(start..tokens.len());
        }
        let planes = engine.scratch.planes(tokens.len(), spans.len());
        Self { engine: Arc::clone(engine), tokens, texts: spans, planes }
    }

    /// Runs all stages on this thread.
    pub(crate) fn run_alone(&self) {
        for stage in 0..self.stages() {
            self.run_chunks(stage, 0..self.chunks(stage));
        }
    }

    /// The embeddings in the order of the texts, once all stages have run.
    pub(crate) fn embeddings(&self) -> Vec<Embedding> {
        // SAFETY: the stages have ended, so the rows are written and nothing writes any more.
        let pooled = unsafe { slice::from_raw_parts(self.planes.pooled, self.texts.len() * HIDDEN) };
        pooled.chunks_exact(HIDDEN).map(|row| Embedding::from(row.to_vec())).collect()
    }

    fn run_chunks(&self, stage: u32, chunks: Range<u32>) {
        let chunks = chunks.start as usize..chunks.end as usize;
        let rows = chunks.start * ROWS..(chunks.end * ROWS).min(self.tokens.len());
        let layer = |layer: usize| &self.engine.weights.layers[layer];
        // SAFETY: in all stages, each chunk writes different rows or columns, in a plane that no other chunk of the stage
        // reads or in rows that only it reads. It reads what earlier stages wrote.
        unsafe {
            match Stage::at(stage) {
                Stage::Input => self.input(rows),
                Stage::Heads(l) => chunks.for_each(|head| self.head(layer(l), head)),
                Stage::Project(l) => self.project(layer(l), columns(chunks, COLUMNS)),
                Stage::AttentionNorm(l) => self.norm(&layer(l).attention_norm, rows),
                Stage::Expand(l) => self.expand(layer(l), columns(chunks, EXPAND_COLUMNS)),
                Stage::Contract(l) => self.contract(layer(l), columns(chunks, COLUMNS)),
                Stage::OutputNorm(l) => self.norm(&layer(l).output_norm, rows),
                Stage::Pool => chunks.for_each(|text| self.pool(text)),
            }
        }
    }

    /// hidden = norm(word + type + position)
    unsafe fn input(&self, rows: Range<usize>) {
        // SAFETY: the rows are within the planes.
        let sums = unsafe {
            slice::from_raw_parts_mut(self.planes.sum.add(rows.start * HIDDEN), rows.len() * HIDDEN)
        };
        for ((token, position), sum) in self.tokens[rows.clone()].iter().zip(sums.chunks_exact_mut(HIDDEN)) {
            self.engine.weights.input_row(*token, *position, sum);
        }
        // SAFETY: as the caller's.
        unsafe { self.norm(&self.engine.weights.embedding_norm, rows) }
    }

    /// hidden = norm(sum)
    unsafe fn norm(&self, norm: &Norm, rows: Range<usize>) {
        // SAFETY: the rows are within the planes, gain and bias have HIDDEN f32.
        unsafe {
            (self.engine.functions.layer_norm)(&LayerNorm {
                rows: rows.len(),
                input: self.planes.sum.add(rows.start * HIDDEN),
                out: self.planes.hidden.add(rows.start * HIDDEN),
                gain: norm.gain.as_ptr(),
                bias: norm.bias.as_ptr(),
            });
        }
    }

    /// context = attention(query, key and value of hidden), the columns of one head
    unsafe fn head(&self, layer: &Layer, head: usize) {
        let engine = &*self.engine;
        let memory = engine.scratch.head(self.tokens.len(), engine.functions);
        let columns = head * HEAD_DIM..(head + 1) * HEAD_DIM;
        // SAFETY: `memory` is for this pass's rows, and the head's columns of `context` are this chunk's own.
        unsafe {
            for (part, linear) in [&layer.query, &layer.key, &layer.value].into_iter().enumerate() {
                let out = memory.qkv.add(part * HEAD_DIM);
                let gemm = self.gemm(linear, columns.clone(), self.planes.hidden);
                (engine.functions.gemm)(&Gemm {
                    out,
                    out_stride: HEAD_QKV,
                    epilogue: Epilogue::Bias,
                    ..gemm
                });
            }
            for text in &self.texts {
                (engine.functions.attention)(&Attention {
                    tokens: text.len(),
                    qkv: memory.qkv.add(text.start * HEAD_QKV),
                    out: self.planes.context.add(text.start * HIDDEN + columns.start),
                    out_stride: HIDDEN,
                    keys: memory.keys,
                    scores: memory.scores,
                });
            }
        }
    }

    /// sum = context × project + bias + hidden
    unsafe fn project(&self, layer: &Layer, columns: Range<usize>) {
        // SAFETY: as the caller's.
        unsafe { self.add_to_hidden(&layer.project, columns, self.planes.context) }
    }

    /// wide = gelu(hidden × expand + bias)
    unsafe fn expand(&self, layer: &Layer, columns: Range<usize>) {
        // SAFETY: the columns are within `wide`.
        unsafe {
            let out = self.planes.wide.add(columns.start);
            let gemm = self.gemm(&layer.expand, columns, self.planes.hidden);
            (self.engine.functions.gemm)(&Gemm {
                out,
                out_stride: FEED_FORWARD,
                epilogue: Epilogue::BiasGelu,
                ..gemm
            });
        }
    }

    /// sum = wide × contract + bias + hidden
    unsafe fn contract(&self, layer: &Layer, columns: Range<usize>) {
        // SAFETY: as the caller's.
        unsafe { self.add_to_hidden(&layer.contract, columns, self.planes.wide) }
    }

    /// sum = input × linear + bias + hidden
    unsafe fn add_to_hidden(&self, linear: &Linear, columns: Range<usize>, input: *const f32) {
        // SAFETY: the columns are within `sum` and `hidden`.
        unsafe {
            let out = self.planes.sum.add(columns.start);
            let residual = self.planes.hidden.add(columns.start);
            let gemm = self.gemm(linear, columns, input);
            (self.engine.functions.gemm)(&Gemm {
                out,
                out_stride: HIDDEN,
                epilogue: Epilogue::BiasResidual(residual),
                ..gemm
            });
        }
    }

    /// The product of all rows of `input` with some columns of `linear`; the caller sets the output.
    fn gemm(&self, linear: &Linear, columns: Range<usize>, input: *const f32) -> Gemm {
        let weights = &self.engine.weights;
        Gemm {
            rows: self.tokens.len(),
            depth: linear.depth,
            panels: columns.len() / weights.panel_width(),
            a: input,
            a_stride: linear.depth,
            weights: weights.panels(linear, columns.start).as_ptr(),
            bias: linear.bias[columns].as_ptr(),
            out: ptr::null_mut(),
            out_stride: 0,
            epilogue: Epilogue::Bias,
        }
    }

    /// pooled = mean of the text's rows, scaled to length 1
    unsafe fn pool(&self, text: usize) {
        let rows = self.texts[text].clone();
        // SAFETY: the rows are within `hidden`, which nothing writes in this stage; the row of `pooled` is
        // this chunk's own.
        let (hidden, pooled) = unsafe {
            (
                slice::from_raw_parts(self.planes.hidden.add(rows.start * HIDDEN), rows.len() * HIDDEN),
                slice::from_raw_parts_mut(self.planes.pooled.add(text * HIDDEN), HIDDEN),
            )
        };
        // The mean's divisor cancels out in the scaling. f64 so that 256 rows add up without rounding.
        let mut sums = [0.0_f64; HIDDEN];
        for row in hidden.chunks_exact(HIDDEN) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        for (value, sum) in pooled.iter_mut().zip(sums) {
            *value = (sum / length) as f32;
        }
    }
}

impl Stages for Pass {
    fn stages(&self) -> u32 {
        STAGES
    }

    fn chunks(&self, stage: u32) -> u32 {
        let chunks = match Stage::at(stage) {
            Stage::Heads(_) => HEADS,
            Stage::Project(_) | Stage::Contract(_) => HIDDEN / COLUMNS,
            Stage::Expand(_) => FEED_FORWARD / EXPAND_COLUMNS,
            Stage::Input | Stage::AttentionNorm(_) | Stage::OutputNorm(_) => self.tokens.len().div_ceil(ROWS),
            Stage::Pool => self.texts.len(),
        };
        chunks as u32
    }

    fn run(&self, stage: u32, chunk: u32) {
        self.run_chunks(stage, chunk..chunk + 1);
    }
}

/// A step that all rows complete before the next one; the number is the layer.
#[derive(Clone, Copy)]
enum Stage {
    Input,
    Heads(usize),
    Project(usize),
    AttentionNorm(usize),
    Expand(usize),
    Contract(usize),
    OutputNorm(usize),
    Pool,
}

const STAGES_OF_LAYER: u32 = 6;
const STAGES: u32 = 2 + STAGES_OF_LAYER * LAYERS as u32;

impl Stage {
    fn at(stage: u32) -> Self {
        let Some(step) = stage.checked_sub(1) else { return Self::Input };
        let layer = (step / STAGES_OF_LAYER) as usize;
        if layer == LAYERS {
            return Self::Pool;
        }
        match step % STAGES_OF_LAYER {
            0 => Self::Heads(layer),
            1 => Self::Project(layer),
            2 => Self::AttentionNorm(layer),
            3 => Self::Expand(layer),
            4 => Self::Contract(layer),
            _ => Self::OutputNorm(layer),
        }
    }
}

fn columns(chunks: Range<usize>, width: usize) -> Range<usize> {
    chunks.start * width..chunks.end * width
}
