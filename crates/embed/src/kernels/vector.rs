//! The vector operations that the kernels are written in, and the two functions (2^x, GELU) built on them.
//!
//! Kernels are generic over [`Vector`] and `#[inline(always)]`; each backend instantiates them inside a function that
//! enables its instruction set, so that one source compiles to AVX-512, AVX2 and plain code.

/// A register of f32 lanes.
///
/// # Safety
///
/// Every method except through pointers is plain arithmetic, but may need instructions that the running
/// processor lacks: callers must be inside a function that enables the implementation's instruction set.
/// `load` and `store` access `LANES` f32 at a pointer that need not be aligned.
pub(super) trait Vector: Copy {
    /// f32 lanes in a register.
    const LANES: usize;
    /// Rows of the register tile of the matrix product; the tile is two registers wide.
    const TILE_ROWS: usize;

    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// Prefetches the cache line at `p`, which may be outside any allocation.
    unsafe fn prefetch(p: *const f32);
    unsafe fn add(self, o: Self) -> Self;
    unsafe fn sub(self, o: Self) -> Self;
    unsafe fn mul(self, o: Self) -> Self;
    /// `self * a + b`, rounded once where the hardware does so.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    unsafe fn max(self, o: Self) -> Self;
    unsafe fn min(self, o: Self) -> Self;
    unsafe fn abs(self) -> Self;
    /// To the nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// 2^n for lanes that hold integers in -126..=127.
    unsafe fn pow2(self) -> Self;
    /// Sum of the lanes, always in the same order.
    unsafe fn sum(self) -> f32;
    /// Greatest lane.
    unsafe fn greatest(self) -> f32;
}

/// 2^f = 1 + f·P(f) on [-0.5, 0.5]; our own minimax fit, relative error 2e-9 before rounding.
#[allow(clippy::approx_constant, reason = "the fit's first coefficient is near ln 2, not it")]
const EXP2: [f32; 6] =
    [0.693_147_2, 0.240_226_48, 0.055_503_324, 0.009_618_437, 0.001_339_887_5, 0.000_153_533_6];

/// -log2(erfc(u/√2)) = u·P(u) on [0, 6.5]; our own minimax fit, weighted by its effect on GELU.
/// GELU's error stays below 7.2e-8·|x|, which is f32 rounding.
const LOG_ERFC: [f32; 10] = [
    1.151_104_1,
    0.459_224_2,
    0.052_420_016,
    -0.006_893_499,
    -6.756_523e-5,
    0.000_327_383_52,
    -9.605_147e-5,
    1.560_931e-5,
    -1.446_873_9e-6,
    5.966_562e-8,
];

/// Beyond this, erfc(u/√2) is below 1e-10 and GELU is 0 or x to f32 precision.
const LOG_ERFC_END: f32 = 6.5;

/// 2^x for x <= 0; below -126 it gives about 2^-126, which is negligible compared to 1.
#[inline(always)]
pub(super) unsafe fn exp2<V: Vector>(x: V) -> V {
    // SAFETY: the caller enabled V's instruction set; no pointers are involved.
    unsafe {
        let x = x.max(V::splat(-126.0));
        let n = x.round();
        let f = x.sub(n);
        let mut p = V::splat(EXP2[5]);
        for c in EXP2.iter().rev().skip(1) {
            p = p.mul_add(f, V::splat(*c));
        }
        p.mul_add(f, V::splat(1.0)).mul(n.pow2())
    }
}

/// The exact GELU, x·Φ(x), as max(x, 0) - |x|/2·erfc(|x|/√2): no cancellation on either side.
#[inline(always)]
pub(super) unsafe fn gelu<V: Vector>(x: V) -> V {
    // SAFETY: as in `exp2`.
    unsafe {
        let magnitude = x.abs();
        let u = magnitude.min(V::splat(LOG_ERFC_END));
        let mut p = V::splat(LOG_ERFC[9]);
        for c in LOG_ERFC.iter().rev().skip(1) {
            p = p.mul_add(u, V::splat(*c));
        }
        let erfc = exp2(V::splat(0.0).sub(p.mul(u)));
        let tail = magnitude.mul(V::splat(-0.5));
        tail.mul_add(erfc, x.max(V::splat(0.0)))
    }
}
