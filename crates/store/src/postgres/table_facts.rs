//! Facts about a table from the catalog and the statistics, which every role may read.

use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::{Database, Table, counted::counted, jobs::now, shard_indexes::shard_indexes, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

/// Facts about a table that do not require reading its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct TableFacts {
    /// Rows as of the last VACUUM or ANALYZE; `None` before the first.
    pub estimated_rows: Option<u64>,
    /// Size including out-of-line storage, without indexes.
    pub table_bytes: u64,
    /// Size of all indexes.
    pub index_bytes: u64,
    /// Dead rows that VACUUM has not removed yet.
    pub dead_rows: u64,
    /// The threshold of dead rows for autovacuum.
    pub tolerated_dead_rows: u64,
    /// The last VACUUM, manual or by autovacuum, in UTC.
    pub last_vacuum: Option<PrimitiveDateTime>,
    /// The last ANALYZE, manual or by autovacuum, in UTC.
    pub last_analyze: Option<PrimitiveDateTime>,
    /// Whether autovacuum is enabled for the table.
    pub has_autovacuum: bool,
    /// Whether it is `unlogged`: a crash of the server empties it.
    pub is_unlogged: bool,
    /// Transactions since its oldest row was frozen; at 2,000 million the server accepts no more.
    pub age: u64,
    /// Invalid indexes, by name, without those that are being built, as far as the role can see that.
    pub invalid_indexes: Vec<String>,
    /// Whether the role may read its rows.
    pub is_readable: bool,
    /// Whether row security policies apply to the role.
    pub has_hidden_rows: bool,
}

/// Searches in an interval, from `vector_search_history`.
#[derive(Clone, Debug, PartialEq)]
pub struct LastSearches {
    /// The class of their filters.
    pub filter_class: String,
    /// End of the interval, in UTC.
    pub measured_at: PrimitiveDateTime,
    /// Number of searches.
    pub searches: u64,
    /// Median latency.
    pub latency_p50_ms: Option<f64>,
    /// 99th percentile of the latency.
    pub latency_p99_ms: Option<f64>,
    /// Recall of the replayed searches.
    pub recall: Option<f64>,
    /// Upper bound of its 95 % confidence interval.
    pub recall_high: Option<f64>,
    /// The target recall.
    pub target: f64,
}

