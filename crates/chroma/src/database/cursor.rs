//! Walks a metadata table in step with the table of records.

use rusqlite::{Rows, fallible_streaming_iterator::FallibleStreamingIterator as _, types::ValueRef};

/// Rows of a metadata table beside the rows of `embeddings`, both ordered by id.
pub(crate) struct Cursor<'s> {
    rows: Rows<'s>,
    /// Id of the row that is next.
    next: Option<i64>,
}

impl<'s> Cursor<'s> {
    pub(crate) fn start(rows: rusqlite::Result<Rows<'s>>) -> rusqlite::Result<Self> {
        let mut cursor = Self { rows: rows?, next: None };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> rusqlite::Result<()> {
        self.rows.advance()?;
        self.next = self.rows.get().map(|row| row.get(0)).transpose()?;
        Ok(())
    }

    /// Hands over the rows of `id` and steps over those before it: key and typed cells.
    pub(crate) fn take(
        &mut self,
        id: i64,
        mut each: impl FnMut(&[u8], [ValueRef<'_>; 4]),
    ) -> rusqlite::Result<()> {
        while let Some(next) = self.next.filter(|next| *next <= id) {
            if let Some(row) = self.rows.get().filter(|_| next == id) {
                let key = match row.get_ref(1)? {
                    ValueRef::Text(key) | ValueRef::Blob(key) => key,
                    _ => b"",
                };
                each(key, [row.get_ref(2)?, row.get_ref(3)?, row.get_ref(4)?, row.get_ref(5)?]);
            }
            self.advance()?;
        }
        Ok(())
    }
}
