//! The storage of a service in PostgreSQL.
//!
//! Each operation is one transaction with local settings. Migrated rows, rows of the old services and rows stored
//! here are treated alike.

mod insert;
mod nearest_rows;
mod row;
mod search;
mod vector_search;
mod writes;

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use records::{Service, stored_id};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

pub(crate) use nearest_rows::{NearestSearch, WideFilters, nearest_rows};

use self::{nearest_rows::CachedIndex, row::read_record};
use super::{
    Database, Table,
    bounded::{AnswerSize, bound, fetch, fetch_answer, up_to},
    checkout::Transaction,
    concise_error::concise,
    failure::{Failing, is_beyond_a_limit, repeated},
    lsn::{self, reading_after},
    schema,
    shard_statistics::shard_statistics,
    sql::{
        service as statements,
        statement::Statement,
        update::{RowChange, update_record},
    },
    unnamed::on,
};
use crate::{
    row::object_to_json,
    storage::{
        Atomicity, CategoryCount, Change, Cursor, EXPORT_BYTES, Hit, Insertion, NewRecord, ReadOnlyServer,
        Record, Search, Selection, Start, Storage, StorageError, StorageKind,
    },
};

/// Records of a page of an export, if they are short.
const EXPORT_PAGE: u32 = 200;

/// The records of one service in PostgreSQL.
pub struct PostgresStorage {
    database: Database,
    table: Table,
    failing: Failing,
    index: CachedIndex,
    wide: WideFilters,
}

impl PostgresStorage {
    /// The storage of `service` in `database`, whose schema must be prepared ([`Database::prepare_service`]).
    pub fn new(database: Database, service: Service) -> Self {
        Self {
            database: database.of_service(service),
            table: Table::of(service),
            failing: Failing(service),
            index: CachedIndex::default(),
            wide: WideFilters::default(),
        }
    }

    /// Prepares the schema in `database`, and returns the storage of `service` in it.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the database is unavailable; [`StorageError::Failed`] when its tables are
    /// incompatible, or pgvector is missing.
    pub async fn open(database: Database, service: Service) -> Result<Self, StorageError> {
        let prepared = database.prepare_service(service).await;
        prepared.map_err(|error| Failing(service).of("open the storage", error))?;
        Ok(Self::new(database, service))
    }

    fn service(&self) -> Service {
        self.failing.0
    }

    /// A transaction for a write, with the database's statement time-out.
    async fn begin_write(&self) -> Result<Transaction, StorageError> {
        self.database.begin_write(&[]).await.map_err(self.failing.to("begin a transaction"))
    }

    async fn commit(&self, transaction: Transaction) -> Result<(), StorageError> {
        transaction.commit().await.map_err(self.failing.to("commit a transaction"))
    }

    /// The rows returned by `statement`, which changes nothing, in a separate transaction.
    async fn rows(
        &self,
        statement: &Statement,
        size: AnswerSize,
        operation: &'static str,
    ) -> Result<Vec<PgRow>, StorageError> {
        let fetch = async |connection: &mut PgConnection| fetch_answer(connection, statement, size).await;
        self.database.in_read(self.failing, operation, fetch).await
    }

    /// The records returned by `statement`. Large results are read sequentially.
    async fn records(
        &self,
        statement: Statement,
        operation: &'static str,
    ) -> Result<Vec<Record>, StorageError> {
        self.rows_in_turn(&statement, operation, |rows| self.read(rows, operation)).await
    }

    /// The rows of `statement`, converted by `read`. Large results are read sequentially.
    async fn rows_in_turn<T>(
        &self,
        statement: &Statement,
        operation: &'static str,
        read: impl Fn(&[PgRow]) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let read = &read;
        let read = |size| async move { read(&self.rows(statement, size, operation).await?) };
        self.database.in_turn(read).await
    }

