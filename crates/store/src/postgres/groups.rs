//! The tables `migration_groups` and `migration_group_jobs`: the jobs that together migrate a Chroma source.

use std::collections::HashSet;

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    Database,
    jobs::{Job, now},
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

/// A migration of all collections of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its id, with which all its jobs can be undone.
    pub id: Uuid,
    /// The directory or the URL that is read.
    pub source: String,
    /// The requested placement of the collections.
    pub placement: Value,
}

impl Database {
    /// The unfinished group of an earlier process with the same source and placement.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn unfinished_group(&self, source: &str, placement: &Value) -> Result<Option<Uuid>, Error> {
        const OPERATION: &str = "look for an unfinished migration";
        self.if_table_exists("migration_groups", OPERATION, async |connection| {
            sqlx::query_scalar!(
                r#"
                select id
                from migration_groups
                where source = $1 and placement = $2::text::jsonb and status = 'copying'
                order by started_at desc
                limit 1
                "#,
                source,
                placement.to_string()
            )
            .fetch_optional(on(connection))
            .await
        })
        .await
    }

    /// The ids of the jobs of group `id`; none if it does not exist.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn jobs_of_group(&self, id: Uuid) -> Result<HashSet<Uuid>, Error> {
        const OPERATION: &str = "read the jobs of a migration";
        let jobs = self.if_table_exists("migration_group_jobs", OPERATION, async |connection| {
            sqlx::query_scalar!("select job_id from migration_group_jobs where group_id = $1", id)
                .fetch_all(on(connection))
                .await
        });
        Ok(jobs.await?.into_iter().collect())
    }

    /// The groups with jobs that are not undone, newest first, with the ids of their jobs.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn group_jobs(&self) -> Result<Vec<(Uuid, Uuid)>, Error> {
        let rows =
            self.if_table_exists("migration_group_jobs", "read the jobs of migrations", async |connection| {
                sqlx::query!(
                    r#"
                select members.group_id, members.job_id
                from migration_group_jobs members
                join migration_groups groups on groups.id = members.group_id
                order by groups.started_at desc
                "#
                )
                .fetch_all(on(connection))
                .await
            });
        Ok(rows.await?.into_iter().map(|row| (row.group_id, row.job_id)).collect())
    }

    /// Records that all collections of group `id` were copied, with a durable commit.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn end_group(&self, id: Uuid, manifest: &Value) -> Result<(), Error> {
        let noted =
            self.if_table_exists("migration_groups", "record the end of the migration", async |connection| {
                sqlx::query!(
                    r#"
                update migration_groups
                set status = 'complete', manifest = $2::text::jsonb, changed_at = $3
                where id = $1
                "#,
                    id,
                    manifest.to_string(),
                    now()
                )
                .execute(on(connection))
                .await
            });
        noted.await.map(drop)
    }

    /// The names among `names` that a relation or type already has, so that no table can be created with them.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn taken_names(&self, names: &[String]) -> Result<HashSet<String>, Error> {
        self.in_transaction(async |connection| taken_names(connection, names).await).await
    }
}

/// The same in a transaction.
pub(super) async fn taken_names(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<HashSet<String>, Error> {
    let taken = sqlx::query_scalar!(
        r#"
        select name as "name!"
        from unnest($1::text[]) as name
        where to_regclass(quote_ident(name)) is not null
            or exists (
                select
                from pg_type
                where typname = name
                    and (pg_type_is_visible(oid) or typnamespace = to_regnamespace(quote_ident(current_schema())))
            )
        "#,
        names
    )
    .fetch_all(on(connection))
    .await
    .during("look for existing names")?;
    Ok(taken.into_iter().collect())
}

/// Records the group, if it is new, and its `jobs`, in `transaction`.
pub(super) async fn add_jobs(
    transaction: &mut PgConnection,
    group: &Group,
    jobs: &[(&super::Table, &mut Job)],
) -> Result<(), Error> {
    sqlx::query!(
        r#"
        insert into migration_groups (id, source, placement, status, started_at, changed_at)
        values ($1, $2, $3::text::jsonb, 'copying', $4, $4)
        on conflict (id) do nothing
        "#,
        group.id,
        group.source,
        group.placement.to_string(),
        now()
    )
    .execute(on(transaction))
    .await
    .during("record the migration")?;
    let ids: Vec<Uuid> = jobs.iter().map(|(_, job)| job.id).collect();
    sqlx::query!(
        "insert into migration_group_jobs (group_id, job_id) select $1, id from unnest($2::uuid[]) as id",
        group.id,
        &ids
    )
    .execute(on(transaction))
    .await
    .during("record the migration's jobs")?;
    Ok(())
}
