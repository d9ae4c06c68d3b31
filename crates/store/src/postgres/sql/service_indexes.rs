//! The indexes that the services' queries use, except the vector index.
//!
//! They are not created by schema migrations, since they would slow down a copy into an empty table.

use records::Service;
use uuid::Uuid;

use super::{
    Build, Sql,
    collections::INSERTION_ORDER,
    condition::INDEXED_CHARACTERS,
    quoted,
    results::{FINGERPRINT, METADATA, RUN},
    service::searched_words,
    trusted,
};
use crate::postgres::Table;

/// An index that a table should have. A changed definition needs a new name, since an index is identified by its
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceIndex {
    /// Its name.
    pub(crate) name: String,
    /// Its table.
    pub(crate) table: String,
    definition: String,
}

/// The indexes of a service's table, the most used ones first.
pub(crate) fn service_indexes(service: Service) -> Vec<ServiceIndex> {
    let table = &Table::of(service);
    let newest_of =
        |column: &str| format!("(left({}, {INDEXED_CHARACTERS}), created_at desc, id desc)", quoted(column));
    let index = |purpose: &str, definition: String| ServiceIndex {
        name: format!("{}_panopticon_{purpose}", table.name),
        table: table.name.clone(),
        definition,
    };
    let mut indexes = vec![
        index("category", newest_of(service.category_key())),
        index("newest", "(created_at desc, id desc)".to_owned()),
        index("metadata", "using gin (metadata jsonb_path_ops)".to_owned()),
        index("words", format!("using gin ({})", searched_words(table))),
    ];
    if service == Service::Judge {
        indexes.push(index("model", newest_of("model_id")));
    }
    indexes
}

/// The indexes of the table of a collection that has a vector index: filters that few records match do not read all
/// records, nor do pages in the order of insertion, which only the tables have that Chroma clients see.
pub(crate) fn collection_indexes(table: &Table) -> [ServiceIndex; 2] {
    // The name of the table may leave no room.
    let digest = Uuid::new_v5(&Uuid::nil(), table.name.as_bytes()).simple();
    let index = |purpose: &str, definition: String| ServiceIndex {
        name: format!("panopticon_{purpose}_{digest}"),
        table: table.name.clone(),
        definition,
    };
    [
        index("metadata", "using gin (metadata jsonb_path_ops)".to_owned()),
        index("position", format!("({INSERTION_ORDER})")),
    ]
}

/// Names of the indexes of `table` whose first key is the expression that filters compare with a column's value.
pub(crate) fn value_indexes(table: &Table) -> Vec<String> {
    ["category", "model"].map(|purpose| format!("{}_panopticon_{purpose}", table.name)).to_vec()
}

/// The indexes of `evaluation_results`.
pub(crate) fn result_indexes() -> Vec<ServiceIndex> {
    const TABLE: &str = "evaluation_results";
    const NEWEST: &str = r#""timestamp" desc nulls last, id desc"#;
    let index = |purpose: &str, definition: String| ServiceIndex {
        name: format!("{TABLE}_panopticon_{purpose}"),
        table: TABLE.to_owned(),
        definition,
    };
    let newest_of = |column: &str| format!("(left({column}, {INDEXED_CHARACTERS}), {NEWEST})");
    vec![
        index("newest", format!("({NEWEST})")),
        index("theme", newest_of("theme")),
        index("model", newest_of("model_id")),
        index("prompt", newest_of("evaluation_prompt_id")),
        index("query", newest_of("query_id")),
        // Rows of the old services do not have these keys.
        index("run", format!("({RUN}, {NEWEST}) where {RUN} is not null")),
        // A hash index, which has no limit of the length.
        index("fingerprint", format!("using hash (({FINGERPRINT})) where {FINGERPRINT} is not null")),
        index("metadata", format!("using gin ({METADATA} jsonb_path_ops)")),
    ]
}

/// Builds an index.
pub(crate) fn create_index(index: &ServiceIndex, build: Build) -> Sql {
    let concurrently = if build == Build::Concurrently { "concurrently " } else { "" };
    let ServiceIndex { name, table, definition } = index;
    trusted(format!(
        "create index {concurrently}if not exists {} on {} {definition}",
        quoted(name),
        quoted(table)
    ))
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn indexes_are_the_golden_ones() {
        let mut indexes: Vec<ServiceIndex> = Service::ALL.into_iter().flat_map(service_indexes).collect();
        indexes.extend(result_indexes());
        let odd = Table { name: format!("odd \"{}\"", "a".repeat(50)), ..Table::of(Service::Query) };
        indexes.extend(collection_indexes(&odd));
        let statements: String = indexes
            .iter()
            .map(|index| format!("{};\n", create_index(index, Build::Concurrently).0))
            .collect();
        expect_file!["golden/service_indexes.sql"].assert_eq(&statements);
        let names: std::collections::HashSet<&str> =
            indexes.iter().map(|index| index.name.as_str()).collect();
        assert!(names.len() == indexes.len() && names.iter().all(|name| name.len() < 64), "{names:?}");
    }
}
