//! Reads records by their ids, and scans selected records.

use std::collections::HashMap;

use super::{
    ChromaStorage,
    matching::Matcher,
    narrowing::narrow,
    row::{Columns, Row, SortKey},
};
use crate::{
    chroma::{
        ServerOptions,
        api::Selection as Selected,
        error::{Error, Remedy},
        fetch::{LIMIT_BYTES, PageSize, RECORD_LIMIT_BYTES, SMALLEST_PAGE},
        record::rows,
        wire::{Column, Condition, GetAnswer},
    },
    storage::{Record, Selection, StorageError},
};

/// How often a scan restarts when records shift, before it fails.
const SCAN_ATTEMPTS: u32 = 5;

impl ChromaStorage {
    /// The existing records with these ids, in order.
    pub(super) async fn records(
        &self,
        ids: &[String],
        operation: &'static str,
    ) -> Result<Vec<Record>, StorageError> {
        let rows = self.rows(ids, Columns::SHOWN, operation).await?;
        // A duplicate id is returned twice.
        let records: HashMap<String, Record> =
            rows.into_iter().map(|row| (row.id.clone(), row.into_record())).collect();
        Ok(ids.iter().filter_map(|id| records.get(id).cloned()).collect())
    }

    /// The records with these ids, in any order.
    pub(super) async fn rows(
        &self,
        ids: &[String],
        columns: Columns,
        operation: &'static str,
    ) -> Result<Vec<Row>, StorageError> {
        let mut ids: Vec<String> = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let columns = columns.list();
        let mut found = Vec::with_capacity(ids.len());
        let mut size = PageSize::new(u32::try_from(self.batch_records).unwrap_or(u32::MAX));
        let mut rest = &*ids;
        while !rest.is_empty() {
            let asked = rest.len().min(usize::try_from(size.current()).unwrap_or(usize::MAX));
            let (page, later) = rest.split_at(asked);
            let count = u32::try_from(asked).unwrap_or(u32::MAX);
            match self.page(Selected::Ids(page), &columns, count).await {
                Ok((answer, size_bytes)) => {
                    size.fit(answer.ids.len().max(1), size_bytes);
                    found.extend(rows(answer).map(|(id, parts)| Row::new(self.service, id, parts)));
                    rest = later;
                }
                Err(error) => self.shrink(&mut size, count, error, operation)?,
            }
        }
        Ok(found)
    }

    /// The sort position and id of each selected record, in any order.
    pub(super) async fn places(
        &self,
        selection: &Selection,
        operation: &'static str,
    ) -> Result<Vec<(SortKey, String)>, StorageError> {
        let columns = Columns { metadatas: true, ..Columns::default() };
        let note = |places: &mut Vec<(SortKey, String)>, row: Row| places.push((row.place(), row.id));
        self.scan(selection, columns, operation, note).await
    }

    /// Visits every selected record once, with at least these columns. A record that exists throughout is not missed:
    /// each page must begin with the last record of the previous page; if it does not, records were deleted or
    /// changed meanwhile, and the scan restarts with an empty `T`.
    pub(super) async fn scan<T: Default>(
        &self,
        selection: &Selection,
        columns: Columns,
        operation: &'static str,
        mut visit: impl FnMut(&mut T, Row),
    ) -> Result<T, StorageError> {
        let matcher = Matcher::new(self.service, selection)?;
        let narrowed = narrow(self.service, selection);
        let columns = Columns {
            metadatas: columns.metadatas || !narrowed.is_exact,
            documents: columns.documents || matcher.needs_document(),
            ..columns
        };
        for _ in 0..SCAN_ATTEMPTS {
            let mut result = T::default();
            let visit_selected = |row: Row| {
                if narrowed.is_exact || matcher.matches(&row) {
                    visit(&mut result, row);
                }
            };
            if self.scan_once(&narrowed.condition, &columns.list(), operation, visit_selected).await? {
                return Ok(result);
            }
        }
        let error = Error::Unstable {
            operation: format!("scan collection `{}`", self.collection.name),
            address: self.connection.client.address().to_owned(),
            attempts: SCAN_ATTEMPTS,
        };
        Err(StorageError::Unavailable { service: self.service, source: Box::new(error) })
    }

    /// The number of records that satisfy `condition`; `None` if they change during counting.
    pub(super) async fn count_of(
        &self,
        condition: &Condition,
        operation: &'static str,
    ) -> Result<Option<usize>, StorageError> {
        let mut count = 0;
        let is_whole = self.scan_once(condition, &[], operation, |_| count += 1).await?;
        Ok(is_whole.then_some(count))
    }

    /// `false` if records shifted.
    async fn scan_once(
        &self,
        condition: &Condition,
        columns: &[Column],
        operation: &'static str,
        mut visit: impl FnMut(Row),
    ) -> Result<bool, StorageError> {
        let mut size = PageSize::new(ServerOptions::PAGE_RECORDS);
        let (mut offset, mut last) = (0, None::<String>);
        loop {
            let limit = size.current();
            let selected = Selected::Where { condition, offset, limit };
            let (answer, size_bytes) = match self.page(selected, columns, limit).await {
                Ok(page) => page,
                Err(error) => {
                    self.shrink(&mut size, limit, error, operation)?;
                    continue;
                }
            };
            let count = answer.ids.len();
            size.fit(count.max(1), size_bytes);
            let repeated = usize::from(last.is_some());
            if answer.ids.first() != last.as_ref() && repeated == 1 {
                return Ok(false);
            }
            last = answer.ids.last().cloned().or(last);
            for (id, parts) in rows(answer).skip(repeated) {
                visit(Row::new(self.service, id, parts));
            }
            // A server may return fewer than requested; only a page without new records is the end.
            if count <= repeated {
                return Ok(true);
            }
            offset += u64::try_from(count - repeated).expect("counts fit");
            if repeated == 0 {
                // The next page begins with the last record of this one.
                offset -= 1;
            }
        }
    }

    async fn page(
        &self,
        selected: Selected<'_>,
        columns: &[Column],
        count: u32,
    ) -> Result<(GetAnswer, usize), Error> {
        let limit_bytes = if count <= SMALLEST_PAGE { RECORD_LIMIT_BYTES } else { LIMIT_BYTES };
        self.connection.get(&self.collection, selected, columns, limit_bytes).await
    }

    fn shrink(
        &self,
        size: &mut PageSize,
        asked: u32,
        error: Error,
        operation: &'static str,
    ) -> Result<(), StorageError> {
        match error.remedy() {
            // A silent server counts as unavailable: clients should not wait while pages become smaller and smaller.
            Remedy::Shrink(most) if !error.is_timeout() && size.shrink(asked, most) => Ok(()),
            _ => Err(self.failed(operation)(error)),
        }
    }
}
