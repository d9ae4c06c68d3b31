//! Softmax(Q·Kᵀ/√32)·V of one head of one text.

use super::gemm::{Tile, product};
use super::vector::{Vector, exp2};
use crate::shape::{HEAD_DIM, HEAD_QKV};

/// 1/√HEAD_DIM, times log2(e) because the softmax works in powers of two.
const SCORE_SCALE: f32 = 0.176_776_7 * std::f32::consts::LOG2_E;

/// One head of one text. `qkv` is `[tokens, 3·HEAD_DIM]`: query, key and value side by side; `out` is
/// `[tokens, HEAD_DIM]` with `out_stride` f32 between rows. `keys` and `scores` are scratch.
#[derive(Clone, Copy)]
pub(crate) struct Attention {
    pub(crate) tokens: usize,
    pub(crate) qkv: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    /// Space for `keys_len` f32.
    pub(crate) keys: *mut f32,
    /// Space for `scores_len` f32.
    pub(crate) scores: *mut f32,
}

/// # Safety
///
/// The pointers of `a` are valid for the sizes given at its fields, no other code accesses `out`, `keys` and `scores`
/// meanwhile, and V's instruction set is enabled in the caller.
#[inline(always)]
pub(super) unsafe fn attention<V: Vector>(a: &Attention) {
    let width = 2 * V::LANES;
    let panels = a.tokens.div_ceil(width);
    let scores_stride = panels * width;
    // SAFETY: the loops stay below `tokens` and `panels`, for which the caller allocated memory.
    unsafe {
        transpose_keys(a, width, panels);
        let tiles = a.tokens.div_ceil(V::TILE_ROWS);
        for tile in 0..tiles {
            let row = tile * a.tokens / tiles;
            let rows = (tile + 1) * a.tokens / tiles - row;
            for panel in 0..panels {
                let scores = Tile {
                    depth: HEAD_DIM,
                    a: a.qkv.add(row * HEAD_QKV),
                    a_stride: HEAD_QKV,
                    b: a.keys.add(panel * width * HEAD_DIM),
                    b_stride: width,
                    out: a.scores.add(panel * width),
                    out_stride: scores_stride,
                };
                product::<V, false>(rows, &scores);
            }
            for r in 0..rows {
                softmax::<V>(a.scores.add(r * scores_stride), a.tokens, scores_stride);
            }
            for column in (0..HEAD_DIM).step_by(width) {
                let mixed = Tile {
                    depth: a.tokens,
                    a: a.scores,
                    a_stride: scores_stride,
                    b: a.qkv.add(2 * HEAD_DIM + column),
                    b_stride: HEAD_QKV,
                    out: a.out.add(row * a.out_stride + column),
                    out_stride: a.out_stride,
                };
                product::<V, false>(rows, &mixed);
            }
        }
    }
}

/// Lays the keys out as panels `[HEAD_DIM, width]`; columns past the last token are zero.
#[inline(always)]
unsafe fn transpose_keys(a: &Attention, width: usize, panels: usize) {
    for panel in 0..panels {
        for d in 0..HEAD_DIM {
            for j in 0..width {
                let key = panel * width + j;
                // SAFETY: key < tokens is checked; the panel is inside `keys_len`.
                unsafe {
                    let value = if key < a.tokens { *a.qkv.add(key * HEAD_QKV + HEAD_DIM + d) } else { 0.0 };
                    *a.keys.add((panel * HEAD_DIM + d) * width + j) = value;
                }
            }
        }
    }
}

/// Converts a row of raw scores to probabilities; the columns from `len` to `padded_len` are meaningless afterwards.
#[inline(always)]
unsafe fn softmax<V: Vector>(row: *mut f32, len: usize, padded_len: usize) {
    // SAFETY: `row` has `padded_len` f32, a multiple of V::LANES.
    unsafe {
        for column in len..padded_len {
            *row.add(column) = f32::NEG_INFINITY;
        }
        let mut greatest = V::splat(f32::NEG_INFINITY);
        for column in (0..padded_len).step_by(V::LANES) {
            greatest = greatest.max(V::load(row.add(column)));
        }
        let greatest = V::splat(greatest.greatest());
        let scale = V::splat(SCORE_SCALE);
        let mut sum = V::splat(0.0);
        for column in (0..padded_len).step_by(V::LANES) {
            let p = exp2(V::load(row.add(column)).sub(greatest).mul(scale));
            p.store(row.add(column));
            sum = sum.add(p);
        }
        let inverse = V::splat(1.0 / sum.sum());
        for column in (0..padded_len).step_by(V::LANES) {
            V::load(row.add(column)).mul(inverse).store(row.add(column));
        }
    }
}
