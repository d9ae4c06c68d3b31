//! The oldest versions of other programs that Panopticon works with.

/// PostgreSQL, the major version.
pub const POSTGRESQL: u32 = 14;

/// pgvector: the first with everything that our indexes and types need.
pub const PGVECTOR: [u32; 2] = [0, 7];

/// A Chroma server that stores a service's records: before, there are no
/// databases and no order of records to go through them, and 0.4.3 turns true into 1. Migrations read older ones.
pub const CHROMA: [u32; 3] = [0, 4, 15];
