//! Undoes the changes of one run to one table.

use records::cut_short;
use sqlx::{PgConnection, postgres::PgDatabaseError};
use uuid::Uuid;

use super::{
    Database, Table,
    added_columns::added_columns,
    checkout::Transaction,
    collections,
    concise_error::concise,
    jobs::{self, Job},
    scan::count_rows,
    sql,
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

/// The changes made by undoing a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UndoResult {
    /// Rows copied by the run that were deleted.
    pub removed: u64,
    /// Rows changed or deleted by the run that were restored.
    pub restored: u64,
    /// Quarantined records of the run that were deleted.
    pub rejects_forgotten: u64,
    /// Whether the table, which the run had created, was dropped.
    pub table_dropped: bool,
    /// Why the table, which the run had created, was not dropped although it is empty: columns that were added to it, or
    /// objects that depend on it.
    pub table_kept: Vec<String>,
    /// Rows that still exist or differ from before, because a trigger or a rule prevented the change, or another row
    /// has the id of a deleted one.
    pub unchanged: Vec<Uuid>,
}

impl Database {
    /// Ids of the rows that `job` changed but did not copy.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn updated_rows(&self, job: &Job) -> Result<Vec<Uuid>, Error> {
        sqlx::query_scalar!(
            "select id from migration_replaced where run_id = $1 and table_name = $2 and change = 'updated'",
            job.run_id,
            job.table_name
        )
        .fetch_all(self)
        .await
        .during("read which rows a migration has changed")
    }

    /// Later runs that changed or deleted rows of `job`, or copied rows again that it had deleted, and therefore have
    /// to be undone first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn later_changes(&self, job: &Job) -> Result<Vec<Uuid>, Error> {
        self.in_transaction(async |connection| {
        let copied_again: Vec<Uuid> = sqlx::query_scalar(sql::runs_that_copied_again(&job.table_name))
            .bind(job.run_id)
            .bind(&job.table_name)
            .fetch_all(on(connection))
            .await
            .during("look for rows that were copied again")?;
        sqlx::query_scalar!(
            r#"
            -- If another program has set the start of a job, the time of its last change gives the order. If that is out of
            -- range too, the order is unknown, and each job counts as later than those whose rows it may have changed.
            with jobs as (
                select id, run_id, table_name, status,
                    case
                        when started_at >= '0001-01-01' and started_at < '10000-01-01' then started_at
                        when changed_at >= '0001-01-01' and changed_at < '10000-01-01' then changed_at
                    end as at
                from migration_jobs
            )
            select later.run_id
            from jobs later
            join jobs own on own.id = $1
            where later.table_name = own.table_name
                and later.status is distinct from 'undone'
                and later.id <> own.id
                and coalesce(later.at > own.at, true)
                and (
                    later.run_id = any($2)
                    or exists (
                        select
                        from migration_replaced replaced
                        where replaced.run_id = later.run_id
                            and replaced.table_name = later.table_name
                            and (
                                replaced.row ->> 'migration_run' = own.run_id::text
                                or exists (
                                    select
                                    from migration_replaced former
                                    where former.run_id = own.run_id
                                        and former.table_name = own.table_name
                                        and former.id = replaced.id
                                )
                            )
                    )
                )
            order by later.at desc
            "#,
            job.id,
            &copied_again
        )
        .fetch_all(on(connection))
        .await
        .during("look for later migrations")
        }).await
    }

    /// Undoes `job`, whose table was dropped.
    ///
    /// # Errors
    /// When a statement fails; nothing is changed then.
    pub async fn undo_without_table(&self, job: &Job) -> Result<UndoResult, Error> {
        self.in_transaction(async |connection| {
            sqlx::query!(
                "delete from migration_replaced where run_id = $1 and table_name = $2",
                job.run_id,
                job.table_name
            )
            .execute(on(connection))
            .await
            .during(OPERATION)?;
            let rejects_forgotten = jobs::forget_rejects(connection, job).await?;
            collections::forget_records(connection, job).await.during(OPERATION)?;
            end_job(connection, job).await?;
            Ok(UndoResult { rejects_forgotten, ..UndoResult::default() })
        })
        .await
    }

    /// Locks `table` against writes, so that no row is edited between the check and its removal.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn begin_undo(&self, table: &Table) -> Result<Undo, Error> {
        let mut transaction = self.begin().await?;
        // A policy created after the access check makes statements fail instead of hiding rows from them.
        sqlx::raw_sql("set local row_security = off").execute(&mut *transaction).await.during(OPERATION)?;
        sqlx::query(sql::lock_table(table)).execute(on(&mut transaction)).await.during(OPERATION)?;
        Ok(Undo(transaction))
    }
}

