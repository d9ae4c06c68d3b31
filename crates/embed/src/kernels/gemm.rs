//! Matrix product with prepacked weights.
//!
//! Every output element is a chain of multiply-adds in ascending depth, in blocks of [`DEPTH_BLOCK`] that are
//! added up in order. The chain depends neither on the row's place in its tile nor on the number of rows, so a text has
//! the same vector in any batch.

use super::vector::{Vector, gelu};

/// Depth after which a partial sum is stored: shorter chains round less (all-MiniLM's depths are 384 and 1536).
const DEPTH_BLOCK: usize = 384;

/// Bytes of packed weights in one pass over the rows: less than half of a 1 MiB L2 cache, the rest is for rows.
const WEIGHT_BLOCK_BYTES: usize = 400 * 1024;

/// Distance at which weights are prefetched, in f32. A short text reads each weight once, from memory, and
/// the processor's own prefetching stops at page boundaries. Measured on a busy 2-core Zen 4, one thread: the best
/// of 600 runs of 14 tokens took 3.1 instead of 3.4 ms, but of 18 tokens some 4 % longer.
const PREFETCH: usize = 1024;

/// The operation on a finished sum.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue {
    /// out = sum + bias
    Bias,
    /// out = gelu(sum + bias)
    BiasGelu,
    /// out = sum + bias + residual, `[rows, columns]` with the stride of `out`
    BiasResidual(*const f32),
}

/// out\[rows, columns\] = a\[rows, depth\] × weights\[depth, columns\], row-major, strides in f32.
///
/// `weights` points at the first of `panels` consecutive panels, each `[depth, panel_width]`; `bias`, `out`
/// and the residual at the column with which that panel begins.
#[derive(Clone, Copy)]
pub(crate) struct Gemm {
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) panels: usize,
    pub(crate) a: *const f32,
    pub(crate) a_stride: usize,
    pub(crate) weights: *const f32,
    pub(crate) bias: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) out_stride: usize,
    pub(crate) epilogue: Epilogue,
}

/// # Safety
///
/// The pointers and sizes of `g` describe readable (writable for `out`) memory, no other code accesses the columns of `out`
/// meanwhile, and V's instruction set is enabled in the caller.
#[inline(always)]
pub(super) unsafe fn gemm<V: Vector>(g: &Gemm) {
    let width = 2 * V::LANES;
    let panel_len = g.depth * width;
    let panels_per_block = (WEIGHT_BLOCK_BYTES / (panel_len * size_of::<f32>())).max(1);
    let tiles = g.rows.div_ceil(V::TILE_ROWS);
    let mut block = 0;
    while block < g.panels {
        let block_end = (block + panels_per_block).min(g.panels);
        for tile in 0..tiles {
            // Tiles of nearly equal height: 15 rows are 8 + 7, not 14 + 1.
            let row = tile * g.rows / tiles;
            let rows = (tile + 1) * g.rows / tiles - row;
            for panel in block..block_end {
                // SAFETY: row + rows <= g.rows and panel < g.panels keep every pointer inside what the
                // caller vouched for.
                unsafe {
                    let a = g.a.add(row * g.a_stride);
                    let weights = g.weights.add(panel * panel_len);
                    let at = row * g.out_stride + panel * width;
                    let out = g.out.add(at);
                    let mut depth = 0;
                    while depth < g.depth {
                        let operands = Tile {
                            depth: DEPTH_BLOCK.min(g.depth - depth),
                            a: a.add(depth),
                            a_stride: g.a_stride,
                            b: weights.add(depth * width),
                            b_stride: width,
                            out,
                            out_stride: g.out_stride,
                        };
                        if depth == 0 {
                            product::<V, false>(rows, &operands);
                        } else {
                            product::<V, true>(rows, &operands);
                        }
                        depth += DEPTH_BLOCK;
                    }
                    finish::<V>(g, rows, panel * width, out, at);
                }
            }
        }
        block = block_end;
    }
}

