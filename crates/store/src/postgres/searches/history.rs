//! The table `vector_search_history`: measurements of searches over time.

use sqlx::PgConnection;
use time::{Duration, PrimitiveDateTime};

use crate::{
    Error, StoredTime,
    postgres::{
        Database,
        counted::counted,
        error::StatementContext as _,
        jobs::now,
        search_watch::{FilterClass, Percentiles},
        unnamed::on,
    },
};

/// Measurements of the searches of one table and class in an interval.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchHistory {
    /// The table.
    pub table: String,
    /// The class of their filters.
    pub filter_class: FilterClass,
    /// End of the interval, in UTC.
    pub measured_at: PrimitiveDateTime,
    /// Its length.
    pub seconds: f64,
    /// Vector searches of one process.
    pub searches: u64,
    /// Their latencies; `None` if there was no search.
    pub latency: Option<Percentiles>,
    /// Total number of requested results.
    pub wanted: u64,
    /// Total number of results.
    pub returned: u64,
    /// Searches that were replayed.
    pub replayed: u32,
    /// Existing results that the replayed searches missed.
    pub missing: u64,
    /// Recall of the replayed searches; `None` if there was none.
    pub recall: Option<MeasuredRecall>,
    /// The target recall.
    pub target: f64,
    /// Rows of the table.
    pub rows: u64,
}

/// The share of the ten nearest rows that was found, with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredRecall {
    /// The mean.
    pub mean: f64,
    /// Lower bound of the 95 % confidence interval.
    pub low: f64,
    /// Upper bound of the same interval.
    pub high: f64,
}

/// Stored measurements of searches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredHistory {
    /// Measurements, oldest first.
    pub rows: Vec<SearchHistory>,
    /// Number of rows with an impossible time, number or class, written by another program or a newer version.
    pub unreadable: u64,
}

/// Maximum clock difference between processes; a row with a later time has a wrong time.
const AHEAD: Duration = Duration::DAY;

impl Database {
    /// Stores `history` in one transaction.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn store_search_history(&self, history: &[SearchHistory]) -> Result<(), Error> {
        const OPERATION: &str = "store measurements of searches";
        self.in_transaction(async |connection| {
        for row in history {
            let signed = |count: u64| i64::try_from(count).expect("no count is that large");
            sqlx::query!(
                r#"
                insert into vector_search_history (
                    table_name, filter_class, measured_at, seconds, searches, latency_p50_ms, latency_p95_ms,
                    latency_p99_ms, wanted, returned, replayed, missing, recall, recall_low, recall_high, target,
                    rows
                )
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
                "#,
                row.table,
                row.filter_class.as_str(),
                row.measured_at,
                row.seconds,
                signed(row.searches),
                row.latency.map(|latency| latency.p50_ms),
                row.latency.map(|latency| latency.p95_ms),
                row.latency.map(|latency| latency.p99_ms),
                signed(row.wanted),
                signed(row.returned),
                i32::try_from(row.replayed).expect("few are replayed"),
                signed(row.missing),
                row.recall.map(|recall| recall.mean),
                row.recall.map(|recall| recall.low),
                row.recall.map(|recall| recall.high),
                row.target,
                signed(row.rows)
            )
            .execute(on(connection))
            .await
            .during(OPERATION)?;
        }
        Ok(())
        }).await
    }

    /// The measurements since `since`, oldest first; none in a database that does not have the table yet.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn search_history(&self, since: PrimitiveDateTime) -> Result<StoredHistory, Error> {
        self.if_table_exists("vector_search_history", "read measurements of searches", async |connection| {
            read(connection, since).await
        })
        .await
    }

    /// Deletes the measurements from before `before` and returns the number of deleted rows.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn expire_search_history(&self, before: PrimitiveDateTime) -> Result<u64, Error> {
        let done = sqlx::query!("delete from vector_search_history where measured_at < $1", before)
            .execute(self)
            .await
            .during("delete old measurements of searches")?;
        Ok(done.rows_affected())
    }
}

async fn read(connection: &mut PgConnection, since: PrimitiveDateTime) -> sqlx::Result<StoredHistory> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        select table_name as "table_name?", filter_class as "filter_class?",
            measured_at as "measured_at?: StoredTime", seconds as "seconds?", searches as "searches?",
            latency_p50_ms, latency_p95_ms, latency_p99_ms, wanted as "wanted?", returned as "returned?",
            replayed as "replayed?", missing as "missing?", recall, recall_low, recall_high, target as "target?",
            rows as "rows?"
        from vector_search_history
        where measured_at >= $1 or measured_at is null
        order by measured_at, table_name, filter_class
        "#,
        since
    )
    .fetch_all(on(connection))
    .await?;
    let (all, latest) = (rows.len(), now() + AHEAD);
    let rows: Vec<SearchHistory> =
        rows.into_iter().filter_map(Row::history).filter(|row| row.measured_at <= latest).collect();
    Ok(StoredHistory { unreadable: (all - rows.len()) as u64, rows })
}

/// A row, which another program may have changed.
struct Row {
    table_name: Option<String>,
    filter_class: Option<String>,
    measured_at: Option<StoredTime>,
    seconds: Option<f64>,
    searches: Option<i64>,
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    latency_p99_ms: Option<f64>,
    wanted: Option<i64>,
    returned: Option<i64>,
    replayed: Option<i32>,
    missing: Option<i64>,
    recall: Option<f64>,
    recall_low: Option<f64>,
    recall_high: Option<f64>,
    target: Option<f64>,
    rows: Option<i64>,
}

impl Row {
    /// The measurement; `None` if it has impossible values.
    fn history(self) -> Option<SearchHistory> {
        let measured = [
            self.seconds,
            self.latency_p50_ms,
            self.latency_p95_ms,
            self.latency_p99_ms,
            self.recall,
            self.recall_low,
            self.recall_high,
            self.target,
        ];
        if measured.into_iter().flatten().any(|number| !number.is_finite()) {
            return None;
        }
        let latency = match (self.latency_p50_ms, self.latency_p95_ms, self.latency_p99_ms) {
            (Some(p50_ms), Some(p95_ms), Some(p99_ms)) => Some(Percentiles { p50_ms, p95_ms, p99_ms }),
            _ => None,
        };
        let recall = match (self.recall, self.recall_low, self.recall_high) {
            (Some(mean), Some(low), Some(high)) => Some(MeasuredRecall { mean, low, high }),
            _ => None,
        };
        let count = |stored: Option<i64>| counted(stored?).ok();
        Some(SearchHistory {
            table: self.table_name?,
            filter_class: self.filter_class?.parse().ok()?,
            measured_at: self.measured_at?.in_calendar()?,
            seconds: self.seconds?,
            searches: count(self.searches)?,
            latency,
            wanted: count(self.wanted)?,
            returned: count(self.returned)?,
            replayed: counted(self.replayed?).ok()?,
            missing: count(self.missing)?,
            recall,
            target: self.target?,
            rows: count(self.rows)?,
        })
    }
}
