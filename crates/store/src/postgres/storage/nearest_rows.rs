//! The records nearest to a vector: by index scan if it is certain to find enough, else by exact scan.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hasher as _},
    time::{Duration, Instant},
};

use records::{Embedding, lock::Mutex};
use serde_json::Value;
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use crate::{
    json::decode,
    postgres::{
        bounded::{AnswerSize, fetch, fetch_answer},
        failure::Failing,
        sql::{
            Sql,
            service::{self as statements, Measured},
        },
        vector_index::{self, Filtering, SearchedIndex},
    },
    storage::{Scan, Selection, StorageError},
};

pub(super) const OPERATION: &str = "search";

/// If PostgreSQL expects this many times the exact-scan limit, counting matches first would be useless. Its estimates
/// are often wrong by a factor of two.
const SURELY_MORE: f64 = 3.0;

/// Matches of an uncorrelated filter are scanned exactly up to this multiple of the exact-scan limit: an index scan
/// would take as long and find fewer.
const UNCORRELATED_FILTER_FACTOR: u32 = 5;

/// How long the cached state of a table's vector index is used. A later change makes a search slower, never wrong.
const CACHE_LIFETIME: Duration = Duration::from_secs(10);

/// The cached state of the table's vector index and its time; shared by the searches of a storage.
#[derive(Debug, Default)]
pub(super) struct CachedIndex(Mutex<Option<(Instant, Option<SearchedIndex>)>>);

impl CachedIndex {
    pub(super) fn fresh(&self) -> Option<Option<SearchedIndex>> {
        let known = self.0.lock();
        known.as_ref().filter(|(seen, _)| seen.elapsed() < CACHE_LIFETIME).map(|(_, index)| index.clone())
    }

    pub(super) fn set(&self, index: Option<SearchedIndex>) {
        *self.0.lock() = Some((Instant::now(), index));
    }
}

/// Filters known to match too many records for an exact scan: PostgreSQL does not estimate metadata, and counting for
/// every search takes as long as an exact scan. A later change makes a search slower, never wrong.
#[derive(Debug, Default)]
pub(crate) struct WideFilters(Mutex<HashMap<u64, Instant>>);

impl WideFilters {
    /// Maximum remembered filters.
    const MOST: usize = 1_000;
    /// How long they are remembered.
    const CACHE_LIFETIME: Duration = Duration::from_secs(60);

    fn has(&self, selection: &Selection) -> bool {
        let seen = self.0.lock().get(&Self::key(selection)).copied();
        seen.is_some_and(|seen| seen.elapsed() < Self::CACHE_LIFETIME)
    }

    fn add(&self, selection: &Selection) {
        let mut wide = self.0.lock();
        if wide.len() >= Self::MOST {
            wide.clear();
        }
        wide.insert(Self::key(selection), Instant::now());
    }

    fn key(selection: &Selection) -> u64 {
        struct Hashing(DefaultHasher);
        impl fmt::Write for Hashing {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0.write(part.as_bytes());
                Ok(())
            }
        }
        let mut hashing = Hashing(DefaultHasher::new());
        fmt::Write::write_fmt(&mut hashing, format_args!("{selection:?}")).expect("hashing does not fail");
        hashing.0.finish()
    }
}

/// A vector search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NearestSearch<'a> {
    pub(crate) selection: &'a Selection,
    pub(crate) embedding: &'a Embedding,
    pub(crate) limit: u32,
    /// The allowed size of the result.
    pub(crate) size: AnswerSize,
}

impl NearestSearch<'_> {
    pub(super) fn filtering(&self) -> Filtering {
        if self.selection.is_all() { Filtering::None } else { Filtering::Some }
    }

    /// The settings of its transaction for `index`.
    pub(crate) fn settings(&self, index: &SearchedIndex) -> Vec<Sql> {
        index.settings(self.filtering(), self.limit)
    }
}

