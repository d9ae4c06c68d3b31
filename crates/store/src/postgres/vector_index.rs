//! The vector index of a table: none while an exact scan is fast enough, else IVFFLAT sized from the row count.

use sqlx::PgConnection;

use super::{Database, ServiceTable, ddl};
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

/// What to do about a table's vector index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexPlan {
    /// Nothing: there is none and none is needed, or the one that is there fits.
    Keep,
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

/// Decides on the index of a table with `rows` rows that has `existing` vector indexes.
pub fn plan_index(rows: u64, existing: &[VectorIndex]) -> IndexPlan {
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

impl Database {
    /// Brings the vector index of `table` in line with its row count, and says what was done.
    ///
    /// # Errors
    /// When the index cannot be built.
    pub async fn maintain_index(&self, table: &'static ServiceTable) -> Result<IndexPlan, Error> {
        const OPERATION: &str = "build the vector index";
        let mut connection = self.pool.acquire().await.during("get a connection")?;
        let rows = self.count_rows(table).await?;
        let plan = plan_index(rows, &existing(&mut connection, table).await?);
        if let IndexPlan::Build { lists, drop_before, drop_after } = &plan {
            let mut statements: Vec<ddl::Sql> =
                drop_before.iter().map(|name| ddl::drop_index(name)).collect();
            statements.push(ddl::create_ivfflat(table, *lists));
            statements.extend(drop_after.iter().map(|name| ddl::drop_index(name)));
            for statement in statements {
                sqlx::query(statement).execute(&mut *connection).await.during(OPERATION)?;
            }
        }
        sqlx::query(ddl::analyze(table)).execute(&mut *connection).await.during("analyze the table")?;
        Ok(plan)
    }
}

/// The vector indexes of `table`.
pub(crate) async fn existing(
    connection: &mut PgConnection,
    table: &ServiceTable,
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
    .fetch_all(connection)
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

/// The planner's estimate of the rows of `table`; 0 before its first ANALYZE.
pub(crate) async fn estimated_rows(
    connection: &mut PgConnection,
    table: &ServiceTable,
) -> Result<u64, Error> {
    let estimate = sqlx::query_scalar!(
        r#"select reltuples::bigint as "rows!" from pg_class where oid = to_regclass(quote_ident($1))"#,
        table.name
    )
    .fetch_one(connection)
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

    #[test]
    fn small_tables_get_no_index_and_large_ones_get_lists_from_their_rows() {
        assert_eq!(plan_index(0, &[]), IndexPlan::Keep);
        assert_eq!(plan_index(EXACT_SCAN_ROWS - 1, &[]), IndexPlan::Keep);
        for (rows, expected) in [(10_000, 10), (250_000, 250), (1_000_000, 1_000), (4_000_000, 2_000)] {
            let plan = plan_index(rows, &[]);
            assert!(matches!(plan, IndexPlan::Build { lists, .. } if lists == expected), "{rows}: {plan:?}");
        }
    }

    #[test]
    fn index_made_for_another_size_is_replaced_and_leftovers_are_dropped_first() {
        assert_eq!(plan_index(100_000, &[ivfflat(60, true)]), IndexPlan::Keep);
        assert_eq!(
            plan_index(100_000, &[ivfflat(1, true), ivfflat(100, false)]),
            IndexPlan::Build {
                lists: 100,
                drop_before: vec!["lists_100".into()],
                drop_after: vec!["lists_1".into()]
            }
        );
        let hnsw = VectorIndex { name: "hnsw".into(), lists: None, valid: true };
        assert_eq!(plan_index(100_000, &[hnsw]), IndexPlan::Keep);
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
}
