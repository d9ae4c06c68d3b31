//! Merge join of a metadata table with the table of records.

use rusqlite::{Row, Rows, fallible_streaming_iterator::FallibleStreamingIterator as _, types::ValueRef};

use super::snapshot::RowLimit;

/// Rows of a metadata table next to the rows of `embeddings`, both ordered by id.
pub(crate) struct Cursor<'s> {
    rows: Rows<'s>,
    /// Id of the next row.
    next: Option<i64>,
    row_limit: RowLimit,
}

/// A row of a metadata table: id, key, and the four typed cells.
pub(crate) struct MetadataRow<'r, 's>(&'r Row<'s>);

impl MetadataRow<'_, '_> {
    pub(crate) fn key(&self) -> &[u8] {
        match self.0.get_ref(1) {
            Ok(ValueRef::Text(key) | ValueRef::Blob(key)) => key,
            _ => b"",
        }
    }

    /// String, int, float, bool.
    pub(crate) fn cell(&self, column: usize) -> ValueRef<'_> {
        // The statement has six columns, so `get_ref` succeeds for each.
        self.0.get_ref(2 + column).unwrap_or(ValueRef::Null)
    }
}

impl<'s> Cursor<'s> {
    pub(crate) fn start(rows: rusqlite::Result<Rows<'s>>, row_limit: RowLimit) -> rusqlite::Result<Self> {
        let mut cursor = Self { rows: rows?, next: None, row_limit };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> rusqlite::Result<()> {
        self.row_limit.count()?;
        self.rows.advance()?;
        self.next = self.rows.get().map(|row| row.get(0)).transpose()?;
        Ok(())
    }

    /// Visits the rows of `id`, and skips those before it.
    pub(crate) fn take(
        &mut self,
        id: i64,
        mut each: impl FnMut(&MetadataRow<'_, '_>),
    ) -> rusqlite::Result<()> {
        while let Some(next) = self.next.filter(|next| *next <= id) {
            if let Some(row) = self.rows.get().filter(|_| next == id) {
                each(&MetadataRow(row));
            }
            self.advance()?;
        }
        Ok(())
    }
}
