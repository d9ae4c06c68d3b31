//! Layer normalisation over the hidden dimension.

use super::vector::Vector;
use crate::shape::HIDDEN;

/// The model's `layer_norm_eps`.
const EPSILON: f32 = 1e-12;

/// `rows` rows of `[HIDDEN]`, one after another, from `input` to `out` (which may be the same place).
#[derive(Clone, Copy)]
pub(crate) struct LayerNorm {
    pub(crate) rows: usize,
    pub(crate) input: *const f32,
    pub(crate) out: *mut f32,
    pub(crate) gain: *const f32,
    pub(crate) bias: *const f32,
}

/// # Safety
///
/// The pointers of `n` are valid for `rows`·HIDDEN (gain, bias: HIDDEN) f32, no other code accesses `out` meanwhile, and V's
/// instruction set is enabled in the caller.
#[inline(always)]
pub(super) unsafe fn layer_norm<V: Vector>(n: &LayerNorm) {
    for row in 0..n.rows {
        // SAFETY: HIDDEN is a multiple of V::LANES and row < rows.
        unsafe {
            let input = n.input.add(row * HIDDEN);
            let out = n.out.add(row * HIDDEN);
            let mut sum = V::splat(0.0);
            for i in (0..HIDDEN).step_by(V::LANES) {
                sum = sum.add(V::load(input.add(i)));
            }
            let mean = V::splat(sum.sum() / HIDDEN as f32);
            let mut squares = V::splat(0.0);
            for i in (0..HIDDEN).step_by(V::LANES) {
                let centred = V::load(input.add(i)).sub(mean);
                squares = centred.mul_add(centred, squares);
            }
            let deviation = (squares.sum() / HIDDEN as f32 + EPSILON).sqrt();
            let inverse = V::splat(1.0 / deviation);
            for i in (0..HIDDEN).step_by(V::LANES) {
                let normal = V::load(input.add(i)).sub(mean).mul(inverse);
                normal.mul_add(V::load(n.gain.add(i)), V::load(n.bias.add(i))).store(out.add(i));
            }
        }
    }
}
