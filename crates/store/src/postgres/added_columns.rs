//! Columns that users add to a table of a migration, and what they keep in them.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Database, Table,
    jobs::Job,
    sql::{self, collections::COLLECTION_COLUMNS},
    table::{AddedColumn, DefaultValue},
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

impl Database {
    /// Ids of the rows that `job` copied and in which users have written to columns that they added.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn rows_with_own_values(&self, table: &Table, job: &Job) -> Result<Vec<Uuid>, Error> {
        self.in_transaction(async |connection| {
            let added = added_columns(connection, table).await?;
            if added.iter().all(|column| column.default_value == DefaultValue::Computed) {
                return Ok(Vec::new());
            }
            sqlx::query_scalar(sql::rows_with_values(table, &added))
                .bind(job.run_id)
                .fetch_all(on(connection))
                .await
                .during("look for values in columns that others have added")
        })
        .await
    }
}

/// The columns of `table` that are not the migration's, in their order.
pub(super) async fn added_columns(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Vec<AddedColumn>, Error> {
    let ours = table.all_columns().into_iter().chain(COLLECTION_COLUMNS);
    let ours: Vec<String> = ours.map(str::to_owned).collect();
    // Defaults refer to no columns: one whose functions are all immutable is the same in each row.
    let found = sqlx::query!(
        r#"
        select
            attname as "name!",
            format_type(atttypid, atttypmod) as "column_type!",
            (
                attgenerated <> ''
                or attidentity <> ''
                or coalesce(adbin::text ~ 'SQLVALUEFUNCTION|NEXTVALUEEXPR', false)
                or exists (
                    select
                    from regexp_matches(adbin::text, ':(?:op)?funcid (\d+)', 'g') as called
                    join pg_proc on pg_proc.oid = called[1]::oid
                    where provolatile <> 'i'
                )
            ) as "is_computed!",
            pg_get_expr(adbin, adrelid) as "default?"
        from pg_attribute
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where attrelid = to_regclass(quote_ident($1))
            and attnum > 0
            and not attisdropped
            and not (attname::text = any($2))
        order by attnum
        "#,
        table.name,
        &ours
    )
    .fetch_all(on(connection))
    .await
    .during("read the columns of a table")?;
    Ok(found
        .into_iter()
        .map(|column| AddedColumn {
            name: column.name,
            column_type: column.column_type,
            default_value: match column.default {
                _ if column.is_computed => DefaultValue::Computed,
                Some(default) => DefaultValue::Constant(default),
                None => DefaultValue::Null,
            },
        })
        .collect())
}
