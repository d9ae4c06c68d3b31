//! A vector as the model or the store gives it.

/// Dimension of the vectors that all-MiniLM-L6-v2 makes, and of the services' `embedding` columns.
pub const MODEL_DIMENSION: usize = 384;

/// One embedding: `[dimension]`, f32, as written by whoever made it (our model normalises to length 1;
/// vectors read from Chroma are whatever its client sent).
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

    /// Whether every component is finite, which is what PostgreSQL's `vector` type can hold.
    pub fn is_finite(&self) -> bool {
        // Without an early end, so that the compiler looks at many at once.
        self.0.iter().fold(true, |finite, x| finite & x.is_finite())
    }
}

impl From<Vec<f32>> for Embedding {
    fn from(components: Vec<f32>) -> Self {
        Self(components.into_boxed_slice())
    }
}
