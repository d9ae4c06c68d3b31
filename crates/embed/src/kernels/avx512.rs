//! AVX-512F: 16 lanes, 32 registers, a 14 × 32 tile (28 sums, two weights, two broadcasts).

use std::arch::x86_64::*;

use super::Functions;
use super::attention::{self, Attention};
use super::gemm::{self, Gemm};
use super::norm::{self, LayerNorm};
use super::vector::Vector;

pub(super) static FUNCTIONS: Functions =
    Functions { panel_width: 2 * Lanes::LANES, tile_rows: Lanes::TILE_ROWS, gemm, attention, layer_norm };

#[target_feature(enable = "avx512f")]
unsafe fn gemm(g: &Gemm) {
    // SAFETY: the caller vouches for the pointers; the attribute enables the instructions.
    unsafe { gemm::gemm::<Lanes>(g) }
}

#[target_feature(enable = "avx512f")]
unsafe fn attention(a: &Attention) {
    // SAFETY: as for `gemm`.
    unsafe { attention::attention::<Lanes>(a) }
}

#[target_feature(enable = "avx512f")]
unsafe fn layer_norm(n: &LayerNorm) {
    // SAFETY: as for `gemm`.
    unsafe { norm::layer_norm::<Lanes>(n) }
}

#[derive(Clone, Copy)]
struct Lanes(__m512);

// SAFETY (every block below): the trait's contract is that the caller enabled AVX-512F; `load` and `store`
// pass on the caller's promise about their pointer.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Vector for Lanes {
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        Self(unsafe { _mm512_add_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        Self(unsafe { _mm512_sub_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, a.0, b.0) })
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(unsafe { _mm512_abs_ps(self.0) })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        Self(unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), self.0) })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        unsafe { _mm512_reduce_add_ps(self.0) }
    }
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        unsafe { _mm512_reduce_max_ps(self.0) }
    }
}
