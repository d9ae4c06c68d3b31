//! Statistics of a distributed table, from those of its shards, since on the coordinator the table is empty.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Database, error::StatementContext as _, relations::is_distributed, unnamed::on};
use crate::Error;

/// What the shards of a table have together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ShardStatistics {
    /// Their number.
    pub(super) shards: u32,
    /// The planner's estimate, which scales the last ANALYZE to the current size.
    pub(super) rows: i64,
    /// Dead rows.
    pub(super) dead_rows: i64,
    /// Rows inserted since the last VACUUM of their shard.
    pub(super) inserted: i64,
    /// Rows inserted, changed and deleted since the last ANALYZE of their shard.
    pub(super) changed: i64,
    /// Rows inserted and updated since the statistics began.
    pub(super) writes: i64,
    /// Without indexes.
    pub(super) table_bytes: i64,
    /// Of the indexes.
    pub(super) index_bytes: i64,
    /// Transactions since rows were frozen, in the shard with most.
    pub(super) age: i64,
    /// Whether a VACUUM of a shard is running.
    pub(super) is_being_vacuumed: bool,
    /// Since when each shard has been vacuumed manually; `None` if one was not.
    pub(super) vacuumed_at: Option<OffsetDateTime>,
    /// Since when each shard has been vacuumed, manually or by autovacuum; `None` if one was not.
    pub(super) any_vacuum_at: Option<OffsetDateTime>,
    /// The same for ANALYZE.
    pub(super) analyzed_at: Option<OffsetDateTime>,
}

impl Database {
    /// The statistics of the shards of the table `name`; `None` if it is not distributed.
    ///
    /// # Errors
    /// When a statement fails, or a worker does not answer.
    pub(super) async fn shard_statistics(
        &self,
        name: &str,
        operation: &'static str,
    ) -> Result<Option<ShardStatistics>, Error> {
        if !self.has_citus() {
            return Ok(None);
        }
        self.in_transaction(async |connection| shard_statistics(connection, name).await.during(operation))
            .await
    }
}

/// The same on a connection.
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
    together(name, &answers)
}

/// What the shards answered, together: whether the command succeeded, and its result or message.
fn together(name: &str, answers: &[(bool, String)]) -> sqlx::Result<Option<ShardStatistics>> {
    let mut all: Option<ShardStatistics> = None;
    for (is_success, result) in answers {
        let shard = is_success.then(|| ShardStatistics::parse(result)).flatten();
        let shard = shard.ok_or_else(|| no_statistics(name, result))?;
        all = Some(all.map_or(shard, |all| all.with(shard)));
    }
    Ok(all)
}

/// That a shard of the table `name` answered `result`. As if this server did not answer: it may be repeated later.
pub(super) fn no_statistics(name: &str, result: &str) -> sqlx::Error {
    std::io::Error::other(format!("a shard of table `{name}` gave no statistics: {result}")).into()
}

impl ShardStatistics {
    /// The answer of a shard to [`OF_A_SHARD`].
    fn parse(result: &str) -> Option<Self> {
        let figures: Vec<Option<i64>> = serde_json::from_str(result).ok()?;
        let [
            Some(rows),
            Some(dead_rows),
            Some(inserted),
            Some(changed),
            Some(writes),
            Some(table_bytes),
            Some(index_bytes),
            Some(age),
            Some(vacuums),
            vacuumed,
            any_vacuum,
            analyzed,
        ] = figures[..]
        else {
            return None;
        };
        let time = |microseconds: i64| {
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1000).ok()
        };
        Some(Self {
            shards: 1,
            rows,
            dead_rows,
            inserted,
            changed,
            writes,
            table_bytes,
            index_bytes,
            age,
            is_being_vacuumed: vacuums > 0,
            vacuumed_at: vacuumed.and_then(time),
            any_vacuum_at: any_vacuum.and_then(time),
            analyzed_at: analyzed.and_then(time),
        })
    }

    fn with(self, other: Self) -> Self {
        let earlier = |one: Option<OffsetDateTime>, other| Some(one?.min(other?));
        Self {
            shards: self.shards.saturating_add(other.shards),
            rows: self.rows.saturating_add(other.rows),
            dead_rows: self.dead_rows.saturating_add(other.dead_rows),
            inserted: self.inserted.saturating_add(other.inserted),
            changed: self.changed.saturating_add(other.changed),
            writes: self.writes.saturating_add(other.writes),
            table_bytes: self.table_bytes.saturating_add(other.table_bytes),
            index_bytes: self.index_bytes.saturating_add(other.index_bytes),
            age: self.age.max(other.age),
            is_being_vacuumed: self.is_being_vacuumed || other.is_being_vacuumed,
            vacuumed_at: earlier(self.vacuumed_at, other.vacuumed_at),
            any_vacuum_at: earlier(self.any_vacuum_at, other.any_vacuum_at),
            analyzed_at: earlier(self.analyzed_at, other.analyzed_at),
        }
    }
}

/// Citus puts the name of a shard in the place of `%s`. Times are microseconds since 1970.
const OF_A_SHARD: &str = "select json_build_array(
    case
        when reltuples > 0 and relpages > 0
            then (reltuples / relpages * (pg_relation_size(oid) / current_setting('block_size')::bigint))::bigint
        else pg_stat_get_live_tuples(oid)
    end,
    pg_stat_get_dead_tuples(oid),
    pg_stat_get_ins_since_vacuum(oid),
    pg_stat_get_mod_since_analyze(oid),
    pg_stat_get_tuples_inserted(oid) + pg_stat_get_tuples_updated(oid),
    pg_table_size(oid),
    pg_indexes_size(oid),
    age(relfrozenxid),
    (select count(*) from pg_stat_progress_vacuum where relid = pg_class.oid and datname = current_database()),
    (extract(epoch from pg_stat_get_last_vacuum_time(oid)) * 1000000)::bigint,
    (extract(epoch from greatest(pg_stat_get_last_vacuum_time(oid), pg_stat_get_last_autovacuum_time(oid))) * 1000000)::bigint,
    (extract(epoch from greatest(pg_stat_get_last_analyze_time(oid), pg_stat_get_last_autoanalyze_time(oid))) * 1000000)::bigint
)
from pg_class
where oid = '%s'::regclass";

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn statistics_of_all_shards_are_combined_and_none_is_missing() {
        let answer = |is_success: bool, result: &str| (is_success, result.to_owned());
        let first = answer(true, "[10, 1, 2, 3, 12, 8192, 4096, 90, 0, null, 86400000000, 86400000000]");
        let second = answer(true, "[15, 0, 0, 1, 0, 0, 1, 70, 1, 1, 3600000000, null]");
        let expected = ShardStatistics {
            shards: 2,
            rows: 25,
            dead_rows: 1,
            inserted: 2,
            changed: 4,
            writes: 12,
            table_bytes: 8192,
            index_bytes: 4097,
            age: 90,
            is_being_vacuumed: true,
            vacuumed_at: None,
            any_vacuum_at: Some(datetime!(1970-01-01 1:00 UTC)),
            analyzed_at: None,
        };
        assert_eq!(together("t", &[first.clone(), second]).expect("all answered"), Some(expected));
        for last in [answer(false, "Connection refused"), answer(true, "[15, 0]"), answer(true, "")] {
            let error = together("t", &[first.clone(), last.clone()]).expect_err("one did not answer");
            assert!(
                error.to_string().contains(&format!("table `t` gave no statistics: {}", last.1)),
                "{error}"
            );
        }
    }
}
