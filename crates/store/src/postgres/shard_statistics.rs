//! Statistics of a distributed table: the sums over its shards, since on the coordinator the table is empty.

use std::ops::AddAssign;

use sqlx::PgConnection;

use super::{relations::is_distributed, unnamed::on};

/// Sums over the shards of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ShardStatistics {
    /// The planner's estimate, which scales the last ANALYZE to the current size.
    pub(super) rows: i64,
    /// Dead rows.
    pub(super) dead_rows: i64,
    /// Rows inserted and updated since the statistics began.
    pub(super) writes: i64,
    /// Without indexes.
    pub(super) table_bytes: i64,
    /// Of the indexes.
    pub(super) index_bytes: i64,
}

/// The statistics of the table `name`; `None` if it is not distributed.
///
/// # Errors
/// When a statement fails, or a worker does not answer.
pub(super) async fn shard_statistics(
    connection: &mut PgConnection,
    name: &str,
) -> sqlx::Result<Option<ShardStatistics>> {
    if !is_distributed(connection, name).await? {
        return Ok(None);
    }
    let answers: Vec<(bool, String)> =
        sqlx::query_as("select success, result from run_command_on_shards(to_regclass(quote_ident($1)), $2)")
            .bind(name)
            .bind(OF_A_SHARD)
            .fetch_all(on(connection))
            .await?;
    sum(name, &answers).map(Some)
}

/// The sums of what the shards answered: whether the command succeeded, and its result or message.
fn sum(name: &str, answers: &[(bool, String)]) -> sqlx::Result<ShardStatistics> {
    let mut statistics = ShardStatistics::default();
    for (is_success, result) in answers {
        let shard = is_success.then(|| ShardStatistics::parse(result)).flatten();
        statistics += shard.ok_or_else(|| {
            // As if this server did not answer: it may be repeated later.
            std::io::Error::other(format!("a shard of table `{name}` gave no statistics: {result}"))
        })?;
    }
    Ok(statistics)
}

impl ShardStatistics {
    fn parse(result: &str) -> Option<Self> {
        let figures: Vec<i64> = result.split(' ').map(|figure| figure.parse().ok()).collect::<Option<_>>()?;
        let [rows, dead_rows, writes, table_bytes, index_bytes] = figures[..] else { return None };
        Some(Self { rows, dead_rows, writes, table_bytes, index_bytes })
    }
}

impl AddAssign for ShardStatistics {
    fn add_assign(&mut self, shard: Self) {
        let Self { rows, dead_rows, writes, table_bytes, index_bytes } = self;
        for (total, of_shard) in [
            (rows, shard.rows),
            (dead_rows, shard.dead_rows),
            (writes, shard.writes),
            (table_bytes, shard.table_bytes),
            (index_bytes, shard.index_bytes),
        ] {
            *total = total.saturating_add(of_shard);
        }
    }
}

/// Citus puts the name of a shard in the place of `%s`.
const OF_A_SHARD: &str = "select concat_ws(' ',
    case
        when reltuples > 0 and relpages > 0
            then reltuples / relpages * (pg_relation_size(oid) / current_setting('block_size')::bigint)
        else 0
    end::bigint,
    coalesce(pg_stat_get_dead_tuples(oid), 0),
    coalesce(pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid), 0),
    pg_table_size(oid),
    pg_indexes_size(oid)
)
from pg_class
where oid = '%s'::regclass";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_all_shards_are_added_and_none_is_missing() {
        let answer = |is_success: bool, result: &str| (is_success, result.to_owned());
        let first = answer(true, "10 1 12 8192 4096");
        let expected =
            ShardStatistics { rows: 25, dead_rows: 1, writes: 12, table_bytes: 8192, index_bytes: 4097 };
        let sums = sum("t", &[first.clone(), answer(true, "15 0 0 0 1")]);
        assert_eq!(sums.expect("all answered"), expected);
        for last in [answer(false, "Connection refused"), answer(true, "15 0 0 0"), answer(true, "")] {
            let error = sum("t", &[first.clone(), last.clone()]).expect_err("one did not answer").to_string();
            assert!(error.contains("table `t`") && error.contains(&last.1), "{error}");
        }
    }
}
