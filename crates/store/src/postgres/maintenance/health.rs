//! The state of tables, from the server's statistics.

use time::OffsetDateTime;

use crate::{
    Error,
    postgres::{
        Database, Table,
        error::StatementContext as _,
        lock::migration_key,
        shard_statistics::ShardStatistics,
        sql::{maintenance::Column, service_indexes::value_indexes},
    },
};

const OPERATION: &str = "read the state of tables";

/// The state of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TableHealth {
    /// Its name.
    pub name: String,
    /// Estimated number of rows.
    pub rows: u64,
    /// Rows that were deleted or replaced and still take up space.
    pub dead_rows: u64,
    /// Rows inserted since the last VACUUM.
    pub inserted: u64,
    /// Rows inserted, changed and deleted since the last ANALYZE.
    pub changed: u64,
    /// End of the last manual VACUUM.
    pub vacuumed_at: Option<OffsetDateTime>,
    /// End of the last VACUUM by autovacuum.
    pub autovacuumed_at: Option<OffsetDateTime>,
    /// End of the last ANALYZE, manual or by autovacuum.
    pub analyzed_at: Option<OffsetDateTime>,
    /// Size without indexes, in bytes.
    pub heap_bytes: u64,
    /// Size of its indexes, in bytes.
    pub index_bytes: u64,
    /// Whether a VACUUM of it is running.
    pub is_being_vacuumed: bool,
    /// The thresholds of autovacuum.
    pub autovacuum: Autovacuum,
}

impl TableHealth {
    /// Notes that the rows are in `shards`. Autovacuum has the fixed number of rows for each.
    fn is_in(&mut self, shards: &ShardStatistics) {
        self.rows = shards.rows.unsigned_abs();
        self.dead_rows = shards.dead_rows.unsigned_abs();
        self.inserted = shards.inserted.unsigned_abs();
        self.changed = shards.changed.unsigned_abs();
        self.vacuumed_at = shards.vacuumed_at;
        self.autovacuumed_at = shards.any_vacuum_at;
        self.analyzed_at = shards.analyzed_at;
        self.heap_bytes = shards.table_bytes.unsigned_abs();
        self.index_bytes = shards.index_bytes.unsigned_abs();
        self.is_being_vacuumed |= shards.is_being_vacuumed;
        let Autovacuum { dead, inserted, changed, .. } = &mut self.autovacuum;
        for threshold in [Some(dead), inserted.as_mut(), Some(changed)].into_iter().flatten() {
            threshold.base *= f64::from(shards.shards);
        }
    }
}

/// The thresholds of autovacuum for a table, from the settings of the server or of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Autovacuum {
    /// Whether it is enabled.
    pub is_on: bool,
    /// Of dead rows.
    pub dead: Threshold,
    /// Of rows inserted since the last VACUUM; `None` if inserts are not counted.
    pub inserted: Option<Threshold>,
    /// Of rows changed since the last ANALYZE.
    pub changed: Threshold,
}

/// A fixed number of rows plus a number for each row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// Rows.
    pub base: f64,
    /// Rows for each row.
    pub scale: f64,
}

impl Threshold {
    /// The threshold in a table of `rows` rows.
    pub fn of(self, rows: u64) -> f64 {
        self.base + self.scale * rows as f64
    }
}

/// The statistics target of a column that filters use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnStatistics {
    /// The column.
    pub column: Column,
    /// Maximum number of entries; 0 if statistics are disabled.
    pub target: u32,
}

