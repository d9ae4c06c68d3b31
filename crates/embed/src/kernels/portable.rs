//! Plain Rust, which the compiler vectorises for the target's default instruction set (SSE2, NEON).

use super::Functions;
use super::attention::{self, Attention};
use super::gemm::{self, Gemm};
use super::norm::{self, LayerNorm};
use super::vector::Vector;

pub(super) static FUNCTIONS: Functions =
    Functions { panel_width: 2 * Lanes::LANES, tile_rows: Lanes::TILE_ROWS, gemm, attention, layer_norm };

unsafe fn gemm(g: &Gemm) {
    // SAFETY: the caller vouches for the pointers; no special instructions are used.
    unsafe { gemm::gemm::<Lanes>(g) }
}

unsafe fn attention(a: &Attention) {
    // SAFETY: as for `gemm`.
    unsafe { attention::attention::<Lanes>(a) }
}

unsafe fn layer_norm(n: &LayerNorm) {
    // SAFETY: as for `gemm`.
    unsafe { norm::layer_norm::<Lanes>(n) }
}

#[derive(Clone, Copy)]
struct Lanes([f32; 4]);

impl Lanes {
    #[inline(always)]
    fn zip(self, o: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], o.0[i])))
    }
}

impl Vector for Lanes {
    const LANES: usize = 4;
    const TILE_ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self([x; 4])
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for 4 f32 at `p`; an array has the alignment of its element.
        Self(unsafe { p.cast::<[f32; 4]>().read() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as for `load`.
        unsafe { p.cast::<[f32; 4]>().write(self.0) }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {
        // Stable Rust has no prefetch for every target.
    }
    #[inline(always)]
    unsafe fn add(self, o: Self) -> Self {
        self.zip(o, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(self, o: Self) -> Self {
        self.zip(o, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(self, o: Self) -> Self {
        self.zip(o, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // Where the target has no fused instruction by default, `f32::mul_add` is a slow library call.
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            Self(std::array::from_fn(|i| self.0[i].mul_add(a.0[i], b.0[i])))
        } else {
            Self(std::array::from_fn(|i| self.0[i] * a.0[i] + b.0[i]))
        }
    }
    #[inline(always)]
    unsafe fn max(self, o: Self) -> Self {
        self.zip(o, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn min(self, o: Self) -> Self {
        self.zip(o, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding and taking away 1.5·2^23 leaves the nearest integer, for |x| < 2^22, without SSE4.1.
        const SHIFT: f32 = 12_582_912.0;
        Self(self.0.map(|x| (x + SHIFT) - SHIFT))
    }
    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        Self(self.0.map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32)))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d] = self.0;
        (a + c) + (b + d)
    }
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}
