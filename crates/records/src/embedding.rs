//! Embedding vectors.

/// Dimension of the vectors of all-MiniLM-L6-v2, and of the services' `embedding` columns.
pub const MODEL_DIMENSION: usize = 384;

/// One embedding: `[dimension]`, f32. Our model normalises to length 1; vectors read from Chroma are as its client sent
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// The components, in order.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Number of components.
    pub fn dimension(&self) -> usize {
        self.0.len()
    }

    /// Whether every component is finite, as PostgreSQL's `vector` type requires.
    pub fn is_finite(&self) -> bool {
        // No early exit, so that the compiler can vectorize the loop.
        self.0.iter().fold(true, |finite, x| finite & x.is_finite())
    }
}

impl From<Vec<f32>> for Embedding {
    fn from(components: Vec<f32>) -> Self {
        Self(components.into_boxed_slice())
    }
}
