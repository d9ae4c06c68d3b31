//! Statements for the maintenance of tables.

use super::{Sql, quoted, trusted};

/// A column that has statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Of the table itself.
    OfTable(String),
    /// The expression of the first key of this index.
    FirstOfIndex(String),
}

impl Column {
    /// Its name, and the index if it does not belong to the table.
    pub fn describe(&self) -> String {
        match self {
            Self::OfTable(column) => format!("column `{column}`"),
            Self::FirstOfIndex(index) => format!("index `{index}`"),
        }
    }
}

/// Runs VACUUM and ANALYZE on the table `name`. It also removes index entries if few rows are dead, and uses no
/// parallel workers, which searches may need.
pub(crate) fn vacuum(name: &str) -> Sql {
    trusted(format!("vacuum (analyze, index_cleanup on, parallel 0) {}", quoted(name)))
}

/// Sets the cost limits of autovacuum for VACUUMs of the session.
pub(crate) fn vacuum_gently() -> [Sql; 2] {
    ["set vacuum_cost_delay = '2ms'", "set vacuum_cost_limit = 200"]
        .map(|statement| trusted(statement.to_owned()))
}

/// Rebuilds an index while it is in use.
pub(crate) fn reindex_concurrently(name: &str) -> Sql {
    trusted(format!("reindex index concurrently {}", quoted(name)))
}

/// Sets the statistics target of a column of the table `name`.
pub(crate) fn set_statistics(name: &str, column: &Column, target: u32) -> Sql {
    trusted(match column {
        Column::OfTable(column) => {
            format!("alter table {} alter column {} set statistics {target}", quoted(name), quoted(column))
        }
        Column::FirstOfIndex(index) => {
            format!("alter index {} alter column 1 set statistics {target}", quoted(index))
        }
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;
    use crate::postgres::sql::lift_time_limits;

    #[test]
    fn statements_are_the_golden_ones() {
        let name = "odd \"name\"";
        let mut statements = vec![vacuum(name), reindex_concurrently(name)];
        statements.extend(vacuum_gently());
        statements.push(lift_time_limits());
        for column in [Column::OfTable("a \"column\"".to_owned()), Column::FirstOfIndex(name.to_owned())] {
            statements.push(set_statistics(name, &column, 500));
        }
        let statements: String = statements.iter().map(|statement| format!("{};\n", statement.0)).collect();
        expect_file!["golden/maintenance.sql"].assert_eq(&statements);
    }
}
