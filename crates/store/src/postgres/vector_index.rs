//! The vector index of a table: none while an exact scan is fast enough, else IVFFLAT sized from the row count.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Database, Table,
    ddl::{self, Build, MAX_INDEXED_DIMENSION},
    scan::count_rows,
    schema::has_iterative_scan,
    unnamed::on,
};
use crate::{Error, error::StatementContext as _};

/// Up to here an exact scan of 384 components answers in a few milliseconds and finds everything.
const EXACT_SCAN_ROWS: u64 = 10_000;
/// pgvector's guidance: one list for each thousand rows up to a million, then the square root.
const ROWS_PER_LIST: u64 = 1_000;
const SQUARE_ROOT_FROM_ROWS: u64 = 1_000_000;
/// An index keeps while its number of lists is within this factor of the planned one.
const LISTS_TOLERANCE: u32 = 2;

/// Under a filter the nearest matches lie further apart, in more lists: at 20,000 rows and a filter of 1 % the
/// plain number of probes finds four of five neighbours.
const FILTERED_PROBES: u32 = 4;

/// pgvector's default of `hnsw.ef_search`, and its limit. A search finds no more rows than candidates.
const LEAST_CANDIDATES: u32 = 40;
const MOST_CANDIDATES: u32 = 1_000;

/// How often a build's progress is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// PostgreSQL's own limit is that of its worker processes, eight by default.
const MAX_BUILD_WORKERS: usize = 8;
/// PostgreSQL's default; each worker of a parallel build wants half of it.
const MIN_BUILD_MEMORY_KB: u64 = 64 << 10;
/// Beyond this a build gains nothing that we could measure.
const MAX_BUILD_MEMORY_KB: u64 = 2 << 20;
/// A build may take one of so many parts of the memory that is free.
const FREE_MEMORY_SHARE: u64 = 4;

/// Whether a search asks for more than nearness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filtering {
    /// Any row will do.
    None,
    /// Only rows with certain values.
    Some,
}

/// A vector index that a table has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorIndex {
    /// Its name.
    pub name: String,
    /// Number of lists of an IVFFLAT index; `None` for HNSW.
    pub lists: Option<u32>,
    /// False after a build that failed or was killed: it takes space and serves nothing.
    pub valid: bool,
}

/// The vector index that searches of a table use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SearchedIndex {
    /// Number of lists of an IVFFLAT index; `None` for HNSW.
    lists: Option<u32>,
    /// The planner's estimate of the table's rows.
    rows: u64,
    /// Whether pgvector can go on scanning when a filter leaves too few rows.
    is_iterative: bool,
}

/// What to do about a table's vector index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexPlan {
    /// Nothing: there is none and none is needed, or the one that is there fits.
    Keep,
    /// Nothing can be built: the dimension is beyond what pgvector indexes. Searches are exact.
    TooWide,
    /// Build an IVFFLAT index, then drop those that it replaces.
    Build {
        /// Its number of lists.
        lists: u32,
        /// Invalid leftovers to drop before, by name.
        drop_before: Vec<String>,
        /// Indexes that it replaces, by name.
        drop_after: Vec<String>,
    },
}

/// Decides on the index of `table` with `rows` rows that has `existing` vector indexes.
pub fn plan_index(rows: u64, table: &Table, existing: &[VectorIndex]) -> IndexPlan {
    // `halfvec` reaches twice as far as `vector`.
    if table.dimension > 2 * MAX_INDEXED_DIMENSION {
        return IndexPlan::TooWide;
    }
    // Small tables keep what the old services gave them: with all lists probed, such an index finds everything.
    if rows < EXACT_SCAN_ROWS {
        return IndexPlan::Keep;
    }
    let lists = planned_lists(rows);
    let fits = |index: &VectorIndex| {
        index.valid
            && index.lists.is_none_or(|found| {
                found <= lists.saturating_mul(LISTS_TOLERANCE)
                    && lists <= found.saturating_mul(LISTS_TOLERANCE)
            })
    };
    if existing.iter().any(fits) {
        return IndexPlan::Keep;
    }
    let names = |valid: bool| {
        existing.iter().filter(|index| index.valid == valid).map(|index| index.name.clone()).collect()
    };
    IndexPlan::Build { lists, drop_before: names(false), drop_after: names(true) }
}

