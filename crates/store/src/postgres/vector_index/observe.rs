//! The facts about a table from which its indexes are planned.

use serde::Serialize;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::{VectorIndex, catalog::existing_on_shards, records::last_writes};
use crate::{
    Error,
    postgres::{
        Database, Table,
        counted::counted,
        error::StatementContext as _,
        jobs::now,
        relations::has_table,
        scan::count_rows,
        schema::{has_iterative_scan, pgvector_version},
        shard_statistics::shard_statistics,
        sql::MAX_INDEXED_DIMENSION,
        unnamed::on,
    },
};

const OPERATION: &str = "read the state of a table and its indexes";

/// Counting more rows takes seconds, and a large number need not be exact.
const COUNTED_ROWS: u64 = 200_000;
/// Statistics reach other sessions after about a second; a rate over a shorter time is not meaningful.
const SHORTEST_RATE_SECONDS: f64 = 10.0;

/// Number of intervals from which the recall is computed; each may have few replayed searches.
const SEARCH_RECALLS: i64 = 10;

/// The current state of a table and its vector indexes.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The table.
    pub table: Table,
    /// Its rows; an estimate if there are more than 200,000.
    pub rows: u64,
    /// Dead rows that VACUUM has not removed yet, from the server's statistics.
    pub dead_rows: u64,
    /// Rows inserted and updated since the server's statistics began.
    pub writes: u64,
    /// Rows inserted and updated per second since the last stored plan; `None` without a stored plan.
    pub writes_per_second: Option<f64>,
    /// Size of the table without its indexes.
    pub table_bytes: u64,
    /// Its vector indexes.
    pub indexes: Vec<VectorIndex>,
    /// The latest recalls of real searches, by class of filter, newest first.
    pub searches: Vec<SearchRecall>,
    /// When, in UTC.
    pub observed_at: PrimitiveDateTime,
    /// Memory of the server.
    pub memory: Memory,
    /// Cores of the server's machine, if it seems to be this one.
    pub cores: Option<usize>,
    /// pgvector's version.
    pub pgvector: String,
    /// Whether it supports iterative index scans (0.8 and later).
    pub is_iterative: bool,
    /// Whether half precision cannot hold a row, whose components are too large or too small; false until it is checked
    /// ([`exceeds_half_precision`](Database::exceeds_half_precision)).
    pub exceeds_half: bool,
}

/// The recall of real searches of a table, compared with exact ones.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchRecall {
    /// The class of their filters, as in `vector_search_history`.
    pub filter_class: String,
    /// Start of the interval in which the searches were replayed, in UTC.
    pub since: PrimitiveDateTime,
    /// How many.
    pub replayed: u32,
    /// Their recall.
    pub recall: f64,
    /// Lower bound of the 95 % confidence interval.
    pub recall_low: f64,
    /// Nor above it.
    pub recall_high: f64,
}

/// Memory that the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// `shared_buffers`.
    pub shared_buffers_bytes: u64,
    /// `effective_cache_size`: the configured estimate of the memory for caches.
    pub cache_bytes: u64,
    /// `maintenance_work_mem`.
    pub maintenance_bytes: u64,
    /// Of the machine, if the server seems to run on this one.
    pub machine_bytes: Option<u64>,
}

impl Observation {
    /// The widest vectors that an index can have.
    pub const MAX_DIMENSION: usize = 2 * MAX_INDEXED_DIMENSION;
    /// The widest vectors that an index of full precision can have.
    pub const MAX_FULL_DIMENSION: usize = MAX_INDEXED_DIMENSION;
}