impl Database {
    /// The state of the tables among `names`, in this order.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn table_health(&self, names: &[String]) -> Result<Vec<TableHealth>, Error> {
        let rows = sqlx::query!(
            r#"
            select
                given.name as "name!",
                case
                    when relation.reltuples > 0 and relation.relpages > 0 then
                        relation.reltuples / relation.relpages
                            * (pg_relation_size(relation.oid) / current_setting('block_size')::bigint)
                    else pg_stat_get_live_tuples(relation.oid)
                end as "rows!",
                pg_stat_get_dead_tuples(relation.oid) as "dead_rows!",
                pg_stat_get_ins_since_vacuum(relation.oid) as "inserted!",
                pg_stat_get_mod_since_analyze(relation.oid) as "changed!",
                pg_stat_get_last_vacuum_time(relation.oid) as vacuumed_at,
                pg_stat_get_last_autovacuum_time(relation.oid) as autovacuumed_at,
                greatest(
                    pg_stat_get_last_analyze_time(relation.oid), pg_stat_get_last_autoanalyze_time(relation.oid)
                ) as analyzed_at,
                pg_table_size(relation.oid) as "heap_bytes!",
                pg_indexes_size(relation.oid) as "index_bytes!",
                exists (
                    select from pg_stat_progress_vacuum running
                    where running.relid = relation.oid and running.datname = current_database()
                ) as "is_being_vacuumed!",
                current_setting('autovacuum')::boolean and coalesce(options.is_enabled, true) as "is_on!",
                coalesce(options.dead_base, current_setting('autovacuum_vacuum_threshold')::float8) as "dead_base!",
                coalesce(options.dead_scale, current_setting('autovacuum_vacuum_scale_factor')::float8)
                    as "dead_scale!",
                coalesce(options.inserted_base, current_setting('autovacuum_vacuum_insert_threshold')::float8)
                    as "inserted_base!",
                coalesce(
                    options.inserted_scale, current_setting('autovacuum_vacuum_insert_scale_factor')::float8
                ) as "inserted_scale!",
                coalesce(options.changed_base, current_setting('autovacuum_analyze_threshold')::float8)
                    as "changed_base!",
                coalesce(options.changed_scale, current_setting('autovacuum_analyze_scale_factor')::float8)
                    as "changed_scale!"
            from unnest($1::text[]) with ordinality given (name, place)
            join pg_class relation on relation.oid = to_regclass(quote_ident(given.name))
            cross join lateral (
                select
                    bool_and(option_value::boolean) filter (where option_name = 'autovacuum_enabled') as is_enabled,
                    max(option_value::float8) filter (where option_name = 'autovacuum_vacuum_threshold')
                        as dead_base,
                    max(option_value::float8) filter (where option_name = 'autovacuum_vacuum_scale_factor')
                        as dead_scale,
                    max(option_value::float8) filter (where option_name = 'autovacuum_vacuum_insert_threshold')
                        as inserted_base,
                    max(option_value::float8) filter (where option_name = 'autovacuum_vacuum_insert_scale_factor')
                        as inserted_scale,
                    max(option_value::float8) filter (where option_name = 'autovacuum_analyze_threshold')
                        as changed_base,
                    max(option_value::float8) filter (where option_name = 'autovacuum_analyze_scale_factor')
                        as changed_scale
                from pg_options_to_table(relation.reloptions)
            ) options
            order by given.place
            "#,
            names
        )
        .fetch_all(self)
        .await
        .during(OPERATION)?;
        let mut tables: Vec<TableHealth> = rows
            .into_iter()
            .map(|row| TableHealth {
                name: row.name,
                rows: row.rows as u64,
                dead_rows: row.dead_rows.unsigned_abs(),
                inserted: row.inserted.unsigned_abs(),
                changed: row.changed.unsigned_abs(),
                vacuumed_at: row.vacuumed_at,
                autovacuumed_at: row.autovacuumed_at,
                analyzed_at: row.analyzed_at,
                heap_bytes: row.heap_bytes.unsigned_abs(),
                index_bytes: row.index_bytes.unsigned_abs(),
                is_being_vacuumed: row.is_being_vacuumed,
                autovacuum: Autovacuum {
                    is_on: row.is_on,
                    dead: Threshold { base: row.dead_base, scale: row.dead_scale },
                    // A negative value disables it.
                    inserted: (row.inserted_base >= 0.0)
                        .then_some(Threshold { base: row.inserted_base, scale: row.inserted_scale }),
                    changed: Threshold { base: row.changed_base, scale: row.changed_scale },
                },
            })
            .collect();
        for table in &mut tables {
            if let Some(shards) = self.shard_statistics(&table.name, OPERATION).await? {
                table.is_in(&shards);
            }
        }
        Ok(tables)
    }

    /// The statistics targets of the columns of `table` that filters use: metadata, columns that repeat a metadata
    /// key, and the expressions of indexes on them.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn filter_statistics(&self, table: &Table) -> Result<Vec<ColumnStatistics>, Error> {
        let mut columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        columns.push("metadata".to_owned());
        let indexes = value_indexes(table);
        let rows = sqlx::query!(
            r#"
            select
                relation.relname as "relation!",
                attribute.attname as "column!",
                relation.relkind = 'i' as "is_index!",
                coalesce(
                    nullif(attribute.attstattarget::int, -1), current_setting('default_statistics_target')::int
                ) as "target!"
            from pg_attribute attribute
            join pg_class relation on relation.oid = attribute.attrelid
            where not attribute.attisdropped
                and (
                    relation.oid = to_regclass(quote_ident($1)) and attribute.attname = any($2::text[])
                    or relation.oid in (select to_regclass(quote_ident(name)) from unnest($3::text[]) name)
                        and attribute.attnum = 1
                )
            order by relation.relkind desc, relation.relname, attribute.attnum
            "#,
            table.name,
            &columns,
            &indexes
        )
        .fetch_all(self)
        .await
        .during(OPERATION)?;
        Ok(rows
            .into_iter()
            .map(|row| ColumnStatistics {
                column: if row.is_index {
                    Column::FirstOfIndex(row.relation)
                } else {
                    Column::OfTable(row.column)
                },
                target: row.target.unsigned_abs(),
            })
            .collect())
    }

    /// The tables among `names` into which a migration is writing.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn migrating_tables(&self, names: &[String]) -> Result<Vec<String>, Error> {
        let keys: Vec<String> = names.iter().map(|name| migration_key(name)).collect();
        sqlx::query_scalar!(
            r#"
            select given.name as "name!"
            from unnest($1::text[], $2::text[]) given (name, key)
            where exists (
                select from pg_locks held
                where held.locktype = 'advisory'
                    and held.granted
                    and held.objsubid = 1
                    and held.database = (select oid from pg_database where datname = current_database())
                    and (held.classid::bigint << 32) | held.objid::bigint = hashtextextended(given.key, 0)
            )
            "#,
            names,
            &keys
        )
        .fetch_all(self)
        .await
        .during("look for migrations")
    }
}
