//! Reads the vector indexes of a table.

use sqlx::PgConnection;

use super::{
    IndexDefinition, IndexKind, IndexState, IndexUse, Precision, VectorIndex,
    construction::{DEFAULT_EF_CONSTRUCTION, built_with},
    measured::measured_settings,
};
use crate::{
    Error,
    postgres::{
        Table, error::StatementContext as _, shard_indexes::shard_indexes, sql::vector_index::operator_class,
        unnamed::on,
    },
};

/// pgvector's defaults, for indexes that do not set the parameters.
const DEFAULT_LISTS: u32 = 100;
const DEFAULT_M: u32 = 16;

const OPERATION: &str = "read the vector indexes of a table";

/// The vector indexes of `table`, by name, as they are on the shards if it is distributed.
///
/// # Errors
/// When a statement fails, or a worker does not answer.
pub(super) async fn existing_on_shards(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Vec<VectorIndex>, Error> {
    let mut indexes = existing(connection, table).await?;
    if let Some(on_shards) = shard_indexes(connection, &table.name).await.during(OPERATION)? {
        for index in &mut indexes {
            let Some(shards) = on_shards.get(&index.name) else { continue };
            index.size_bytes = shards.size_bytes.unsigned_abs();
            index.state = match (index.state, shards.is_building) {
                (IndexState::Valid, _) if shards.is_valid => IndexState::Valid,
                (IndexState::Building, _) | (_, true) => IndexState::Building,
                (IndexState::Valid | IndexState::Invalid, false) => IndexState::Invalid,
            };
        }
    }
    Ok(indexes)
}

/// The vector indexes of `table`, by name. Those of a distributed table are empty, and those of its shards not seen.
pub(super) async fn existing(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Vec<VectorIndex>, Error> {
    let rows = sqlx::query!(
        r#"
        select
            relation.relname as "name!",
            index.indisvalid as "is_valid!",
            exists (
                select from pg_stat_progress_create_index building
                where building.index_relid = index.indexrelid and building.datname = current_database()
            ) as "is_building!",
            access_method.amname = 'ivfflat' as "is_ivfflat!",
            operator_class.opcname as "operator_class!",
            index.indpred is null as "has_all_rows!",
            coalesce(pg_get_expr(index.indexprs, index.indrelid), key.attname) as "key!",
            -- NULL for an index that was dropped after the statement began.
            coalesce(pg_relation_size(index.indexrelid), 0) as "size_bytes!",
            coalesce(pg_relation_filenode(index.indexrelid)::bigint, 0) as "build!",
            options.lists,
            options.m,
            options.ef_construction
        from pg_index index
        join pg_class relation on relation.oid = index.indexrelid
        join pg_am access_method on access_method.oid = relation.relam
        join pg_opclass operator_class on operator_class.oid = index.indclass[0]
        left join pg_attribute key on key.attrelid = index.indrelid and key.attnum = index.indkey[0]
        cross join lateral (
            select
                max(option_value::int) filter (where option_name = 'lists') as lists,
                max(option_value::int) filter (where option_name = 'm') as m,
                max(option_value::int) filter (where option_name = 'ef_construction') as ef_construction
            from pg_options_to_table(relation.reloptions)
        ) options
        where index.indrelid = to_regclass(quote_ident($1))
            and access_method.amname in ('ivfflat', 'hnsw')
        order by relation.relname
        "#,
        table.name
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    let mut settings = measured_settings(connection, table).await?;
    let built = built_with(connection, table).await?;
    let option = |found: Option<i32>, default: u32| found.map_or(default, i32::unsigned_abs);
    Ok(rows
        .into_iter()
        .map(|row| {
            let precision =
                if row.operator_class.starts_with("halfvec_") { Precision::Half } else { Precision::Full };
            let is_our_key = match precision {
                Precision::Full => row.key == "embedding",
                Precision::Half => row.key.starts_with("(embedding)::") && row.key.contains("halfvec("),
            };
            let serves =
                is_our_key && row.has_all_rows && row.operator_class == operator_class(table, precision);
            let kind = if row.is_ivfflat {
                IndexKind::Ivfflat { lists: option(row.lists, DEFAULT_LISTS) }
            } else {
                let ef_insert = option(row.ef_construction, DEFAULT_EF_CONSTRUCTION);
                let ef_construction = built.get(&row.build).copied().unwrap_or(ef_insert);
                IndexKind::Hnsw { m: option(row.m, DEFAULT_M), ef_construction, ef_insert }
            };
            let state = match (row.is_valid, row.is_building) {
                (true, _) => IndexState::Valid,
                (false, true) => IndexState::Building,
                (false, false) => IndexState::Invalid,
            };
            let measured = settings
                .extract_if(.., |(name, build, _)| *name == row.name && *build == row.build)
                .map(|(_, _, setting)| setting)
                .collect();
            VectorIndex {
                name: row.name,
                definition: IndexDefinition { kind, precision },
                state,
                service: if serves { IndexUse::Searches } else { IndexUse::Others },
                size_bytes: row.size_bytes.unsigned_abs(),
                build: row.build,
                measured,
            }
        })
        .collect())
}