    /// Up to `limit` records from `start`, or as many as an export holds at once; and whether these are all requested
    /// records.
    async fn export_page(
        &self,
        selection: &Selection,
        start: Start,
        limit: u32,
    ) -> Result<(Vec<Record>, bool), StorageError> {
        const OPERATION: &str = "export records";
        let statement = statements::export_records(self.service(), selection, start, limit)?;
        // The size known to PostgreSQL is less than that of the row if metadata are compressed.
        let fetch = async |connection: &mut PgConnection| {
            up_to(bound(statement.within(EXPORT_BYTES)).fetch(on(connection)), EXPORT_BYTES).await
        };
        let _turn = self.database.begin_large().await?;
        let (rows, is_whole) = self.database.in_read(self.failing, OPERATION, fetch).await?;
        let all = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>("page_rows"));
        let all = all.map_err(self.failing.to(OPERATION))?;
        let is_whole = is_whole && i64::try_from(rows.len()).is_ok_and(|read| read == all);
        Ok((self.read(&rows, OPERATION)?, is_whole))
    }

    async fn try_update(&self, id: &str, change: &Change) -> Result<Option<Record>, StorageError> {
        const OPERATION: &str = "update a record";
        let service = self.service();
        let update = async |connection: &mut PgConnection| {
            let rows = fetch(connection, statements::lock_record(&self.table, stored_id(id))).await;
            let found = self.read(&rows.map_err(self.failing.to(OPERATION))?, OPERATION)?.pop();
            let Some(record) = found.filter(|record| record.id == id) else {
                return Ok(None);
            };
            change.check(service, &record)?;
            if *change == Change::default() {
                return Ok(Some(record));
            }
            let row_change = RowChange {
                text: change.text.clone(),
                category: change.category.clone(),
                metadata: change.metadata.as_ref().map(object_to_json),
            };
            let statement = update_record(service, stored_id(id), row_change);
            let rows = fetch(connection, statement).await.map_err(self.failing.to(OPERATION))?;
            Ok(self.read(&rows, OPERATION)?.pop())
        };
        self.database.in_service_with(self.failing, &[], update).await
    }

    fn read(&self, rows: &[PgRow], operation: &'static str) -> Result<Vec<Record>, StorageError> {
        rows.iter()
            .map(|row| read_record(row, &self.table))
            .collect::<sqlx::Result<_>>()
            .map_err(self.failing.to(operation))
    }
}

#[async_trait]
impl Storage for PostgresStorage {
    fn service(&self) -> Service {
        self.service()
    }

    fn kind(&self) -> StorageKind {
        StorageKind::Postgres
    }

    async fn check(&self) -> Result<(), StorageError> {
        const OPERATION: &str = "check the storage's table";
        let transaction = self.database.begin_check().await;
        let mut transaction = transaction.map_err(|error| self.failing.of(OPERATION, error))?;
        let checked = schema::require_table(&mut transaction, &self.table).await;
        checked.map_err(|error| self.failing.of(OPERATION, error))?;
        if self.database.has_citus() {
            // Each shard answers.
            let shards = shard_statistics(&mut transaction, &self.table.name).await;
            shards.map_err(self.failing.to(OPERATION))?;
        }
        self.commit(transaction).await
    }

    async fn check_writes(&self) -> Result<(), StorageError> {
        const OPERATION: &str = "write";
        let mut transaction =
            self.database.begin_check().await.map_err(|error| self.failing.of(OPERATION, error))?;
        let is_read_only = sqlx::query_scalar!(
            r#"select current_setting('transaction_read_only') = 'on' as "is_read_only!""#
        )
        .fetch_one(on(&mut transaction))
        .await
        .map_err(self.failing.to(OPERATION))?;
        if is_read_only {
            return Err(StorageError::Unavailable { service: self.service(), source: ReadOnlyServer.into() });
        }
        let refusal = writes::refusal(&mut transaction, self.service()).await;
        if let Some(reason) = refusal.map_err(self.failing.to(OPERATION))? {
            return Err(StorageError::Failed { operation: OPERATION, source: reason.into() });
        }
        let written = writes::check_disk_space(&mut transaction, self.service()).await;
        match written {
            Ok(()) => self.commit(transaction).await,
            Err(error) if is_beyond_a_limit(&error) => Ok(()),
            Err(error) => Err(StorageError::Failed { operation: OPERATION, source: concise(error).into() }),
        }
    }