/// Adds bias and applies the epilogue to a tile that is still in the L1 cache.
#[inline(always)]
unsafe fn finish<V: Vector>(g: &Gemm, rows: usize, column: usize, out: *mut f32, at: usize) {
    // SAFETY: `out` is the tile at offset `at` of g.out, whose bounds `gemm` keeps.
    unsafe {
        for half in 0..2 {
            let bias = V::load(g.bias.add(column + half * V::LANES));
            for row in 0..rows {
                let offset = row * g.out_stride + half * V::LANES;
                let sum = V::load(out.add(offset)).add(bias);
                let value = match g.epilogue {
                    Epilogue::Bias => sum,
                    Epilogue::BiasGelu => gelu(sum),
                    Epilogue::BiasResidual(residual) => sum.add(V::load(residual.add(at + offset))),
                };
                value.store(out.add(offset));
            }
        }
    }
}

/// One register tile: out\[rows, 2 registers\] (+)= a\[rows, depth\] × b\[depth, 2 registers\].
pub(super) struct Tile {
    pub(super) depth: usize,
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    pub(super) b: *const f32,
    pub(super) b_stride: usize,
    pub(super) out: *mut f32,
    pub(super) out_stride: usize,
}

/// # Safety
///
/// As `gemm`, and 1 <= rows <= V::TILE_ROWS <= 14.
#[inline(always)]
pub(super) unsafe fn product<V: Vector, const ADD: bool>(rows: usize, t: &Tile) {
    // SAFETY: each arm handles exactly `rows` rows, which the caller guarantees. The guards let a backend with small tiles
    // omit the arms that it never takes.
    unsafe {
        match rows {
            14 if V::TILE_ROWS >= 14 => tile::<V, ADD, 14>(t),
            13 if V::TILE_ROWS >= 13 => tile::<V, ADD, 13>(t),
            12 if V::TILE_ROWS >= 12 => tile::<V, ADD, 12>(t),
            11 if V::TILE_ROWS >= 11 => tile::<V, ADD, 11>(t),
            10 if V::TILE_ROWS >= 10 => tile::<V, ADD, 10>(t),
            9 if V::TILE_ROWS >= 9 => tile::<V, ADD, 9>(t),
            8 if V::TILE_ROWS >= 8 => tile::<V, ADD, 8>(t),
            7 if V::TILE_ROWS >= 7 => tile::<V, ADD, 7>(t),
            6 => tile::<V, ADD, 6>(t),
            5 => tile::<V, ADD, 5>(t),
            4 => tile::<V, ADD, 4>(t),
            3 => tile::<V, ADD, 3>(t),
            2 => tile::<V, ADD, 2>(t),
            1 => tile::<V, ADD, 1>(t),
            _ => unreachable!("tiles have 1 to V::TILE_ROWS rows"),
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ADD: bool, const ROWS: usize>(t: &Tile) {
    // SAFETY: reads ROWS x depth of a, depth x 2 registers of b, and writes ROWS x 2 registers of out.
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; ROWS];
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.depth {
            let left = V::load(b);
            let right = V::load(b.add(V::LANES));
            V::prefetch(b.wrapping_add(PREFETCH));
            V::prefetch(b.wrapping_add(PREFETCH + V::LANES));
            for (row, sum) in sums.iter_mut().enumerate() {
                let x = V::splat(*a.add(row * t.a_stride));
                sum[0] = x.mul_add(left, sum[0]);
                sum[1] = x.mul_add(right, sum[1]);
            }
            a = a.add(1);
            b = b.add(t.b_stride);
        }
        for (row, sum) in sums.iter().enumerate() {
            for (half, value) in sum.iter().enumerate() {
                let out = t.out.add(row * t.out_stride + half * V::LANES);
                if ADD { V::load(out).add(*value).store(out) } else { value.store(out) }
            }
        }
    }
}
