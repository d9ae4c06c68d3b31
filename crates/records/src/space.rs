//! Distance functions of embeddings.

use std::fmt;

/// ChromaDB's `hnsw:space` of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DistanceSpace {
    /// Squared Euclidean distance, ChromaDB's default.
    L2,
    /// 1 − cosine of the angle.
    Cosine,
    /// 1 − inner product.
    InnerProduct,
}

impl DistanceSpace {
    /// ChromaDB's name of the space: `l2`, `cosine` or `ip`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::L2 => "l2",
            Self::Cosine => "cosine",
            Self::InnerProduct => "ip",
        }
    }

    /// The space that ChromaDB calls `name`, if there is one.
    pub fn from_chroma(name: &str) -> Option<Self> {
        match name {
            "l2" => Some(Self::L2),
            "cosine" => Some(Self::Cosine),
            "ip" => Some(Self::InnerProduct),
            _ => None,
        }
    }
}

impl fmt::Display for DistanceSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