    async fn insert(
        &self,
        records: &[NewRecord],
        atomicity: Atomicity,
    ) -> Result<Vec<Insertion>, StorageError> {
        self.insert_records(records, atomicity).await
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<Record>, StorageError> {
        const OPERATION: &str = "read records";
        let keys = ids.iter().map(|id| stored_id(id)).collect();
        let records = self.records(statements::select_records(&self.table, keys), OPERATION).await?;
        let found: HashMap<String, Record> =
            records.into_iter().map(|record| (record.id.clone(), record)).collect();
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    async fn update(&self, id: &str, change: &Change) -> Result<Option<Record>, StorageError> {
        repeated(|| self.try_update(id, change)).await
    }

    async fn delete(&self, ids: &[String]) -> Result<Vec<String>, StorageError> {
        const OPERATION: &str = "delete records";
        // No record has such an id, and PostgreSQL rejects such a text.
        let mut asked: Vec<&String> = ids.iter().filter(|id| !id.contains('\0')).collect();
        // In a fixed order, so that two deletions do not deadlock.
        asked.sort_by_key(|id| stored_id(id));
        asked.dedup();
        let keys = asked.iter().map(|id| stored_id(id)).collect();
        let shown = asked.into_iter().cloned().collect();
        let statement = statements::delete_records(&self.table, keys, shown);
        let delete = async |connection: &mut PgConnection| {
            fetch_answer(connection, &statement, AnswerSize::Large).await
        };
        let rows = repeated(|| self.database.in_service(self.failing, OPERATION, delete)).await?;
        let deleted: sqlx::Result<HashSet<String>> = rows.iter().map(|row| row.try_get("shown")).collect();
        let mut deleted = deleted.map_err(self.failing.to(OPERATION))?;
        Ok(ids.iter().filter(|id| deleted.remove(*id)).cloned().collect())
    }

    async fn list(
        &self,
        selection: &Selection,
        start: Start,
        limit: u32,
    ) -> Result<Vec<Record>, StorageError> {
        const OPERATION: &str = "list records";
        let statement = statements::list_records(self.service(), selection, start, limit)?;
        self.records(statement, OPERATION).await
    }

    async fn count(&self, selection: &Selection) -> Result<u64, StorageError> {
        const OPERATION: &str = "count records";
        let statement = statements::count_records(self.service(), selection)?;
        let rows = self.rows(&statement, AnswerSize::Large, OPERATION).await?;
        let count = rows.first().expect("an aggregate has a row").try_get::<i64, _>(0);
        Ok(count.map_err(self.failing.to(OPERATION))?.unsigned_abs())
    }

    async fn categories(&self) -> Result<Vec<CategoryCount>, StorageError> {
        const OPERATION: &str = "list categories";
        let statement = statements::count_categories(&self.table, self.service().category_key());
        let read = |row: &PgRow| {
            let records = row.try_get::<i64, _>("records")?.unsigned_abs();
            Ok(CategoryCount { category: row.try_get("category")?, records })
        };
        let read = |rows: &[PgRow]| {
            rows.iter().map(read).collect::<sqlx::Result<Vec<_>>>().map_err(self.failing.to(OPERATION))
        };
        let mut counts = self.rows_in_turn(&statement, OPERATION, read).await?;
        // By code point; those without a category are last.
        counts.sort_unstable_by(|a, b| {
            (a.category.is_none(), &a.category).cmp(&(b.category.is_none(), &b.category))
        });
        Ok(counts)
    }

    async fn search(&self, search: &Search) -> Result<Vec<Hit>, StorageError> {
        Ok(self.search_and_scan(search).await?.0)
    }

    fn export(&self, selection: Selection) -> BoxStream<'_, Result<Vec<Record>, StorageError>> {
        // The stream outlives the request's handler.
        let needed = lsn::of_request();
        let pages = stream::try_unfold(Some((Start::Offset(0), EXPORT_PAGE)), move |next| {
            let selection = selection.clone();
            async move {
                let Some((start, limit)) = next else { return Ok(None) };
                let page = self.export_page(&selection, start, limit);
                let (page, is_whole) = reading_after(needed, page).await?;
                // A complete page with fewer rows was the last one. Unread rows of a page were fetched in vain.
                let is_last = is_whole && page.len() < limit as usize;
                let limit = match is_whole {
                    true => limit.saturating_mul(2).min(EXPORT_PAGE),
                    false => u32::try_from(page.len()).unwrap_or(EXPORT_PAGE),
                };
                let next =
                    page.last().filter(|_| !is_last).map(|last| (Start::After(Cursor::after(last)), limit));
                Ok(Some((page, next)))
            }
        });
        pages.boxed()
    }
}

impl fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStorage")
            .field("service", &self.service())
            .field("address", &self.database.address())
            .finish_non_exhaustive()
    }
}
