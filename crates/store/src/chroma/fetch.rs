//! Fetches pages of records: adapts their size to the server's limits and to the size of records, and skips over
//! records that the server fails on.

use chroma::{Collection, Field, Problem, ProblemKind};

use super::{
    api::{Connection, Selection},
    error::{Error, Remedy},
    record::{Parts, rows},
    wire::Column,
};

/// A page must contain the last record of the previous page, and one more.
pub(crate) const SMALLEST_PAGE: u32 = 2;

/// Initial page size, until the size of records is known.
const FIRST_PAGE: u32 = 100;

/// Target size of a response: eight of them fit into memory, encoded and decoded, and the server spends at most a
/// second on each.
const TARGET_BYTES: usize = 8 << 20;

/// Longer responses are dropped and requested again in smaller pages, since the size of records varies.
pub(crate) const LIMIT_BYTES: usize = 64 << 20;

/// Limit for a single record, when the page cannot shrink further: Chroma does not limit documents, but SQLite limits
/// texts to 1,000,000,000 bytes.
pub(crate) const RECORD_LIMIT_BYTES: usize = 1 << 30;

/// If the server fails on more records, the records are not the cause.
const MOST_ISOLATED: u32 = 1000;

/// Consecutive records in the server's order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The ids of the page, in the server's order.
    pub(crate) ids: Vec<String>,
    /// Their records, in any order, except those deleted while the page was read one by one after a failure.
    pub(crate) rows: Vec<(String, Parts)>,
}

/// The number of records per request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    current: u32,
    /// The maximum that the server allows, as far as known.
    most: u32,
}

/// If no record was returned completely so far, after this many failing records, others throughout the collection are
/// tried.
const ISOLATED_UNPROVEN: u32 = 16;

/// Gets records of one collection.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) connection: Connection,
    pub(crate) collection: Collection,
    /// All columns that the server supports.
    columns: Vec<Column>,
    pub(crate) page_size: PageSize,
    isolated: u32,
    /// Whether the server has returned a record with all columns.
    is_proven: bool,
}

impl PageSize {
    pub(crate) fn new(most: u32) -> Self {
        let most = most.max(SMALLEST_PAGE);
        Self { current: most, most }
    }

    pub(crate) fn current(self) -> u32 {
        self.current
    }

    /// Permanently reduces it below `asked`; `false` if this is not possible.
    pub(crate) fn shrink(&mut self, asked: u32, limit: Option<u32>) -> bool {
        if asked <= SMALLEST_PAGE {
            return false;
        }
        self.most = limit.filter(|limit| *limit < asked).unwrap_or(asked / 2).max(SMALLEST_PAGE);
        self.current = self.current.min(self.most);
        true
    }

    /// Adapts it to the average record size, given `count` records of `size_bytes` in total.
    pub(crate) fn fit(&mut self, count: usize, size_bytes: usize) {
        // At most doubled, since the next records may be larger.
        let double = self.current.saturating_mul(2).min(self.most);
        let fitting = TARGET_BYTES.saturating_mul(count).checked_div(size_bytes).unwrap_or(usize::MAX);
        self.current =
            u32::try_from(fitting).unwrap_or(u32::MAX).clamp(SMALLEST_PAGE, double.max(SMALLEST_PAGE));
    }
}

impl Fetch {
    pub(crate) fn new(
        connection: Connection,
        collection: Collection,
        columns: Vec<Column>,
        most: u32,
    ) -> Self {
        let mut page_size = PageSize::new(most);
        page_size.current = page_size.current.min(FIRST_PAGE);
        Self { connection, collection, columns, page_size, isolated: 0, is_proven: false }
    }

    /// A page of records from `offset`; empty only at the end of the collection.
    pub(crate) async fn page(&mut self, offset: u64) -> Result<Page, Error> {
        loop {
            let limit = self.page_size.current;
            let selection = Selection::Range { offset, limit };
            match self.get(selection, &self.columns, limit).await {
                Ok((answer, size_bytes)) => {
                    if !answer.ids.is_empty() {
                        self.is_proven = true;
                        self.page_size.fit(answer.ids.len(), size_bytes);
                    }
                    return Ok(Page { ids: answer.ids.clone(), rows: rows(answer).collect() });
                }
                Err(error) => match error.remedy() {
                    Remedy::Shrink(most) if self.page_size.shrink(limit, most) => {
                        log::debug!("{error}; pages of {} records from now on", self.page_size.current);
                    }
                    Remedy::Isolate => {
                        log::debug!("{error}; looking for the record that it fails on");
                        let (answer, _) = self.get(selection, &[], limit).await?;
                        let rows = self.around_failures(&answer.ids, error).await?;
                        return Ok(Page { ids: answer.ids, rows });
                    }
                    Remedy::Shrink(_) | Remedy::Fail => return Err(error),
                },
            }
        }
    }

