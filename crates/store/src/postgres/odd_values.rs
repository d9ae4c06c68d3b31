//! Values that no answer can show as they are, counted in one pass over a table.

use sqlx::Row as _;

use super::{
    Database, Table,
    sql::{
        self,
        odd_values::{self as statements, OddPlace},
    },
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

const OPERATION: &str = "look for values that no answer can show";

/// The table of the judge's results.
const RESULTS: &str = "evaluation_results";

/// Odd values of a table's rows, or of a sample of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OddValues {
    /// The table.
    pub table: String,
    /// Rows that were looked at.
    pub rows: u64,
    /// The share of the table's pages that they are from; 1 is all of them.
    pub share: f64,
    /// Each column and kind of which there are some, and how many rows have it.
    pub found: Vec<(OddPlace, u64)>,
}

impl Database {
    /// Looks for odd values on `share` (above 0, up to 1) of the pages of `table`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn odd_values(&self, table: &Table, share: f64) -> Result<OddValues, Error> {
        self.count_odd(&table.name, statements::of_table(table), share).await
    }

    /// Looks for odd values among the judge's results; `None` where there are none of ours.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn odd_results(&self, share: f64) -> Result<Option<OddValues>, Error> {
        let mut transaction = self.begin().await?;
        let has_results: bool = sqlx::query_scalar(statements::has_results())
            .fetch_one(on(&mut transaction))
            .await
            .during(OPERATION)?;
        transaction.commit().await.during("end a transaction")?;
        if !has_results {
            return Ok(None);
        }
        self.count_odd(RESULTS, statements::of_results(), share).await.map(Some)
    }

    async fn count_odd(&self, table: &str, places: Vec<OddPlace>, share: f64) -> Result<OddValues, Error> {
        let mut transaction = self.begin().await?;
        let row = sqlx::query(statements::count_odd(table, &places))
            .bind((share * 100.0) as f32)
            .fetch_one(on(&mut transaction))
            .await
            .during(OPERATION)?;
        transaction.commit().await.during("end a transaction")?;
        let count =
            |position: usize| row.try_get::<i64, _>(position).map(i64::unsigned_abs).during(OPERATION);
        let rows = count(0)?;
        let mut found = Vec::new();
        for (position, place) in places.into_iter().enumerate() {
            let rows = count(position + 1)?;
            if rows > 0 {
                found.push((place, rows));
            }
        }
        Ok(OddValues { table: table.to_owned(), rows, share, found })
    }
}

impl OddValues {
    /// The statement that lists the rows of `place`.
    pub fn select(&self, place: &OddPlace) -> String {
        let (table, column) = (sql::quoted(&self.table), sql::quoted(&place.column));
        format!("select id, {column}::text from {table} where {}", place.condition)
    }
}
