//! A statement with its values.

use super::{
    Sql,
    condition::{Bind, Binds},
    trusted,
};

/// A statement and the values of its placeholders.
pub(crate) struct Statement {
    pub(crate) sql: Sql,
    pub(crate) binds: Vec<Bind>,
    /// The index of the value that limits the bytes of an answer, if there is one.
    pub(super) most_bytes: Option<usize>,
}

impl Statement {
    /// The same statement for an answer of up to `most_bytes`.
    pub(crate) fn within(&self, most_bytes: usize) -> Self {
        let mut binds = self.binds.clone();
        if let Some(bind) = self.most_bytes.and_then(|place| binds.get_mut(place)) {
            *bind = Bind::Whole(i64::try_from(most_bytes).unwrap_or(i64::MAX));
        }
        Self { sql: trusted(self.sql.0.clone()), binds, most_bytes: self.most_bytes }
    }
}

pub(super) fn statement(sql: String, binds: Binds) -> Statement {
    Statement { sql: trusted(sql), binds: binds.0, most_bytes: None }
}