impl Database {
    /// The schema of the relation that `name` means in the search path, in which PostgreSQL's catalogs are first. `None`
    /// if no relation has the name.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn schema_of(&self, name: &str) -> Result<Option<String>, Error> {
        sqlx::query_scalar!(
            r#"
            select nspname::text as "schema!"
            from pg_class
            join pg_namespace on pg_namespace.oid = relnamespace
            where pg_class.oid = to_regclass(quote_ident($1))
            "#,
            name
        )
        .fetch_optional(self)
        .await
        .during("look for a relation")
    }

    /// The facts about `table`, which exists.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn table_facts(&self, table: &Table) -> Result<TableFacts, Error> {
        const OPERATION: &str = "look at a table";
        let shards = self.shard_statistics(&table.name, OPERATION).await?;
        let row = sqlx::query!(
            r#"
            select
                case when relation.reltuples >= 0 then relation.reltuples::bigint end as estimated_rows,
                pg_table_size(relation.oid) as "table_bytes!",
                pg_indexes_size(relation.oid) as "index_bytes!",
                coalesce(pg_stat_get_dead_tuples(relation.oid), 0) as "dead_rows!",
                coalesce(options.threshold, current_setting('autovacuum_vacuum_threshold')::float8) as "dead_base!",
                coalesce(options.scale_factor, current_setting('autovacuum_vacuum_scale_factor')::float8)
                    as "dead_scale!",
                greatest(
                    pg_stat_get_last_vacuum_time(relation.oid), pg_stat_get_last_autovacuum_time(relation.oid)
                ) at time zone 'utc' as last_vacuum,
                greatest(
                    pg_stat_get_last_analyze_time(relation.oid), pg_stat_get_last_autoanalyze_time(relation.oid)
                ) at time zone 'utc' as last_analyze,
                coalesce(options.has_autovacuum, true) as "has_autovacuum!",
                relation.relpersistence = 'u' as "is_unlogged!",
                age(relation.relfrozenxid) as "age!",
                array(
                    select index_relation.relname::text
                    from pg_index index
                    join pg_class index_relation on index_relation.oid = index.indexrelid
                    where index.indrelid = relation.oid
                        and not index.indisvalid
                        and not exists (
                            select from pg_stat_progress_create_index building
                            where building.index_relid = index.indexrelid and building.datname = current_database()
                        )
                    order by 1
                ) as "invalid_indexes!",
                has_table_privilege(relation.oid, 'select') as "is_readable!",
                row_security_active(relation.oid) as "has_hidden_rows!"
            from pg_class relation
            cross join lateral (
                select
                    bool_and(option_value::boolean) filter (where option_name = 'autovacuum_enabled') as has_autovacuum,
                    max(option_value::float8) filter (where option_name = 'autovacuum_vacuum_threshold') as threshold,
                    max(option_value::float8) filter (where option_name = 'autovacuum_vacuum_scale_factor')
                        as scale_factor
                from pg_options_to_table(relation.reloptions)
            ) options
            where relation.oid = to_regclass(quote_ident($1))
            "#,
            table.name
        )
        .fetch_one(self)
        .await
        .during(OPERATION)?;
        // Autovacuum compares each shard.
        let tolerated = |rows: Option<i64>, shards: u32| {
            let of_rows = row.dead_scale * rows.map_or(0.0, |rows| rows as f64);
            (row.dead_base * f64::from(shards) + of_rows).round() as u64
        };
        let mut facts = TableFacts {
            estimated_rows: row.estimated_rows.map(i64::unsigned_abs),
            table_bytes: row.table_bytes.unsigned_abs(),
            index_bytes: row.index_bytes.unsigned_abs(),
            dead_rows: row.dead_rows.unsigned_abs(),
            tolerated_dead_rows: tolerated(row.estimated_rows, 1),
            last_vacuum: row.last_vacuum,
            last_analyze: row.last_analyze,
            has_autovacuum: row.has_autovacuum,
            is_unlogged: row.is_unlogged,
            age: u64::from(row.age.unsigned_abs()),
            invalid_indexes: row.invalid_indexes,
            is_readable: row.is_readable,
            has_hidden_rows: row.has_hidden_rows,
        };
        if let Some(shards) = shards {
            let utc = |at: OffsetDateTime| PrimitiveDateTime::new(at.date(), at.time());
            let indexes = self
                .in_transaction(async |connection| {
                    shard_indexes(connection, &table.name).await.during(OPERATION)
                })
                .await?;
            let invalid = indexes.into_iter().flatten();
            let invalid = invalid.filter(|(_, index)| !index.is_valid && !index.is_building);
            facts.invalid_indexes.extend(invalid.map(|(name, _)| name));
            facts.invalid_indexes.sort();
            facts.invalid_indexes.dedup();
            facts = TableFacts {
                estimated_rows: Some(shards.rows.unsigned_abs()),
                table_bytes: shards.table_bytes.unsigned_abs(),
                index_bytes: shards.index_bytes.unsigned_abs(),
                dead_rows: shards.dead_rows.unsigned_abs(),
                tolerated_dead_rows: tolerated(Some(shards.rows), shards.shards),
                last_vacuum: shards.any_vacuum_at.map(utc),
                last_analyze: shards.analyzed_at.map(utc),
                age: shards.age.unsigned_abs(),
                ..facts
            };
        }
        Ok(facts)
    }

    /// The last entry of `vector_search_history` for each class of filters of `table`, by class; none if the history
    /// table does not exist. Rows with impossible values are skipped.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn last_searches(&self, table: &Table) -> Result<Vec<LastSearches>, Error> {
        const OPERATION: &str = "read the history of searches";
        let rows = self.if_table_exists("vector_search_history", OPERATION, async |connection| {
            sqlx::query!(
                r#"
                select distinct on (filter_class)
                    filter_class, measured_at, searches, latency_p50_ms, latency_p99_ms, recall, recall_high, target
                from vector_search_history
                where table_name = $1
                    and num_nulls(filter_class, searches, target) = 0
                    and searches >= 0
                    and measured_at >= '0001-01-01'
                    and measured_at <= $2
                order by filter_class, measured_at desc
                "#,
                table.name,
                now() + Duration::DAY
            )
            .fetch_all(on(connection))
            .await
        });
        rows.await?
            .into_iter()
            .map(|row| {
                Ok(LastSearches {
                    filter_class: row.filter_class,
                    measured_at: row.measured_at,
                    searches: counted(row.searches).during(OPERATION)?,
                    latency_p50_ms: row.latency_p50_ms,
                    latency_p99_ms: row.latency_p99_ms,
                    recall: row.recall,
                    recall_high: row.recall_high,
                    target: row.target,
                })
            })
            .collect()
    }
}