/// The rows that a storage returns for `search`, and the scan used, in a transaction with its settings for `index`.
/// `wide` filters are remembered between searches.
pub(crate) async fn nearest_rows(
    connection: &mut PgConnection,
    failing: Failing,
    index: Option<&SearchedIndex>,
    search: &NearestSearch<'_>,
    wide: &WideFilters,
) -> Result<(Vec<PgRow>, Scan), StorageError> {
    let Failing(service) = failing;
    let NearestSearch { selection, embedding, limit, size } = *search;
    let index = index.filter(|index| index.precision.holds(embedding.as_slice()));
    let run = async |connection: &mut PgConnection, statement| {
        fetch_answer(connection, &statement, size).await.map_err(failing.to(OPERATION))
    };
    let exact = |measured| statements::nearest_exact(service, selection, embedding, limit, measured);
    // `None` where more match.
    let measured_up_to = async |connection: &mut PgConnection, most: u32| {
        let rows = run(connection, exact(Measured::UpTo(most + 1))?).await?;
        let matching = match rows.first() {
            Some(row) => row.try_get::<i64, _>("matching").map_err(failing.to(OPERATION))?,
            None => 0,
        };
        Ok(Some(rows).filter(|_| matching <= i64::from(most)))
    };
    let mut scan = Scan::Exact;
    if let Some(index) = index {
        let most = vector_index::exact_scan_limit(index.rows);
        let may_be_few = search.filtering() == Filtering::Some
            && !wide.has(selection)
            && expected_matches(connection, failing, selection).await? < SURELY_MORE * f64::from(most);
        if may_be_few {
            if let Some(rows) = measured_up_to(connection, most).await? {
                return Ok((rows, Scan::Exact));
            }
            wide.add(selection);
        }
        let by_index = || statements::nearest_by_index(service, selection, embedding, limit, index.precision);
        let rows = run(connection, by_index()?).await?;
        if rows.len() >= limit as usize {
            return Ok((rows, Scan::Index));
        }
        scan = Scan::Both;
        if search.filtering() == Filtering::Some && index.single_pass_suffices(limit) {
            let most = most.saturating_mul(UNCORRELATED_FILTER_FACTOR);
            if expected_matches(connection, failing, selection).await? <= f64::from(most)
                && let Some(rows) = measured_up_to(connection, most).await?
            {
                return Ok((rows, scan));
            }
            for setting in index.enable_iterative_scan() {
                sqlx::raw_sql(setting).execute(&mut *connection).await.map_err(failing.to(OPERATION))?;
            }
            let rows = run(connection, by_index()?).await?;
            if rows.len() >= limit as usize {
                return Ok((rows, Scan::Index));
            }
        }
    }
    Ok((run(connection, exact(Measured::All)?).await?, scan))
}

/// PostgreSQL's estimate of the records that match `selection`.
async fn expected_matches(
    connection: &mut PgConnection,
    failing: Failing,
    selection: &Selection,
) -> Result<f64, StorageError> {
    let explain = statements::explain_selected(failing.0, selection)?;
    let rows = fetch(connection, explain).await.map_err(failing.to(OPERATION))?;
    let row = rows.first().expect("a plan has a row");
    // Of type `json`, which is its text.
    let plan: String = row.try_get_unchecked(0).map_err(failing.to(OPERATION))?;
    // A plan without an estimate is ignored.
    Ok(estimated_rows(&decode(&plan).value).unwrap_or(f64::INFINITY))
}

/// The estimated rows of a plan in JSON. Citus estimates 100,000 for whatever it sends to its workers, whose own plans
/// have the estimates.
fn estimated_rows(plan: &Value) -> Option<f64> {
    let Some(job) = plan.pointer("/0/Plan/Distributed Query/Job") else {
        return plan.pointer("/0/Plan/Plan Rows")?.as_f64();
    };
    let tasks = job.get("Tasks")?.as_array().filter(|tasks| !tasks.is_empty())?;
    let count = job.get("Task Count").and_then(Value::as_f64).unwrap_or(tasks.len() as f64);
    let of_task = |task: &Value| task.pointer("/Remote Plan/0/0/Plan/Plan Rows")?.as_f64();
    let shown: f64 = tasks.iter().map(of_task).sum::<Option<f64>>()?;
    // Where Citus explains one task only, the others are like it.
    Some(shown / tasks.len() as f64 * count)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_all_tasks_are_estimated() {
        let task = |rows: u32| json!({"Node": "a", "Remote Plan": [[{"Plan": {"Plan Rows": rows}}]]});
        let plan = |count: u32, tasks: Value| json!([{"Plan": {"Plan Rows": 100_000, "Distributed Query": {"Job": {"Task Count": count, "Tasks": tasks}}}}]);
        assert_eq!(estimated_rows(&json!([{"Plan": {"Plan Rows": 7}}])), Some(7.0));
        assert_eq!(estimated_rows(&plan(2, json!([task(30), task(12)]))), Some(42.0));
        assert_eq!(estimated_rows(&plan(4, json!([task(30)]))), Some(120.0));
        assert_eq!(estimated_rows(&plan(2, json!([]))), None);
        assert_eq!(estimated_rows(&plan(2, json!([{"Node": "a"}]))), None);
    }
}