const OPERATION: &str = "undo a migration";

/// The undoing of a run in one table, in one transaction. It is rolled back if it is dropped before its end.
pub struct Undo(Transaction);

impl Undo {
    /// Undoes the changes of `job` to `table`, except the rows `kept`.
    ///
    /// # Errors
    /// When a statement fails; nothing is changed then.
    pub async fn finish(self, table: &Table, job: &Job, kept: &[Uuid]) -> Result<UndoResult, Error> {
        let mut transaction = self.0;
        // The row count of a statement is not reliable, since rules and triggers may have changed its effect. So the
        // rows are read before and after.
        let rows = count_rows(&mut transaction, table).await?;
        let migrated = still_migrated(&mut transaction, table, job, kept).await?.len();
        sqlx::query(sql::delete_migrated(table))
            .bind(job.run_id)
            .bind(kept)
            .execute(on(&mut transaction))
            .await
            .map_err(|source| failed(table, source))?;
        let mut unchanged = still_migrated(&mut transaction, table, job, kept).await?;
        let removed = rows.saturating_sub(count_rows(&mut transaction, table).await?);
        // If rows that were not deleted lost their run, they could not be distinguished from others.
        let (migrated, left) = (migrated as u64, unchanged.len() as u64);
        if removed + left != migrated {
            let (table, kept) = (table.name.clone(), migrated.saturating_sub(removed));
            return Err(Error::Kept { table, change: "deleted", kept, rows: migrated });
        }
        let changed = not_restored(&mut transaction, table, job, kept).await?.len();
        restore(&mut transaction, table, job, kept).await?;
        let different = not_restored(&mut transaction, table, job, kept).await?;
        let restored = changed.saturating_sub(different.len()) as u64;
        unchanged.extend(different);
        unchanged.sort_unstable();
        unchanged.dedup();
        let left = [kept, &unchanged].concat();
        sqlx::query!(
            "delete from migration_replaced where run_id = $1 and table_name = $2 and not (id = any($3))",
            job.run_id,
            table.name,
            &left
        )
        .execute(on(&mut transaction))
        .await
        .during(OPERATION)?;
        let rejects_forgotten = jobs::forget_rejects(&mut transaction, job).await?;
        let is_to_go = job.created_table && count_rows(&mut transaction, table).await? == 0;
        let table_kept = if is_to_go { drop_table(&mut transaction, table).await? } else { Vec::new() };
        let table_dropped = is_to_go && table_kept.is_empty();
        if table_dropped {
            collections::unregister(&mut transaction, job).await.during(OPERATION)?;
        } else if table.shared.is_some() && left.is_empty() {
            collections::unregister_empty(&mut transaction, job).await?;
        }
        collections::forget_records(&mut transaction, job).await.during(OPERATION)?;
        // Remaining rows still belong to this run, so that they can be undone later.
        if left.is_empty() {
            end_job(&mut transaction, job).await?;
        }
        transaction.commit().await.map_err(|source| failed(table, source))?;
        Ok(UndoResult { removed, restored, rejects_forgotten, table_dropped, table_kept, unchanged })
    }
}

/// Records that `job` is undone.
async fn end_job(connection: &mut PgConnection, job: &Job) -> Result<(), Error> {
    let changed = sqlx::query!(
        "update migration_jobs set status = 'undone', changed_at = $2 where id = $1",
        job.id,
        jobs::now()
    )
    .execute(on(connection))
    .await
    .during(OPERATION)?
    .rows_affected();
    if changed != 1 {
        let table = "migration_jobs".to_owned();
        return Err(Error::Kept { table, change: "updated", kept: 1, rows: 1 });
    }
    Ok(())
}

