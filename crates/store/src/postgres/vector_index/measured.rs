//! The table `vector_index_settings`: measured search settings that meet a recall target.

use serde_json::{Value, json};
use sqlx::PgConnection;

use super::index::{Filtering, MeasuredCurve, MeasuredPoint, MeasuredSetting, Tuned, VectorIndex};
use crate::{
    Error,
    postgres::{
        Database, Table, counted::counted, error::StatementContext as _, relations::has_table, unnamed::on,
    },
};

/// The settings of all indexes of `table`, with each index's name and build; none in a database that does not have
/// the table yet.
pub(super) async fn measured_settings(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Vec<(String, i64, MeasuredSetting)>, Error> {
    const OPERATION: &str = "read the measured settings of a table's indexes";
    let exists = has_table(connection, "vector_index_settings").await.during(OPERATION)?;
    if !exists {
        return Ok(Vec::new());
    }
    // Read as JSON, so that the newest column is null in an older schema.
    let rows = sqlx::query!(
        r#"
        select index_name, build, filtering = 'some' as "is_filtered!", depth, candidates,
            (to_jsonb(kept) ->> 'first_candidates')::int as first_candidates, target, recall, recall_low, latency_ms,
            sampled, rows, measured_at
        from vector_index_settings kept
        where table_name = $1
            and measured_at >= '0001-01-01'
            and measured_at < '10000-01-01'
            and num_nulls(index_name, build, filtering, depth, candidates, target, recall, recall_low, latency_ms) = 0
            and num_nulls(sampled, rows) = 0
        order by index_name, filtering, depth
        "#,
        table.name
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    // A row with impossible values is ignored: the index is measured again.
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let setting = MeasuredSetting {
                filtering: if row.is_filtered { Filtering::Some } else { Filtering::None },
                depth: counted(row.depth).ok()?,
                candidates: counted(row.candidates).ok()?,
                first_candidates: row.first_candidates.map(counted).transpose().ok()?,
                target: row.target,
                recall: row.recall,
                recall_low: row.recall_low,
                latency_ms: row.latency_ms,
                sampled: counted(row.sampled).ok()?,
                rows: counted(row.rows).ok()?,
                measured_at: row.measured_at,
            };
            Some((row.index_name, row.build, setting))
        })
        .collect())
}

/// Longest curve that is read: many times the longest that is written.
const MOST_CURVE_BYTES: i32 = 64 << 10;

fn written(curve: &[MeasuredPoint]) -> Value {
    let point = |point: &MeasuredPoint| {
        json!({
            "candidates": point.candidates, "recall": point.recall, "recall_low": point.recall_low,
            "latency_ms": point.latency_ms, "sampled": point.sampled,
        })
    };
    curve.iter().map(point).collect()
}

/// The points; impossible ones, which another program wrote, are left out.
fn points(curve: &Value) -> Vec<MeasuredPoint> {
    let point = |point: &Value| {
        let count = |key: &str| point.get(key)?.as_u64()?.try_into().ok();
        let number =
            |key: &str| point.get(key)?.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        Some(MeasuredPoint {
            candidates: count("candidates")?,
            recall: number("recall")?,
            recall_low: number("recall_low")?,
            latency_ms: number("latency_ms")?,
            sampled: count("sampled")?,
        })
    };
    let mut points: Vec<MeasuredPoint> = curve.as_array().into_iter().flatten().filter_map(point).collect();
    points.sort_by_key(|point| point.candidates);
    points
}