fn planned_lists(rows: u64) -> u32 {
    let lists = if rows <= SQUARE_ROOT_FROM_ROWS { rows / ROWS_PER_LIST } else { rows.isqrt() };
    // pgvector's own limit is 32,768 lists.
    u32::try_from(lists.clamp(1, 32_768)).expect("clamped to 32,768")
}

/// How many of an index's `lists` a search over `rows` rows looks into: pgvector's guidance is the square root,
/// but never less than an exact scan of [`EXACT_SCAN_ROWS`] would read, which is fast and finds more.
pub(crate) fn probes(rows: u64, lists: u32, filtering: Filtering) -> u32 {
    let rows_per_list = (rows / u64::from(lists.max(1))).max(1);
    let cheap = u32::try_from(EXACT_SCAN_ROWS.div_ceil(rows_per_list)).unwrap_or(u32::MAX);
    let probes = lists.isqrt().max(cheap);
    let probes = match filtering {
        Filtering::None => probes,
        Filtering::Some => probes.saturating_mul(FILTERED_PROBES),
    };
    probes.clamp(1, lists.max(1))
}

/// Called with rows done and rows in all, while an index is built.
pub type BuildProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

impl Database {
    /// Brings the vector index of `table` in line with its row count, and says what was done; builds what a service's
    /// table lacks of other indexes. A table with rows that
    /// are not of `run` is in service, and its indexes are built without keeping writers waiting.
    ///
    /// # Errors
    /// When an index cannot be built.
    pub async fn maintain_index(
        &self,
        table: &Table,
        run: Uuid,
        progress: BuildProgress<'_>,
    ) -> Result<IndexPlan, Error> {
        const OPERATION: &str = "look at a table before its index is built";
        let mut transaction = self.begin().await?;
        let rows = count_rows(&mut transaction, table).await?;
        let plan = plan_index(rows, table, &existing(&mut transaction, table).await?);
        let is_in_service: bool = sqlx::query_scalar(ddl::has_other_rows(table))
            .bind(run)
            .fetch_one(on(&mut transaction))
            .await
            .during(OPERATION)?;
        let memory_kb = sqlx::query_scalar!(
            r#"select setting::bigint as "setting!" from pg_settings where name = 'maintenance_work_mem'"#
        )
        .fetch_one(on(&mut transaction))
        .await
        .during(OPERATION)?;
        transaction.commit().await.during(OPERATION)?;
        let build = if is_in_service { Build::Concurrently } else { Build::Alone };
        let lock = self.lock_indexes().await?;
        let others = self.index_statements(table, build).await?;
        if !others.is_empty() || matches!(plan, IndexPlan::Build { .. }) {
            let lists = if let IndexPlan::Build { lists, .. } = &plan { *lists } else { 0 };
            let needed = build_memory_kb(lists, table.dimension, self.is_local());
            let mut statements = build_settings(build, needed.max(memory_kb.unsigned_abs()));
            statements.extend(build_statements(table, &plan, build));
            statements.extend(others);
            tokio::select! {
                built = self.run_build(statements, build) => built?,
                never = self.watch_build(table, progress) => match never? {},
            }
        }
        lock.commit().await.during("end a transaction")?;
        let mut transaction = self.begin().await?;
        sqlx::query(ddl::analyze(&table.name))
            .execute(on(&mut transaction))
            .await
            .during("analyze the table")?;
        transaction.commit().await.during("end a transaction")?;
        Ok(plan)
    }

    async fn run_build(&self, statements: Vec<ddl::Sql>, build: Build) -> Result<(), Error> {
        const OPERATION: &str = "build the indexes of a table";
        match build {
            Build::Alone => {
                let mut transaction = self.begin().await?;
                for statement in statements {
                    sqlx::query(statement).execute(on(&mut transaction)).await.during(OPERATION)?;
                }
                transaction.commit().await.during(OPERATION)
            }
            // The settings are the session's then, which ends right after. Where a pooler runs the statements on
            // different connections, the build says which setting it lacks.
            Build::Concurrently => self.run_alone(statements).await,
        }
    }

