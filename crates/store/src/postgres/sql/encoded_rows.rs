//! Statements that write encoded rows: COPY, or INSERT for a few.

use super::{STAGING, Sql, list, quoted, trusted};
use crate::postgres::Table;

/// Where encoded rows are written.
pub(crate) struct RowTarget<'t> {
    /// The table.
    pub(super) table: &'t str,
    /// The columns, in the order of the fields.
    pub(super) columns: Vec<&'t str>,
}

impl RowTarget<'_> {
    /// Number of fields of a row.
    pub(crate) fn fields(&self) -> usize {
        self.columns.len()
    }

    /// Whether the field at `place` is a vector.
    pub(crate) fn is_vector(&self, place: usize) -> bool {
        self.columns.get(place).is_some_and(|column| *column == "embedding")
    }

    /// Opens a binary COPY.
    pub(crate) fn copy(&self) -> String {
        format!("copy {} ({}) from stdin with (format binary)", quoted(self.table), list(&self.columns))
    }

    /// Inserts `rows` rows, whose fields are the parameters, vectors as `real[]`.
    pub(crate) fn insert(&self, rows: usize) -> Sql {
        let mut number = 0;
        let mut values = Vec::with_capacity(rows);
        for _ in 0..rows {
            let row = (0..self.fields()).map(|place| {
                number += 1;
                let cast = if self.is_vector(place) { "::real[]::vector" } else { "" };
                format!("${number}{cast}")
            });
            values.push(format!("({})", row.collect::<Vec<_>>().join(", ")));
        }
        let (table, columns) = (quoted(self.table), list(&self.columns));
        trusted(format!("insert into {table} ({columns})\nvalues {}", values.join(",\n    ")))
    }
}

/// Whole rows of the table.
pub(crate) fn copied_rows(table: &Table) -> RowTarget<'_> {
    RowTarget { table: &table.name, columns: table.all_columns() }
}

/// Whole rows in the staging table.
pub(crate) fn staged_rows(table: &Table) -> RowTarget<'_> {
    RowTarget { table: STAGING, columns: table.all_columns() }
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;
    use records::Service;

    use super::*;

    #[test]
    fn statements_are_golden() {
        let outputs = &Table::of(Service::Judge);
        expect_file!["golden/copy_in.sql"].assert_eq(&format!("{};\n", copied_rows(outputs).copy()));
        expect_file!["golden/copy_into_staging.sql"]
            .assert_eq(&format!("{};\n", staged_rows(outputs).copy()));
        expect_file!["golden/insert_rows.sql"].assert_eq(&format!("{};\n", copied_rows(outputs).insert(2).0));
    }
}
