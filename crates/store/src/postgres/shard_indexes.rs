//! The indexes of a distributed table on its shards, since those of the coordinator are empty.

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

use super::{relations::is_distributed, shard_statistics::no_statistics, unnamed::on};

/// An index of a distributed table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardIndex {
    /// Whether it is valid on every shard.
    pub(super) is_valid: bool,
    /// Whether a session is building it on a shard.
    pub(super) is_building: bool,
    /// The sum of its sizes.
    pub(super) size_bytes: i64,
}

/// The indexes of the table `name` on its shards, by their names on the coordinator; `None` if it is not distributed.
///
/// # Errors
/// When a statement fails, or a worker does not answer.
pub(super) async fn shard_indexes(
    connection: &mut PgConnection,
    name: &str,
) -> sqlx::Result<Option<BTreeMap<String, ShardIndex>>> {
    if !is_distributed(connection, name).await? {
        return Ok(None);
    }
    let answers: Vec<Answer> = sqlx::query_as(
        "select
            relation.relname::text,
            own.parts[cardinality(own.parts)],
            answer.success,
            answer.result
        from run_command_on_shards(to_regclass(quote_ident($1)), $2) answer
        cross join pg_index index
        join pg_class relation on relation.oid = index.indexrelid
        cross join parse_ident(shard_name(index.indexrelid::regclass, answer.shardid)) own (parts)
        where index.indrelid = to_regclass(quote_ident($1))",
    )
    .bind(name)
    .bind(OF_A_SHARD)
    .fetch_all(on(connection))
    .await?;
    together(name, &answers).map(Some)
}

/// The name of an index, its name on a shard, and what the shard answered to [`OF_A_SHARD`]: whether the command succeeded,
/// and its result or message.
type Answer = (String, String, bool, String);

/// What the shards answered, together.
fn together(table: &str, answers: &[Answer]) -> sqlx::Result<BTreeMap<String, ShardIndex>> {
    let mut indexes: BTreeMap<String, ShardIndex> = BTreeMap::new();
    for (name, on_shard, is_success, result) in answers {
        let of_shard = is_success.then(|| parse(result)).flatten();
        let of_shard = of_shard.ok_or_else(|| no_statistics(table, result))?;
        let index = indexes.entry(name.clone()).or_insert(ShardIndex {
            is_valid: true,
            is_building: false,
            size_bytes: 0,
        });
        match of_shard.get(on_shard) {
            Some(found) => {
                index.is_valid &= found.is_valid;
                index.is_building |= found.is_building;
                index.size_bytes = index.size_bytes.saturating_add(found.size_bytes);
            }
            None => index.is_valid = false,
        }
    }
    Ok(indexes)
}

/// The indexes of a shard, by their names there.
fn parse(result: &str) -> Option<HashMap<String, ShardIndex>> {
    let indexes: HashMap<String, (bool, bool, i64)> = serde_json::from_str(result).ok()?;
    let index = |(name, (is_valid, is_building, size_bytes))| {
        (name, ShardIndex { is_valid, is_building, size_bytes })
    };
    Some(indexes.into_iter().map(index).collect())
}

/// Citus puts the name of a shard in the place of `%s`.
const OF_A_SHARD: &str = "select coalesce(json_object_agg(relation.relname, json_build_array(
    index.indisvalid,
    exists (
        select 1 from pg_stat_progress_create_index building
        where building.index_relid = index.indexrelid and building.datname = current_database()
    ),
    coalesce(pg_relation_size(index.indexrelid), 0)
)), '{}')
from pg_index index
join pg_class relation on relation.oid = index.indexrelid
where index.indrelid = '%s'::regclass";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_valid_when_it_is_valid_on_all_shards() {
        let answer = |index: &str, shard: u32, is_success: bool, result: &str| {
            (index.to_owned(), format!("{index}_{shard}"), is_success, result.to_owned())
        };
        let [first, second] = [
            r#"{"a_1": [true, false, 10], "b_1": [true, false, 1], "c_1": [false, true, 0]}"#,
            r#"{"a_2": [true, false, 20], "b_2": [false, false, 1]}"#,
        ];
        let both = |index| [answer(index, 1, true, first), answer(index, 2, true, second)];
        let answers: Vec<_> = ["a", "b", "c"].into_iter().flat_map(both).collect();
        let index = |is_valid, is_building, size_bytes| ShardIndex { is_valid, is_building, size_bytes };
        let expected = [
            ("a".to_owned(), index(true, false, 30)),
            ("b".to_owned(), index(false, false, 2)),
            ("c".to_owned(), index(false, true, 0)),
        ];
        assert_eq!(together("t", &answers).expect("all answered"), BTreeMap::from(expected));
        for (is_success, result) in [(false, "Connection refused"), (true, "[1]"), (true, "")] {
            let error = together("t", &[answer("a", 1, is_success, result)]).expect_err("it did not answer");
            assert!(
                error.to_string().contains(&format!("table `t` gave no statistics: {result}")),
                "{error}"
            );
        }
    }
}