impl Database {
    /// Reads the state of `table`, which exists, and its vector indexes.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn observe_indexes(&self, table: &Table) -> Result<Observation, Error> {
        self.in_transaction(async |connection| {
            let estimated = estimated_rows(connection, table).await?;
            let rows =
                if estimated < COUNTED_ROWS { count_rows(connection, table).await? } else { estimated };
            let statistics = sqlx::query!(
                r#"
            select
                coalesce(pg_stat_get_dead_tuples(relation.oid), 0) as "dead!",
                coalesce(
                    pg_stat_get_tuples_inserted(relation.oid) + pg_stat_get_tuples_updated(relation.oid), 0
                ) as "writes!",
                pg_table_size(relation.oid) as "bytes!",
                pg_size_bytes(current_setting('shared_buffers')) as "shared_buffers!",
                pg_size_bytes(current_setting('effective_cache_size')) as "cache!",
                pg_size_bytes(current_setting('maintenance_work_mem')) as "maintenance!"
            from (select to_regclass(quote_ident($1))::oid as oid) relation
            "#,
                table.name
            )
            .fetch_one(on(connection))
            .await
            .during(OPERATION)?;
            let shards = shard_statistics(connection, &table.name).await.during(OPERATION)?;
            let (dead, writes, bytes) = match shards {
                Some(shards) => (shards.dead_rows, shards.writes, shards.table_bytes),
                None => (statistics.dead, statistics.writes, statistics.bytes),
            };
            let now = OffsetDateTime::now_utc();
            let last = last_writes(connection, table).await?;
            Ok(Observation {
                table: table.clone(),
                rows,
                dead_rows: dead.unsigned_abs(),
                writes: writes.unsigned_abs(),
                writes_per_second: last.and_then(|(before, at)| {
                    let seconds = (now - at.assume_utc()).as_seconds_f64();
                    let since = writes.checked_sub(before).filter(|since| *since >= 0)?;
                    (seconds >= SHORTEST_RATE_SECONDS).then(|| since as f64 / seconds)
                }),
                table_bytes: bytes.unsigned_abs(),
                indexes: existing_on_shards(connection, table).await?,
                searches: search_recalls(connection, table).await?,
                observed_at: PrimitiveDateTime::new(now.date(), now.time()),
                memory: Memory {
                    shared_buffers_bytes: statistics.shared_buffers.unsigned_abs(),
                    cache_bytes: statistics.cache.unsigned_abs(),
                    maintenance_bytes: statistics.maintenance.unsigned_abs(),
                    machine_bytes: machine_bytes(self),
                },
                cores: self.is_local().then(cores),
                pgvector: pgvector_version(connection).await?.expect("a table with vectors needs it"),
                is_iterative: has_iterative_scan(connection).await?,
                exceeds_half: false,
            })
        })
        .await
    }

    /// Whether `table` has a row that an index of half precision cannot hold (`Precision::holds`). Reads every vector,
    /// like an exact search.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn exceeds_half_precision(&self, table: &Table) -> Result<bool, Error> {
        sqlx::query_scalar(crate::postgres::sql::vector_index::exceeds_half(table))
            .fetch_one(self)
            .await
            .during(OPERATION)
    }

    /// Whether `table` has rows that `run` did not copy, so that it may be in use.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn has_rows_of_others(&self, table: &Table, run: uuid::Uuid) -> Result<bool, Error> {
        sqlx::query_scalar(crate::postgres::sql::has_other_rows(table))
            .bind(run)
            .fetch_one(self)
            .await
            .during(OPERATION)
    }
}

/// The planner's estimate of the rows of `table`, which scales the last ANALYZE to the current size; 0 before the
/// first.
pub(super) async fn estimated_rows(connection: &mut PgConnection, table: &Table) -> Result<u64, Error> {
    let estimate = sqlx::query_scalar!(
        r#"
        select case
            when reltuples > 0 and relpages > 0 then (
                reltuples / relpages * (pg_relation_size(oid) / current_setting('block_size')::bigint)
            )::bigint
            else 0
        end as "rows!"
        from pg_class
        where oid = to_regclass(quote_ident($1))
        "#,
        table.name
    )
    .fetch_one(on(connection))
    .await
    .during("estimate the rows of a table")?;
    // The table of the coordinator is empty.
    if estimate == 0
        && let Some(shards) =
            shard_statistics(connection, &table.name).await.during("estimate the rows of a table")?
    {
        return Ok(shards.rows.unsigned_abs());
    }
    Ok(estimate.unsigned_abs())
}

/// Memory of the machine, if the server seems to run on this one.
pub(crate) fn machine_bytes(database: &Database) -> Option<u64> {
    if !database.is_local() {
        return None;
    }
    meminfo_kb("MemTotal:").map(|kilobytes| kilobytes << 10)
}

/// The latest recalls of each class of searches of `table`, newest first; none in a database that does not have the
/// table yet. Rows with impossible values are skipped.
async fn search_recalls(connection: &mut PgConnection, table: &Table) -> Result<Vec<SearchRecall>, Error> {
    const OPERATION: &str = "read the recall of searches";
    let exists = has_table(connection, "vector_search_history").await.during(OPERATION)?;
    if !exists {
        return Ok(Vec::new());
    }
    let latest = now() + Duration::DAY;
    let rows = sqlx::query!(
        r#"
        select
            filter_class,
            measured_at - make_interval(secs => seconds) as "since!",
            replayed,
            recall as "recall!",
            recall_low as "recall_low!",
            recall_high as "recall_high!"
        from (
            select *, row_number() over (partition by filter_class order by measured_at desc) as place
            from vector_search_history
            where table_name = $1
                and num_nulls(filter_class, replayed) = 0
                and num_nonnulls(recall, recall_low, recall_high) = 3
                and measured_at >= '0001-01-01'
                and measured_at <= $3
                and replayed >= 0
                -- Neither NaN nor beyond the range of an interval.
                and seconds between 0 and 1e9
                and recall between 0 and 1
                and recall_low between 0 and 1
                and recall_high between 0 and 1
        ) placed
        where place <= $2
        order by filter_class, place
        "#,
        table.name,
        SEARCH_RECALLS,
        latest
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    rows.into_iter()
        .map(|row| {
            Ok(SearchRecall {
                filter_class: row.filter_class,
                since: row.since,
                replayed: counted(row.replayed).during(OPERATION)?,
                recall: row.recall,
                recall_low: row.recall_low,
                recall_high: row.recall_high,
            })
        })
        .collect()
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A number from `/proc/meminfo`; `None` if the file does not exist.
pub(super) fn meminfo_kb(name: &str) -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