    /// The ids from `offset` on.
    pub(crate) async fn ids(&self, size: &mut PageSize, offset: u64) -> Result<Vec<String>, Error> {
        loop {
            let limit = size.current;
            match self.get(Selection::Range { offset, limit }, &[], limit).await {
                Ok((answer, _)) => return Ok(answer.ids),
                Err(error) => match error.remedy() {
                    Remedy::Shrink(most) if size.shrink(limit, most) => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// The records with these ids, without those that do not exist.
    pub(crate) async fn with_ids(&mut self, ids: &[String]) -> Result<Vec<(String, Parts)>, Error> {
        let count = count(ids);
        match self.get(Selection::Ids(ids), &self.columns, count).await {
            Ok((answer, _)) => {
                self.is_proven |= !answer.ids.is_empty();
                Ok(rows(answer).collect())
            }
            Err(error) if error.remedy() == Remedy::Fail => Err(error),
            Err(error) => self.around_failures(ids, error).await,
        }
    }

    async fn get(
        &self,
        selection: Selection<'_>,
        columns: &[Column],
        count: u32,
    ) -> Result<(super::wire::GetAnswer, usize), Error> {
        let limit_bytes = if count <= SMALLEST_PAGE { RECORD_LIMIT_BYTES } else { LIMIT_BYTES };
        self.connection.get(&self.collection, selection, columns, limit_bytes).await
    }

    /// Reads records by their ids after `failure` of reading them together: bisects until the records that the server
    /// fails on are isolated.
    async fn around_failures(
        &mut self,
        ids: &[String],
        failure: Error,
    ) -> Result<Vec<(String, Parts)>, Error> {
        let mut found = Vec::with_capacity(ids.len());
        let mut chunks = halves(ids);
        if chunks.is_empty() {
            found.extend(self.alone(ids, failure).await?);
        }
        while let Some(chunk) = chunks.pop() {
            match self.get(Selection::Ids(chunk), &self.columns, count(chunk)).await {
                Ok((answer, _)) => {
                    self.is_proven |= !answer.ids.is_empty();
                    found.extend(rows(answer));
                }
                Err(error) if error.remedy() == Remedy::Fail => return Err(error),
                Err(error) if chunk.len() == 1 => found.extend(self.alone(chunk, error).await?),
                Err(_) => chunks.extend(halves(chunk)),
            }
        }
        Ok(found)
    }

    /// Whether the server returns complete records anywhere in the collection. A server that returns none does not
    /// fail on single records.
    async fn proves_itself(&mut self) -> Result<bool, Error> {
        let count = self.connection.count(&self.collection).await?;
        for offset in [count / 4, count / 2, count / 4 * 3, count.saturating_sub(1)] {
            let selection = Selection::Range { offset, limit: SMALLEST_PAGE };
            match self.get(selection, &self.columns, SMALLEST_PAGE).await {
                Ok((answer, _)) => self.is_proven |= !answer.ids.is_empty(),
                Err(error) if error.remedy() == Remedy::Fail => return Err(error),
                Err(_) => {}
            }
        }
        Ok(self.is_proven)
    }

    /// Reads a record that the server fails on column by column; `None` if it no longer exists.
    async fn alone(&mut self, ids: &[String], failure: Error) -> Result<Option<(String, Parts)>, Error> {
        let selection = Selection::Ids(ids);
        let (answer, _) = self.get(selection, &[], 1).await?;
        let Some(id) = answer.ids.into_iter().next() else { return Ok(None) };
        self.isolated += 1;
        let is_doubtful = !self.is_proven && self.isolated == ISOLATED_UNPROVEN;
        if self.isolated > MOST_ISOLATED || (is_doubtful && !self.proves_itself().await?) {
            return Err(failure);
        }
        let mut parts = Parts::default();
        for &column in &self.columns {
            match self.get(selection, &[column], 1).await {
                Ok((answer, _)) => {
                    let Some((_, row)) = rows(answer).next() else { return Ok(None) };
                    match column {
                        Column::Embeddings => parts.embedding = row.embedding,
                        Column::Documents => parts.document = row.document,
                        Column::Metadatas => parts.metadata = row.metadata,
                        Column::Uris => parts.uri = row.uri,
                    }
                }
                // The response of 0.4 for a lost vector (FORMAT §10.2).
                Err(Error::Misaligned { .. }) if column == Column::Embeddings => {}
                Err(error) if error.remedy() == Remedy::Isolate => note_failure(&mut parts, column, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(Some((id, parts)))
    }
}

fn note_failure(parts: &mut Parts, column: Column, error: &Error) {
    let field = match column {
        Column::Embeddings => {
            parts.embedding_fails = true;
            return;
        }
        Column::Documents => Field::Document,
        Column::Metadatas => Field::AllMetadata,
        Column::Uris => Field::Uri,
    };
    let words = match error {
        Error::Status { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let original = words.into_bytes().into();
    parts.problems.push(Problem { field, kind: ProblemKind::NotReturned, original });
}

/// Both halves, the first one last, so that it is popped first; empty for a single id.
fn halves(ids: &[String]) -> Vec<&[String]> {
    if ids.len() < 2 {
        return Vec::new();
    }
    let (first, second) = ids.split_at(ids.len() / 2);
    vec![second, first]
}

fn count(ids: &[String]) -> u32 {
    u32::try_from(ids.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_size_follows_server_limits_and_record_sizes() {
        let mut size = PageSize::new(1000);
        assert!(size.shrink(1000, Some(300)));
        assert_eq!(size.current(), 300);
        // Records of 1 MiB: eight a page. Then small ones: double at a time, never above the server's limit.
        size.fit(300, 300 << 20);
        assert_eq!(size.current(), 8);
        let sizes: Vec<u32> = (0..7)
            .map(|_| {
                size.fit(8, 8 << 10);
                size.current()
            })
            .collect();
        assert_eq!(sizes, [16, 32, 64, 128, 256, 300, 300]);
        // A limit not below the requested number is ignored.
        assert!(size.shrink(300, Some(300)));
        assert_eq!(size.current(), 150);
        assert!(size.shrink(3, None) && !size.shrink(2, None));
    }
}
