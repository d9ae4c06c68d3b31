//! AVX2 with FMA: 8 lanes, 16 registers, a 6 × 16 tile (12 sums, two weights, two broadcasts).

use std::arch::x86_64::*;

use super::Functions;
use super::attention::{self, Attention};
use super::gemm::{self, Gemm};
use super::norm::{self, LayerNorm};
use super::vector::Vector;

pub(super) static FUNCTIONS: Functions =
    Functions { panel_width: 2 * Lanes::LANES, tile_rows: Lanes::TILE_ROWS, gemm, attention, layer_norm };

#[target_feature(enable = "avx2,fma")]
unsafe fn gemm(g: &Gemm) {
    // SAFETY: the caller vouches for the pointers; the attribute enables the instructions.
    unsafe { gemm::gemm::<Lanes>(g) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn attention(a: &Attention) {
    // SAFETY: as for `gemm`.
    unsafe { attention::attention::<Lanes>(a) }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn layer_norm(n: &LayerNorm) {
    // SAFETY: as for `gemm`.
    unsafe { norm::layer_norm::<Lanes>(n) }
}

#[derive(Clone, Copy)]
struct Lanes(__m256);

impl Lanes {
    #[inline(always)]
    unsafe fn to_array(self) -> [f32; 8] {
        let mut lanes = [0.0; 8];
        // SAFETY: the array has room for the 8 lanes.
        unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }
}

// SAFETY (every block below): the trait's contract is that the caller enabled AVX2 and FMA; `load` and
// `store` pass on the caller's promise about their pointer.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Vector for Lanes {
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { _mm256_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm256_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, a.0, b.0) })
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        Self(unsafe { _mm256_max_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        Self(unsafe { _mm256_min_ps(self.0, o.0) })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(unsafe { _mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0) })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Self(unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        Self(unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        })
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = unsafe { self.to_array() };
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        unsafe { self.to_array() }.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
