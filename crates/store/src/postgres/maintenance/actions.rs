//! The table `maintenance_actions`: the actions of maintenance and their results.

use serde_json::Value;
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::{
    Error, StoredTime,
    json::decode,
    postgres::{Database, counted::counted, error::StatementContext as _, jobs::now, unnamed::on},
};

const OPERATION: &str = "record an action of maintenance";
const READ: &str = "read the actions of maintenance";

/// An action that starts.
#[derive(Clone, Debug)]
pub struct ActionRecord<'a> {
    /// The table; `None` for an action that does not concern a single table.
    pub table: Option<&'a str>,
    /// vacuum, reindex, index, statistics or expire.
    pub action: &'a str,
    /// Why, as a sentence.
    pub reason: &'a str,
    /// Measurements of the table.
    pub before: Value,
}

/// A stored action.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAction {
    /// The table; `None` for an action that does not concern a single table.
    pub table: Option<String>,
    /// vacuum, reindex, index, statistics or expire.
    pub action: String,
    /// Why, as a sentence.
    pub reason: String,
    /// Measurements of the table at the start.
    pub before: Value,
    /// Measurements at the end; `None` while it is running, or if it failed.
    pub after: Option<Value>,
    /// The error, if it failed.
    pub error: Option<String>,
    /// Start in UTC; `None` where another program has removed it.
    pub started_at: Option<StoredTime>,
    /// End in UTC; `None` while it is running, or if it was killed.
    pub ended_at: Option<StoredTime>,
}

impl Database {
    /// Records that an action starts and returns its id.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn begin_action(&self, record: &ActionRecord<'_>) -> Result<Uuid, Error> {
        let (id, mut transaction) = (Uuid::new_v4(), self.begin().await?);
        sqlx::query!(
            r#"
            insert into maintenance_actions (id, table_name, action, reason, before, started_at)
            values ($1, $2, $3, $4, $5::text::jsonb, $6)
            "#,
            id,
            record.table,
            record.action,
            record.reason,
            record.before.to_string(),
            now()
        )
        .execute(on(&mut transaction))
        .await
        .during(OPERATION)?;
        transaction.commit().await.during("end a transaction")?;
        Ok(id)
    }

    /// Records that the action `id` has ended, with the current measurements of the table or the error.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn end_action(&self, id: Uuid, ended: Result<&Value, &str>) -> Result<(), Error> {
        let (after, error) = (ended.ok().map(Value::to_string), ended.err());
        sqlx::query!(
            r#"
            update maintenance_actions
            set after = $2::text::jsonb, error = $3, ended_at = $4
            where id = $1
            "#,
            id,
            after,
            error,
            now()
        )
        .execute(self)
        .await
        .during(OPERATION)?;
        Ok(())
    }

    /// How many dead rows the last VACUUM of each table left, of those that ended after `since` (UTC); none in a
    /// database that does not have the table yet.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn dead_rows_left(&self, since: PrimitiveDateTime) -> Result<Vec<(String, u64)>, Error> {
        let rows = self.if_table_exists("maintenance_actions", READ, async |connection| {
            sqlx::query!(
                r#"
                select distinct on (table_name) table_name as "table_name!",
                    case when after ->> 'dead_rows' ~ '^[0-9]{1,18}$' then (after ->> 'dead_rows')::bigint end as dead_rows
                from maintenance_actions
                where action = 'vacuum' and after is not null and table_name is not null
                    and ended_at > $1 and ended_at <= $2
                order by table_name, ended_at desc
                "#,
                since,
                now()
            )
            .fetch_all(on(connection))
            .await
        });
        let left = rows.await?.into_iter();
        Ok(left.filter_map(|row| Some((row.table_name, counted(row.dead_rows?).ok()?))).collect())
    }

    /// The last actions, newest first; none in a database that does not have the table yet.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn last_actions(&self, limit: u32) -> Result<Vec<StoredAction>, Error> {
        let rows = self.if_table_exists("maintenance_actions", READ, async |connection| {
            sqlx::query!(
                r#"
                select table_name, coalesce(action, '') as "action!", coalesce(reason, '') as "reason!",
                    coalesce(before, 'null')::text as "before!", after::text, error,
                    started_at as "started_at?: StoredTime", ended_at as "ended_at?: StoredTime"
                from maintenance_actions
                order by started_at desc
                limit $1
                "#,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await
        });
        let measured = |text: &str| decode(text).value;
        Ok(rows
            .await?
            .into_iter()
            .map(|row| StoredAction {
                table: row.table_name,
                action: row.action,
                reason: row.reason,
                before: measured(&row.before),
                after: row.after.as_deref().map(measured),
                error: row.error,
                started_at: row.started_at,
                ended_at: row.ended_at,
            })
            .collect())
    }
}
