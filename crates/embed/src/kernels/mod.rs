//! The arithmetic for each instruction set, behind a table of functions that is chosen when the model is loaded.

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod gemm;
mod norm;
mod portable;
mod vector;

use std::fmt;

pub(crate) use attention::Attention;
pub(crate) use gemm::{Epilogue, Gemm};
pub(crate) use norm::LayerNorm;

use crate::shape::{HEAD_DIM, MAX_TOKENS};

/// An instruction set that the model can be computed with. All give the same vectors up to f32 rounding; one
/// kernel always gives the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// AVX-512F, 16 lanes.
    Avx512,
    /// AVX2 with FMA, 8 lanes.
    Avx2,
    /// Plain Rust for any processor, including arm64.
    Portable,
}

impl Kernel {
    /// Every kernel, fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// The fastest kernel that this processor has.
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|kernel| kernel.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor can run the kernel.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => false,
            Self::Portable => true,
        }
    }

    /// The kernel's functions, when this processor can run it.
    pub(crate) fn functions(self) -> Option<&'static Functions> {
        if !self.is_available() {
            return None;
        }
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Some(&avx512::FUNCTIONS),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(&avx2::FUNCTIONS),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512 | Self::Avx2 => None,
            Self::Portable => Some(&portable::FUNCTIONS),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        })
    }
}

/// A backend. The functions have the safety conditions of the generic ones that they instantiate; `Kernel::functions`
/// ensures that the processor supports the instructions.
pub(crate) struct Functions {
    /// Columns of a weight panel, a divisor of `HEAD_DIM`.
    pub(crate) panel_width: usize,
    /// Rows of the register tile.
    tile_rows: usize,
    pub(crate) gemm: unsafe fn(&Gemm),
    pub(crate) attention: unsafe fn(&Attention),
    pub(crate) layer_norm: unsafe fn(&LayerNorm),
}

impl Functions {
    /// f32 of `Attention::keys` that suffice for any text.
    pub(crate) fn keys_len(&self) -> usize {
        MAX_TOKENS.next_multiple_of(self.panel_width) * HEAD_DIM
    }

    /// f32 of `Attention::scores` that suffice for any text.
    pub(crate) fn scores_len(&self) -> usize {
        MAX_TOKENS.next_multiple_of(self.panel_width) * self.tile_rows
    }
}
