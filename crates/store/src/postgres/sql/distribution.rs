//! Statements that distribute tables over the workers of Citus. They are not static, since servers without Citus have
//! neither its functions nor its tables.

use super::{Sql, quoted, trusted};

/// A table as a text constant.
fn constant(name: &str) -> String {
    format!("'{}'", quoted(name).replace('\'', "''"))
}

/// Distributes a table by its id over `shards` while it is in use.
pub(crate) fn distribute(name: &str, shards: u32) -> Sql {
    trusted(format!(
        "select create_distributed_table_concurrently({}, 'id', shard_count := {shards})",
        constant(name)
    ))
}

/// Removes the rows of a distributed table that are still stored where it was before.
pub(crate) fn remove_leftover_rows(name: &str) -> Sql {
    trusted(format!("select truncate_local_data_after_distributing_table({})", constant(name)))
}

/// Stores a distributed table on this server again; it can be neither read nor written meanwhile.
pub(crate) fn undistribute(name: &str) -> Sql {
    trusted(format!("select undistribute_table({})", constant(name)))
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    #[test]
    fn statements_are_the_golden_ones() {
        let name = "it's \"odd\"";
        let statements = [distribute(name, 4), remove_leftover_rows(name), undistribute(name)];
        let statements: String = statements.iter().map(|statement| format!("{};\n", statement.0)).collect();
        expect_file!["golden/distribution.sql"].assert_eq(&statements);
    }
}