    /// Tells how far the build is, for ever.
    async fn watch_build(
        &self,
        table: &Table,
        progress: BuildProgress<'_>,
    ) -> Result<std::convert::Infallible, Error> {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let mut transaction = self.begin().await?;
            let found = sqlx::query!(
                r#"
                select tuples_done as "done!", tuples_total as "total!"
                from pg_stat_progress_create_index
                where relid = to_regclass(quote_ident($1)) and datname = current_database()
                "#,
                table.name
            )
            .fetch_optional(on(&mut transaction))
            .await
            .during("see how far an index build is")?;
            transaction.commit().await.during("end a transaction")?;
            if let Some(found) = found {
                progress(found.done.unsigned_abs(), found.total.unsigned_abs());
            }
        }
    }
}

fn build_settings(build: Build, memory_kb: u64) -> Vec<ddl::Sql> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    vec![
        ddl::set_build_memory(build, memory_kb),
        ddl::set_build_workers(build, workers.min(MAX_BUILD_WORKERS)),
    ]
}

fn build_statements(table: &Table, plan: &IndexPlan, build: Build) -> Vec<ddl::Sql> {
    let IndexPlan::Build { lists, drop_before, drop_after } = plan else { return Vec::new() };
    let mut statements: Vec<ddl::Sql> = drop_before.iter().map(|name| ddl::drop_index(name, build)).collect();
    statements.push(ddl::create_ivfflat(table, *lists, build));
    statements.extend(drop_after.iter().map(|name| ddl::drop_index(name, build)));
    statements
}

/// Memory for the build: what pgvector's k-means asks for (`ivfkmeans.c`: samples, bounds of each sample for each
/// centre, distances between centres), without which it refuses; and on our own machine a share of what is free,
/// for sorting.
fn build_memory_kb(lists: u32, dimension: usize, is_local: bool) -> u64 {
    const SAMPLES_PER_LIST: u64 = 50;
    const MIN_SAMPLES: u64 = 10_000;
    let (lists, vector_bytes) = (u64::from(lists), 16 + 4 * dimension as u64);
    let samples = (lists * SAMPLES_PER_LIST).max(MIN_SAMPLES);
    let needed =
        samples * (vector_bytes + 16) + samples * lists * 4 + lists * lists * 8 + lists * vector_bytes * 4;
    let needed_kb = needed / 1024 * 5 / 4 + MIN_BUILD_MEMORY_KB;
    let free_kb = if is_local { free_memory_kb().unwrap_or(0) } else { 0 };
    needed_kb.max((free_kb / FREE_MEMORY_SHARE).min(MAX_BUILD_MEMORY_KB))
}

