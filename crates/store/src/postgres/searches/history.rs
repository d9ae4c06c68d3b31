//! The table `vector_search_history`: what searches were measured to do, over time.

use sqlx::PgConnection;
use time::PrimitiveDateTime;

use crate::{
    Error,
    postgres::{
        Database,
        counted::counted,
        error::StatementContext as _,
        relations::has_table,
        search_watch::{FilterClass, Percentiles},
        unnamed::on,
    },
};

/// What the searches of one table and class did in a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchHistory {
    /// The table.
    pub table: String,
    /// What they asked for besides nearness.
    pub filter_class: FilterClass,
    /// End of the stretch, in UTC.
    pub measured_at: PrimitiveDateTime,
    /// Its length.
    pub seconds: f64,
    /// Searches by vector of one process.
    pub searches: u64,
    /// How long they took; `None` where there was none.
    pub latency: Option<Percentiles>,
    /// Results that they asked for, in all.
    pub wanted: u64,
    /// Results that they had.
    pub returned: u64,
    /// Searches that were made again.
    pub replayed: u32,
    /// Results that those did not have although they exist.
    pub missing: u64,
    /// What those found; `None` where none was made.
    pub recall: Option<MeasuredRecall>,
    /// The recall that was wanted.
    pub target: f64,
    /// Rows of the table.
    pub rows: u64,
}

/// The share of the ten nearest rows that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeasuredRecall {
    /// The mean.
    pub mean: f64,
    /// With 95 % confidence the recall is not below it.
    pub low: f64,
    /// Nor above this, with the same.
    pub high: f64,
}

impl Database {
    /// Keeps `history`, all or nothing.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn keep_search_history(&self, history: &[SearchHistory]) -> Result<(), Error> {
        const OPERATION: &str = "keep what searches did";
        let mut transaction = self.begin().await?;
        for row in history {
            let signed = |count: u64| i64::try_from(count).expect("nobody counts so far");
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
                i32::try_from(row.replayed).expect("few are made again"),
                signed(row.missing),
                row.recall.map(|recall| recall.mean),
                row.recall.map(|recall| recall.low),
                row.recall.map(|recall| recall.high),
                row.target,
                signed(row.rows)
            )
            .execute(on(&mut transaction))
            .await
            .during(OPERATION)?;
        }
        transaction.commit().await.during("end a transaction")
    }

    /// What is known since `since`, oldest first; nothing in a database that has no place for it yet.
    ///
    /// # Errors
    /// When a statement fails, or a row is a newer version's.
    pub async fn search_history(&self, since: PrimitiveDateTime) -> Result<Vec<SearchHistory>, Error> {
        let mut transaction = self.begin().await?;
        let history =
            if are_kept(&mut transaction).await? { read(&mut transaction, since).await? } else { Vec::new() };
        transaction.commit().await.during("end a transaction")?;
        Ok(history)
    }

    /// Forgets what was measured before `before`, and answers how many rows that were.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn expire_search_history(&self, before: PrimitiveDateTime) -> Result<u64, Error> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query!("delete from vector_search_history where measured_at < $1", before)
            .execute(on(&mut transaction))
            .await
            .during("forget what searches did long ago")?;
        transaction.commit().await.during("end a transaction")?;
        Ok(done.rows_affected())
    }
}

async fn read(connection: &mut PgConnection, since: PrimitiveDateTime) -> Result<Vec<SearchHistory>, Error> {
    const OPERATION: &str = "read what searches did";
    let rows = sqlx::query!(
        r#"
        select table_name, filter_class, measured_at, seconds, searches, latency_p50_ms, latency_p95_ms,
            latency_p99_ms, wanted, returned, replayed, missing, recall, recall_low, recall_high, target, rows
        from vector_search_history
        where measured_at >= $1
        order by measured_at, table_name, filter_class
        "#,
        since
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    let history = rows.into_iter().map(|row| {
        let percentiles = (row.latency_p50_ms, row.latency_p95_ms, row.latency_p99_ms);
        let latency = match percentiles {
            (Some(p50_ms), Some(p95_ms), Some(p99_ms)) => Some(Percentiles { p50_ms, p95_ms, p99_ms }),
            _ => None,
        };
        let recall = match (row.recall, row.recall_low, row.recall_high) {
            (Some(mean), Some(low), Some(high)) => Some(MeasuredRecall { mean, low, high }),
            _ => None,
        };
        Ok(SearchHistory {
            table: row.table_name,
            filter_class: row.filter_class.parse().map_err(|source| Error::FilterClass { source })?,
            measured_at: row.measured_at,
            seconds: row.seconds,
            searches: counted(row.searches).during(OPERATION)?,
            latency,
            wanted: counted(row.wanted).during(OPERATION)?,
            returned: counted(row.returned).during(OPERATION)?,
            replayed: counted(row.replayed).during(OPERATION)?,
            missing: counted(row.missing).during(OPERATION)?,
            recall,
            target: row.target,
            rows: counted(row.rows).during(OPERATION)?,
        })
    });
    history.collect()
}

/// Whether this database has a place for what searches did: an older one gets it when its schema is made current.
async fn are_kept(connection: &mut PgConnection) -> Result<bool, Error> {
    has_table(connection, "vector_search_history").await.during("look for what searches did")
}
