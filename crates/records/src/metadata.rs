//! Metadata of a record: flat keys with typed values, as ChromaDB defines them.

use std::collections::BTreeMap;

/// One metadata value. `Int` and `Float` are distinct, as in ChromaDB: 1 and 1.0 are different values.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// `true` or `false`.
    Bool(bool),
    /// An integer, never converted through a float.
    Int(i64),
    /// A floating point number; may be non-finite when it comes from an old Chroma.
    Float(f64),
    /// A string, possibly empty.
    Text(String),
    /// A homogeneous list of scalars (ChromaDB ≥ 1.5).
    List(Vec<MetadataValue>),
}

/// The user's keys of one record. Sorted by key, since ChromaDB keeps no order.
pub type Metadata = BTreeMap<String, MetadataValue>;