/// What Linux says is available; `None` elsewhere.
fn free_memory_kb() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// The vector indexes of `table`.
pub(crate) async fn existing(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Vec<VectorIndex>, Error> {
    let rows = sqlx::query!(
        r#"
        select
            relation.relname as "name!",
            index.indisvalid as "valid!",
            access_method.amname = 'ivfflat' as "ivfflat!",
            (
                select option_value::int
                from pg_options_to_table(relation.reloptions)
                where option_name = 'lists'
            ) as lists
        from pg_index index
        join pg_class relation on relation.oid = index.indexrelid
        join pg_am access_method on access_method.oid = relation.relam
        where index.indrelid = to_regclass(quote_ident($1))
            and access_method.amname in ('ivfflat', 'hnsw')
        order by relation.relname
        "#,
        table.name
    )
    .fetch_all(on(connection))
    .await
    .during("read the vector indexes of a table")?;
    // pgvector's default where an index names no lists.
    const DEFAULT_LISTS: i32 = 100;
    Ok(rows
        .into_iter()
        .map(|row| VectorIndex {
            name: row.name,
            lists: row.ivfflat.then(|| row.lists.unwrap_or(DEFAULT_LISTS).unsigned_abs()),
            valid: row.valid,
        })
        .collect())
}

/// The index that searches of `table` use, if it has one.
pub(crate) async fn searched(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Option<SearchedIndex>, Error> {
    let indexes = existing(connection, table).await?;
    let Some(index) = indexes.into_iter().find(|index| index.valid) else { return Ok(None) };
    let rows = estimated_rows(connection, table).await?;
    let is_iterative = has_iterative_scan(connection).await?;
    Ok(Some(SearchedIndex { lists: index.lists, rows, is_iterative }))
}

impl SearchedIndex {
    /// What to set for a transaction so that a search for `limit` rows finds what is there.
    pub(crate) fn settings(self, filtering: Filtering, limit: u32) -> Vec<ddl::Sql> {
        let mut settings = vec![match self.lists {
            Some(lists) => ddl::set_probes(probes(self.rows, lists, filtering)),
            None => ddl::set_ef_search(limit.clamp(LEAST_CANDIDATES, MOST_CANDIDATES)),
        }];
        if filtering == Filtering::Some && self.is_iterative {
            let method = if self.lists.is_some() { "ivfflat" } else { "hnsw" };
            settings.push(ddl::set_iterative_scan(method));
        }
        settings
    }
}

/// The planner's estimate of the rows of `table`; 0 before its first ANALYZE.
pub(crate) async fn estimated_rows(connection: &mut PgConnection, table: &Table) -> Result<u64, Error> {
    let estimate = sqlx::query_scalar!(
        r#"select reltuples::bigint as "rows!" from pg_class where oid = to_regclass(quote_ident($1))"#,
        table.name
    )
    .fetch_one(on(connection))
    .await
    .during("estimate the rows of a table")?;
    // −1 means that the table was never analyzed.
    Ok(u64::try_from(estimate).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ivfflat(lists: u32, valid: bool) -> VectorIndex {
        VectorIndex { name: format!("lists_{lists}"), lists: Some(lists), valid }
    }

    fn plan(rows: u64, existing: &[VectorIndex]) -> IndexPlan {
        plan_index(rows, &Table::of(records::Service::Query), existing)
    }

    #[test]
    fn small_tables_get_no_index_and_large_ones_get_lists_from_their_rows() {
        assert_eq!(plan(0, &[]), IndexPlan::Keep);
        assert_eq!(plan(EXACT_SCAN_ROWS - 1, &[]), IndexPlan::Keep);
        for (rows, expected) in [(10_000, 10), (250_000, 250), (1_000_000, 1_000), (4_000_000, 2_000)] {
            let plan = plan(rows, &[]);
            assert!(matches!(plan, IndexPlan::Build { lists, .. } if lists == expected), "{rows}: {plan:?}");
        }
    }

    #[test]
    fn index_made_for_another_size_is_replaced_and_leftovers_are_dropped_first() {
        assert_eq!(plan(100_000, &[ivfflat(60, true)]), IndexPlan::Keep);
        assert_eq!(
            plan(100_000, &[ivfflat(1, true), ivfflat(100, false)]),
            IndexPlan::Build {
                lists: 100,
                drop_before: vec!["lists_100".into()],
                drop_after: vec!["lists_1".into()]
            }
        );
        let hnsw = VectorIndex { name: "hnsw".into(), lists: None, valid: true };
        assert_eq!(plan(100_000, &[hnsw]), IndexPlan::Keep);
    }

    #[test]
    fn probes_read_all_of_a_small_table_and_the_square_root_of_many_lists() {
        assert_eq!(probes(500, 100, Filtering::None), 100);
        assert_eq!(probes(0, 100, Filtering::None), 100);
        assert_eq!(probes(20_000, 20, Filtering::None), 10);
        assert_eq!(probes(20_000, 20, Filtering::Some), 20);
        assert_eq!(probes(1_000_000, 1_000, Filtering::None), 31);
        assert_eq!(probes(1_000_000, 1_000, Filtering::Some), 124);
    }

    #[test]
    fn widest_vectors_get_no_index() {
        let wide = |dimension| Table { dimension, ..Table::of(records::Service::Query) };
        assert!(matches!(plan_index(50_000, &wide(4_000), &[]), IndexPlan::Build { .. }));
        assert_eq!(plan_index(50_000, &wide(4_001), &[]), IndexPlan::TooWide);
    }

    #[test]
    fn build_gets_the_memory_that_k_means_asks_for() {
        // pgvector 0.8 on 1,000 lists of 384 dimensions: "memory required is 273 MB".
        assert!(build_memory_kb(1_000, 384, false) > 273 << 10);
        assert!(build_memory_kb(10, 384, false) < 100 << 10);
    }
}