impl Database {
    /// What the last measurement of each index of `table` tried; empty for settings of older versions.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn measured_curves(&self, table: &Table) -> Result<Vec<MeasuredCurve>, Error> {
        const OPERATION: &str = "read what the last measurement tried";
        self.in_transaction(async |connection| {
            if !has_table(connection, "vector_index_settings").await.during(OPERATION)? {
                return Ok(Vec::new());
            }
            // Read as JSON, so that the column is null in an older schema.
            let rows = sqlx::query!(
                r#"
            select index_name as "index_name!", filtering = 'some' as "is_filtered!", depth as "depth!",
                curve as "curve!"
            from (
                select index_name, filtering, depth, to_jsonb(kept) -> 'curve' as curve
                from vector_index_settings kept
                where table_name = $1
            ) read
            where num_nulls(index_name, filtering, depth, curve) = 0 and octet_length(curve::text) <= $2
            order by index_name, filtering, depth
            "#,
                table.name,
                MOST_CURVE_BYTES
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            Ok(rows
                .into_iter()
                .filter_map(|row| {
                    let filtering = if row.is_filtered { Filtering::Some } else { Filtering::None };
                    let points = points(&row.curve);
                    let depth = counted(row.depth).ok()?;
                    let curve = MeasuredCurve { index_name: row.index_name, filtering, depth, points };
                    (!curve.points.is_empty()).then_some(curve)
                })
                .collect())
        })
        .await
    }

    /// Replaces the stored settings of `index` by the measured ones, and deletes those of indexes that `table` no
    /// longer has. Searches use them within seconds.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn store_measured(
        &self,
        table: &Table,
        index: &VectorIndex,
        tuned: &[Tuned],
    ) -> Result<(), Error> {
        const OPERATION: &str = "store the measured settings of an index";
        self.in_transaction(async |connection| {
            let first = sqlx::query!(
                r#"
            select filtering as "filtering?", depth as "depth?", target as "target?",
                coalesce(first_candidates, candidates) as candidates
            from vector_index_settings
            where table_name = $1 and index_name = $2 and build = $3
            "#,
                table.name,
                index.name,
                index.build
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            sqlx::query!(
                r#"
            delete from vector_index_settings
            where table_name = $1
                and (
                    index_name = $2
                    or to_regclass(quote_ident(index_name)) is null
                )
            "#,
                table.name,
                index.name
            )
            .execute(on(connection))
            .await
            .during(OPERATION)?;
            for Tuned { setting, curve } in tuned {
                let first = first.iter().find(|first| {
                    first.filtering.as_deref() == Some(setting.filtering.as_str())
                        && first.depth.is_some_and(|depth| u32::try_from(depth) == Ok(setting.depth))
                        && first.target == Some(setting.target)
                });
                let first = first
                    .and_then(|first| u32::try_from(first.candidates?).ok())
                    .unwrap_or(setting.candidates);
                let signed = |count: u32| i32::try_from(count).expect("pgvector's limits fit");
                sqlx::query!(
                    r#"
                insert into vector_index_settings (
                    table_name, index_name, build, filtering, depth, candidates, target, recall, recall_low,
                    latency_ms, sampled, rows, measured_at, first_candidates, curve
                )
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
                "#,
                    table.name,
                    index.name,
                    index.build,
                    setting.filtering.as_str(),
                    signed(setting.depth),
                    signed(setting.candidates),
                    setting.target,
                    setting.recall,
                    setting.recall_low,
                    setting.latency_ms,
                    signed(setting.sampled),
                    i64::try_from(setting.rows).expect("a table has fewer rows"),
                    setting.measured_at,
                    signed(first),
                    written(curve)
                )
                .execute(on(connection))
                .await
                .during(OPERATION)?;
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curve_is_read_as_written_without_impossible_points() {
        let point = |candidates| MeasuredPoint {
            candidates,
            recall: 0.5,
            recall_low: 0.25,
            latency_ms: 1.5,
            sampled: 40,
        };
        let curve = [point(10), point(40)];
        assert_eq!(points(&written(&curve)), curve);
        let odd = json!([
            {"candidates": 40, "recall": 0.5, "recall_low": 0.25, "latency_ms": 1.5, "sampled": 40}, {}, null, 7,
            {"candidates": -1, "recall": 0.5, "recall_low": 0.25, "latency_ms": 1.5, "sampled": 40},
            {"candidates": 1, "recall": "much", "recall_low": 0.25, "latency_ms": 1.5, "sampled": 40},
        ]);
        assert_eq!(points(&odd), [point(40)]);
        assert_eq!(points(&json!({"candidates": 1})), []);
    }
}
