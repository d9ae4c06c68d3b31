//! Counts the values that answers cannot represent, in one pass over a table.

use sqlx::{PgConnection, Row as _};

use super::{
    Database, Table,
    own_tables::time_columns,
    sql::{
        self,
        odd_values::{self as statements, OddPlace},
    },
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

const OPERATION: &str = "count values that answers cannot represent";

/// The table of the judge's results.
const RESULTS: &str = "evaluation_results";

/// Odd values of a table's rows, or of a sample of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OddValues {
    /// The table.
    pub table: String,
    /// The primary key of its rows.
    pub key: &'static str,
    /// Rows that were read.
    pub rows: u64,
    /// The share of the table's pages that was read; 1 is all of them.
    pub share: f64,
    /// The columns and kinds that occur, with the number of rows.
    pub found: Vec<(OddPlace, u64)>,
}

impl Database {
    /// Counts odd values on `share` (above 0, up to 1) of the pages of `table`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn odd_values(&self, table: &Table, share: f64) -> Result<OddValues, Error> {
        self.in_transaction(async |connection| {
            count_odd(connection, (&table.name, "id"), statements::of_table(table), share)
                .await
                .during(OPERATION)
        })
        .await
    }

    /// Counts odd values in the judge's results; `None` if the database has no results of Panopticon.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn odd_results(&self, share: f64) -> Result<Option<OddValues>, Error> {
        self.in_transaction(async |connection| {
            let has_results = sqlx::query_scalar(statements::has_results()).fetch_one(on(connection));
            if !has_results.await.during(OPERATION)? {
                return Ok(None);
            }
            let counted = count_odd(connection, (RESULTS, "id"), statements::of_results(), share).await;
            counted.map(Some).during(OPERATION)
        })
        .await
    }

    /// Counts odd times in the existing ones of `tables`, which are log tables.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn odd_times(&self, tables: &[&str]) -> Result<Vec<OddValues>, Error> {
        let places = |table: &str, columns: &[String]| {
            if tables.contains(&table) { statements::of_times(columns) } else { Vec::new() }
        };
        self.odd_bookkeeping_at(places).await
    }

    /// Counts odd times, counts, measurements and names in all log tables.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn odd_bookkeeping(&self) -> Result<Vec<OddValues>, Error> {
        let places = |table: &str, columns: &[String]| {
            [statements::of_times(columns), statements::of_numbers(table)].concat()
        };
        self.odd_bookkeeping_at(places).await
    }

    async fn odd_bookkeeping_at(
        &self,
        places: impl Fn(&str, &[String]) -> Vec<OddPlace>,
    ) -> Result<Vec<OddValues>, Error> {
        let mut found = Vec::new();
        for (table, columns) in time_columns() {
            let places = places(&table, &columns);
            if places.is_empty() {
                continue;
            }
            let odd = self.if_table_exists(&table, OPERATION, async |connection| {
                // Several of these tables have no id.
                count_odd(connection, (&table, "ctid"), places, 1.0).await.map(Some)
            });
            found.extend(odd.await?.filter(|odd| !odd.found.is_empty()));
        }
        Ok(found)
    }
}

impl OddValues {
    /// The statement that lists the rows of `place`.
    pub fn select(&self, place: &OddPlace) -> String {
        let (table, column) = (sql::quoted(&self.table), sql::quoted(&place.column));
        format!("select {}, {column}::text from {table} where {}", self.key, place.condition)
    }
}

async fn count_odd(
    connection: &mut PgConnection,
    (table, key): (&str, &'static str),
    places: Vec<OddPlace>,
    share: f64,
) -> sqlx::Result<OddValues> {
    let row = sqlx::query(statements::count_odd(table, &places))
        .bind((share * 100.0) as f32)
        .fetch_one(on(connection))
        .await?;
    let count = |position: usize| row.try_get::<i64, _>(position).map(i64::unsigned_abs);
    let rows = count(0)?;
    let mut found = Vec::new();
    for (position, place) in places.into_iter().enumerate() {
        let rows = count(position + 1)?;
        if rows > 0 {
            found.push((place, rows));
        }
    }
    Ok(OddValues { table: table.to_owned(), key, rows, share, found })
}
