//! The oldest supported versions of other programs.

/// PostgreSQL, the major version.
pub const POSTGRESQL: u32 = 14;

/// pgvector: the first with everything that our indexes and types need.
pub const PGVECTOR: [u32; 2] = [0, 7];

/// A Chroma server that stores a service's records. Older ones have no databases and no stable order of records for
/// paging, and 0.4.3 turns true into 1. Migrations also read older versions.
pub const CHROMA: [u32; 3] = [0, 4, 15];
