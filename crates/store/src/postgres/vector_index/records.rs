//! The table `vector_index_plans`: the changes of vector indexes and their reasons.

use serde_json::Value;
use sqlx::PgConnection;
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::{
    Error, StoredTime,
    json::decode,
    postgres::{Database, Table, error::StatementContext as _, jobs::now, relations::has_table, unnamed::on},
};

const OPERATION: &str = "store a plan for a table's indexes";
const READ: &str = "read the plans for a table's indexes";

/// A plan that is executed.
#[derive(Clone, Debug)]
pub struct PlanRecord {
    /// The observation on which it is based.
    pub observed: Value,
    /// The plan.
    pub plan: Value,
    /// [`Observation::writes`](super::Observation::writes)
    pub writes: u64,
}

/// A stored plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPlan {
    /// When it was started, in UTC; `None` if another program has removed that.
    pub started_at: Option<StoredTime>,
    /// When it was completed, in UTC; `None` while it is running, or if it was killed.
    pub ended_at: Option<StoredTime>,
    /// The plan.
    pub plan: Value,
}

impl Database {
    /// Records that `record` is being executed on `table` and returns its id.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn begin_plan(&self, table: &Table, record: &PlanRecord) -> Result<Uuid, Error> {
        let (id, mut transaction) = (Uuid::new_v4(), self.begin().await?);
        sqlx::query!(
            r#"
            insert into vector_index_plans (id, table_name, observed, plan, writes, started_at)
            values ($1, $2, $3::text::jsonb, $4::text::jsonb, $5, $6)
            "#,
            id,
            table.name,
            record.observed.to_string(),
            record.plan.to_string(),
            i64::try_from(record.writes).expect("the server counts no more"),
            now()
        )
        .execute(on(&mut transaction))
        .await
        .during(OPERATION)?;
        transaction.commit().await.during("end a transaction")?;
        Ok(id)
    }

    /// Records that the plan `id` was completed.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn end_plan(&self, id: Uuid) -> Result<(), Error> {
        sqlx::query!("update vector_index_plans set ended_at = $2 where id = $1", id, now())
            .execute(self)
            .await
            .during(OPERATION)?;
        Ok(())
    }

    /// The executed plans of `table` with their start and end, newest first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn last_plans(&self, table: &Table, limit: u32) -> Result<Vec<StoredPlan>, Error> {
        let rows = self.if_table_exists("vector_index_plans", READ, async |connection| {
            sqlx::query!(
                r#"
                select started_at as "started_at?: StoredTime", ended_at as "ended_at?: StoredTime", plan::text
                from vector_index_plans
                where table_name = $1
                order by started_at desc
                limit $2
                "#,
                table.name,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await
        });
        let plan = |text: Option<String>| text.map_or(Value::Null, |text| decode(&text).value);
        let kept = rows.await?.into_iter();
        Ok(kept
            .map(|row| StoredPlan {
                started_at: row.started_at,
                ended_at: row.ended_at,
                plan: plan(row.plan),
            })
            .collect())
    }
}

/// How many rows of `table` had been written when its last plan was made, and the time of that plan. Plans with a
/// time in the future or an infinite one are ignored.
pub(super) async fn last_writes(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Option<(i64, PrimitiveDateTime)>, Error> {
    if !has_table(connection, "vector_index_plans").await.during(READ)? {
        return Ok(None);
    }
    let last = sqlx::query!(
        r#"
        select writes, started_at as "started_at: StoredTime"
        from vector_index_plans
        where table_name = $1 and started_at <= $2 and writes is not null
        order by started_at desc
        limit 1
        "#,
        table.name,
        now()
    )
    .fetch_optional(on(connection))
    .await
    .during(READ)?;
    Ok(last.and_then(|last| Some((last.writes, last.started_at.in_calendar()?))))
}