/// The error of a statement that could not remove rows of `table`.
fn failed(table: &Table, source: sqlx::Error) -> Error {
    const VIOLATIONS: [&str; 2] = ["23503", "23001"];
    let code = source.as_database_error().and_then(|error| error.code());
    let is_referenced = code.is_some_and(|code| VIOLATIONS.contains(&&*code));
    if is_referenced {
        return Error::Referenced { table: table.name.clone(), source: concise(source) };
    }
    Err::<(), _>(source).during(OPERATION).expect_err("it is an error")
}

/// Drops `table`, unless columns were added to it or objects depend on it, which are returned.
async fn drop_table(connection: &mut PgConnection, table: &Table) -> Result<Vec<String>, Error> {
    const OPERATION: &str = "drop the table that the migration made";
    const DEPENDENT_OBJECTS_STILL_EXIST: &str = "2BP01";
    /// PostgreSQL lists up to 100 objects, with names of up to 63 bytes.
    const DEPENDING_CHARACTERS: usize = 16 << 10;
    let added = added_columns(connection, table).await?;
    if !added.is_empty() {
        let reason = |name| format!("the migration did not create its column `{name}`");
        return Ok(added.into_iter().map(|column| reason(column.name)).collect());
    }
    sqlx::raw_sql("savepoint before_drop").execute(&mut *connection).await.during(OPERATION)?;
    let dropped = sqlx::query(sql::drop_table(&table.name)).execute(on(connection)).await;
    let refused = match dropped {
        Ok(_) => return Ok(Vec::new()),
        Err(refused) => refused,
    };
    let depending = refused
        .as_database_error()
        .filter(|error| error.code().as_deref() == Some(DEPENDENT_OBJECTS_STILL_EXIST))
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        .map(|error| cut_short(error.detail().unwrap_or(error.message()), DEPENDING_CHARACTERS))
        .map(|depending| depending.lines().map(str::to_owned).collect());
    let Some(depending) = depending else { return Err(refused).during(OPERATION) };
    sqlx::raw_sql("rollback to before_drop").execute(&mut *connection).await.during(OPERATION)?;
    Ok(depending)
}

/// The existing rows that `job` copied, except those `kept`.
async fn still_migrated(
    connection: &mut PgConnection,
    table: &Table,
    job: &Job,
    kept: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    sqlx::query_scalar(sql::still_migrated(table))
        .bind(job.run_id)
        .bind(kept)
        .fetch_all(on(connection))
        .await
        .during("read which rows a migration has copied")
}

/// The rows that `job` changed or deleted and that differ from before, except those `kept`.
async fn not_restored(
    connection: &mut PgConnection,
    table: &Table,
    job: &Job,
    kept: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    sqlx::query_scalar(sql::not_restored(table))
        .bind(job.run_id)
        .bind(&table.name)
        .bind(kept)
        .fetch_all(on(connection))
        .await
        .during("compare rows with what they were before a migration")
}

/// Restores the rows that `job` changed or deleted, except those `kept`, as far as the table permits it.
async fn restore(
    connection: &mut PgConnection,
    table: &Table,
    job: &Job,
    kept: &[Uuid],
) -> Result<(), Error> {
    sqlx::query(sql::restore_updated(table))
        .bind(job.run_id)
        .bind(&table.name)
        .bind(kept)
        .execute(on(connection))
        .await
        .during(OPERATION)?;
    // The user may have added columns; generated ones accept no values.
    let columns = sqlx::query_scalar!(
        r#"
        select attname as "name!"
        from pg_attribute
        where attrelid = to_regclass(quote_ident($1))
            and attnum > 0
            and not attisdropped
            and attgenerated = ''
        order by attnum
        "#,
        table.name
    )
    .fetch_all(on(connection))
    .await
    .during("read the columns of a table")?;
    sqlx::query(sql::restore_deleted(table, &columns))
        .bind(job.run_id)
        .bind(&table.name)
        .execute(on(connection))
        .await
        .during(OPERATION)?;
    Ok(())
}
