//! Gets pages of records: sizes them by what the server allows and by how large records are, and reads around
//! records that the server fails on.

use chroma::{Collection, Field, Problem, ProblemKind};

use super::{
    api::{Connection, Selection},
    error::{Error, Remedy},
    record::{Parts, rows},
    wire::Column,
};

/// A page has to hold the last record of the page before it, and one more.
pub(crate) const SMALLEST_PAGE: u32 = 2;

/// Pages are of this many records until one has told how large they are.
const FIRST_PAGE: u32 = 100;

/// Answers are kept to about this size. Eight of them in memory, decoded and not, are no burden, and the server
/// spends a second at most on each.
const TARGET_BYTES: usize = 8 << 20;

/// An answer that turns out longer is dropped and asked for in smaller pages: records vary.
pub(crate) const LIMIT_BYTES: usize = 64 << 20;

/// What one record may have, when the page cannot become smaller: Chroma sets documents no limit, but SQLite sets
/// any text one of 1,000,000,000 bytes.
pub(crate) const RECORD_LIMIT_BYTES: usize = 1 << 30;

/// More records that the server fails on mean that it is not their fault.
const MOST_ISOLATED: u32 = 1000;

/// Records of a stretch of the server's order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// The ids of the stretch, in the server's order.
    pub(crate) ids: Vec<String>,
    /// Their records, in any order; without those that were deleted while the page was read around a failure.
    pub(crate) rows: Vec<(String, Parts)>,
}

/// How many records to ask for at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSize {
    current: u32,
    /// What the server has been seen to allow.
    most: u32,
}

/// Where no record has come whole, so many that the server fails on one by one have others tried all over the
/// collection.
const ISOLATED_UNPROVEN: u32 = 16;

/// Gets records of one collection.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) connection: Connection,
    pub(crate) collection: Collection,
    /// All that the server knows to return.
    columns: Vec<Column>,
    pub(crate) page_size: PageSize,
    isolated: u32,
    /// Whether the server has ever given a record with all columns.
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

    /// Makes it smaller than `asked` for good; `false` when it cannot be.
    pub(crate) fn shrink(&mut self, asked: u32, limit: Option<u32>) -> bool {
        if asked <= SMALLEST_PAGE {
            return false;
        }
        self.most = limit.filter(|limit| *limit < asked).unwrap_or(asked / 2).max(SMALLEST_PAGE);
        self.current = self.current.min(self.most);
        true
    }

    /// Fits it to records of the size that `count` of them in `size_bytes` have.
    pub(crate) fn fit(&mut self, count: usize, size_bytes: usize) {
        // Growth to the double at most, since the next records may be larger.
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

    /// The records from `offset` on, as many as the page size allows; none only at the end of the collection.
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

    /// Reads records by their ids after `failure` of reading them at once: halves, until those that the server
    /// fails on stand alone.
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

    /// Whether the server gives records with all columns anywhere: at some places of the collection. A server that gives
    /// none does not fail on single records.
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

    /// A record that the server fails on, column by column; `None` when it does not exist any more.
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
                // What 0.4 answers for a vector that it has lost (FORMAT §10.2).
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

/// Both halves, the first one last, so that it is popped first; none of a single id.
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
    fn page_size_obeys_the_server_and_fits_the_records() {
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
        // A limit that is no smaller than what was asked for teaches nothing.
        assert!(size.shrink(300, Some(300)));
        assert_eq!(size.current(), 150);
        assert!(size.shrink(3, None) && !size.shrink(2, None));
    }
}
