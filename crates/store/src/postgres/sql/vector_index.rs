//! Statements that build, drop and rename vector indexes and search with them.

use records::DistanceSpace;

use super::{Build, Sql, operator, quoted, trusted};
use crate::postgres::{
    Table,
    index_definition::{IndexDefinition, IndexKind, Precision},
};

/// The denominator of shares of the rows.
pub(crate) const SHARE_OF: u32 = 1_024;

/// The operator class of an index of `table`.
pub(crate) fn operator_class(table: &Table, precision: Precision) -> String {
    let space = match table.space {
        DistanceSpace::L2 => "l2",
        DistanceSpace::Cosine => "cosine",
        DistanceSpace::InnerProduct => "ip",
    };
    let component = match precision {
        Precision::Full => "vector",
        Precision::Half => "halfvec",
    };
    format!("{component}_{space}_ops")
}

/// `halfvec(N)`, the type that an index of half precision has.
pub(crate) fn half_precision(table: &Table) -> String {
    format!("halfvec({})", table.dimension)
}

/// The order in which a search takes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NearestOrder {
    /// By distances that no index has, on any server: settings of the planner reach no shards.
    Exact,
    /// As an index of this precision sorts.
    Index(Precision),
}

/// The distance to the vector `parameter`, a `real[]`, as an expression that no index has.
pub(crate) fn exact_distance(table: &Table, parameter: &str) -> String {
    format!("({}) + 0", order(table, Precision::Full, parameter))
}

/// The expression by which an index of this precision sorts: the distance to the vector `parameter`, a `real[]`.
pub(crate) fn order(table: &Table, precision: Precision, parameter: &str) -> String {
    let operator = operator(table.space);
    match precision {
        Precision::Full => format!("embedding {operator} {parameter}::real[]::vector"),
        Precision::Half => {
            let half = half_precision(table);
            format!("embedding::{half} {operator} {parameter}::real[]::{half}")
        }
    }
}

/// Builds a vector index, with the `schema` of pgvector if it is not on the search path.
pub(crate) fn create_vector_index(
    table: &Table,
    name: &str,
    definition: IndexDefinition,
    build: Build,
    schema: Option<&str>,
) -> Sql {
    let schema = schema.map_or(String::new(), |schema| format!("{}.", quoted(schema)));
    let concurrently = if build == Build::Concurrently { "concurrently " } else { "" };
    let class = operator_class(table, definition.precision);
    let key = match definition.precision {
        Precision::Full => format!("embedding {schema}{class}"),
        Precision::Half => format!("(embedding::{schema}{}) {schema}{class}", half_precision(table)),
    };
    let (method, options) = match definition.kind {
        IndexKind::Ivfflat { lists } => ("ivfflat", format!("lists = {lists}")),
        IndexKind::Hnsw { m, ef_construction, .. } => {
            ("hnsw", format!("m = {m}, ef_construction = {ef_construction}"))
        }
    };
    trusted(format!(
        "create index {concurrently}{} on {} using {method} ({key})
with ({options})",
        quoted(name),
        quoted(&table.name)
    ))
}

/// Renames an index.
pub(crate) fn rename_index(from: &str, to: &str) -> Sql {
    trusted(format!("alter index {} rename to {}", quoted(from), quoted(to)))
}

/// Sets the option `ef_construction` of an HNSW index, which inserts and rebuilds use.
pub(crate) fn set_ef_construction(name: &str, ef_construction: u32) -> Sql {
    trusted(format!("alter index {} set (ef_construction = {ef_construction})", quoted(name)))
}

/// Makes the server end a statement of this session when the client disconnects, if its system supports it: an
/// abandoned build would otherwise lock the table until it ends.
pub(crate) fn end_with_client() -> Sql {
    trusted(
        "do $$ begin set client_connection_check_interval = '2s'; exception when others then null; end $$"
            .to_owned(),
    )
}

/// Ids and embeddings of about the share `$1` (in percent) of the rows; the same ones for the same seed `$2` as long
/// as the table does not change.
pub(crate) fn sample_embeddings(table: &Table) -> Sql {
    trusted(format!(
        "select id, embedding::real[]
from {} tablesample bernoulli ($1) repeatable ($2)
where embedding is not null
order by uuid_hash(id)
limit $3",
        quoted(&table.name)
    ))
}

/// Whether half precision cannot hold a row, as [`Precision::holds`] says. A vector's length, which is fast to compute, is an
/// upper bound of its components, and most vectors are long enough for any number of small ones.
pub(crate) fn exceeds_half(table: &Table) -> Sql {
    trusted(format!(
        "select exists (
    select 1
    from {}
    where (
            vector_norm(embedding) > 65504
            and exists (select 1 from unnest(embedding::real[]) component where abs(component) >= {limit})
        )
        or (
            (vector_norm(embedding) / {normal}::float8) ^ 2 < vector_dims(embedding)
            and (vector_norm(embedding) / {normal}::float8) ^ 2 < (
                select count(*)
                from unnest(embedding::real[]) component
                where component <> 0 and abs(component) < {normal}::float8
            )
        )
)",
        quoted(&table.name),
        limit = Precision::HALF_LIMIT,
        normal = Precision::HALF_NORMAL
    ))
}

/// Ids and distances of the at most `$2` rows nearest to `$1` (a `real[]`), among those in the share `$3` of
/// [`SHARE_OF`] by a hash of their id, taken in this order.
pub(crate) fn nearest_of_share(table: &Table, taken: NearestOrder) -> Sql {
    nearest(table, taken, &format!("($3 = {SHARE_OF} or (uuid_hash(id) & {}) < $3)", SHARE_OF - 1))
}

/// The same among the rows that one of the runs `$3` copied.
pub(crate) fn nearest_of_runs(table: &Table, taken: NearestOrder) -> Sql {
    nearest(table, taken, "migration_run = any($3)")
}

fn nearest(table: &Table, taken: NearestOrder, condition: &str) -> Sql {
    let (distance, order) = match taken {
        // The same expression, so that it is computed once.
        NearestOrder::Exact => (exact_distance(table, "$1"), exact_distance(table, "$1")),
        NearestOrder::Index(precision) => {
            (order(table, Precision::Full, "$1"), order(table, precision, "$1"))
        }
    };
    trusted(format!(
        "select id, ({distance})::float8 as distance
from {}
where embedding is not null and {condition}
order by {order}
limit $2",
        quoted(&table.name),
    ))
}
