//! The table `migration_jobs`: the migrations of this database, their progress and the processes that work on them;
//! and their rejected records, in `migration_rejects`.

use std::collections::HashSet;

use records::shortened;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, postgres::PgQueryResult};
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use super::{Database, unnamed::on};
use crate::{Error, postgres::error::StatementContext as _};

/// One collection of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its own id.
    pub id: Uuid,
    /// The run that it is part of.
    pub run_id: Uuid,
    /// The collection that is read.
    pub origin: Origin,
    /// The target table.
    pub table_name: String,
    /// [`Table::definition`](super::Table::definition)
    pub definition: Value,
    /// Its status.
    pub status: JobStatus,
    /// The process that works on it, identified by a random number.
    pub holder: Uuid,
    /// Whether this run created the table.
    pub created_table: bool,
    /// The changes that this run has committed.
    pub counts: Counts,
    /// Descriptions of impossible values in its row, written by another program or a newer version. They are replaced
    /// by 0 or nothing.
    pub problems: Vec<String>,
}

/// The collection that rows came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// ChromaDB's id of the collection, which does not depend on the location of the directory or server.
    pub collection_id: Uuid,
    /// ChromaDB's tenant.
    pub tenant: String,
    /// ChromaDB's database.
    pub database: String,
    /// The collection's name.
    pub collection: String,
    /// The directory or the URL that it was read from.
    pub source: String,
}

/// The status of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobStatus {
    /// Rows are being copied. Set with the first change.
    Copying,
    /// All rows are copied; index and comparison remain.
    Copied,
    /// It is complete.
    Complete,
    /// Its changes were undone.
    Undone,
    /// Unknown to this version; never stored. It may have rows.
    Unknown,
}

/// Rows that a job has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New rows.
    pub written: u64,
    /// Rows with a new content.
    pub updated: u64,
    /// Deleted rows.
    pub deleted: u64,
}

/// A record that PostgreSQL cannot hold, for the quarantine.
#[derive(Clone, Debug)]
pub struct QuarantinedRecord {
    /// ChromaDB's id, as stored.
    pub source_id: Vec<u8>,
    /// The stable name of the reason.
    pub reason: &'static str,
    /// The record, as `panopticon dump` prints it.
    pub record: Vec<u8>,
}

impl QuarantinedRecord {
    /// SHA-256 of record and reason, which identifies a record that was quarantined before.
    pub fn digest(&self) -> [u8; 32] {
        let hasher = Sha256::new_with_prefix(&self.record).chain_update(self.reason);
        hasher.finalize().into()
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.updated += other.updated;
        self.deleted += other.deleted;
    }
}

impl JobStatus {
    /// The stable name, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copying => "copying",
            Self::Copied => "copied",
            Self::Complete => "complete",
            Self::Undone => "undone",
            Self::Unknown => "unknown",
        }
    }

    fn read(name: &str) -> Option<Self> {
        [Self::Copying, Self::Copied, Self::Complete, Self::Undone]
            .into_iter()
            .find(|status| status.as_str() == name)
    }

    /// Whether the run is unfinished.
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Copying | Self::Copied)
    }
}

/// A row of `migration_jobs`, which another program may have changed.
struct JobRow {
    id: Uuid,
    run_id: Option<Uuid>,
    collection_id: Option<Uuid>,
    tenant: Option<String>,
    database: Option<String>,
    collection: Option<String>,
    source: Option<String>,
    table_name: Option<String>,
    definition: Option<String>,
    status: Option<String>,
    holder: Option<Uuid>,
    created_table: Option<bool>,
    written: Option<i64>,
    updated: Option<i64>,
    deleted: Option<i64>,
}

impl JobRow {
    fn into_job(self) -> Job {
        let mut problems = Vec::new();
        let status = match &self.status {
            Some(name) => JobStatus::read(name).unwrap_or_else(|| {
                problems.push(format!("`status` is `{}`", shortened(name, SHOWN_CHARACTERS)));
                JobStatus::Unknown
            }),
            None => JobStatus::Unknown,
        };
        let definition = self.definition.as_deref().map(|text| {
            serde_json::from_str(text).unwrap_or_else(|error| {
                problems.push(format!("`definition` cannot be read: {error}"));
                Value::Null
            })
        });
        let mut count = |name: &str, stored: Option<i64>| {
            stored.map(|stored| {
                u64::try_from(stored).unwrap_or_else(|_| {
                    problems.push(format!("`{name}` is {stored}"));
                    0
                })
            })
        };
        let written = count("written", self.written);
        let updated = count("updated", self.updated);
        let deleted = count("deleted", self.deleted);
        let missing = [
            ("run_id", self.run_id.is_none()),
            ("collection_id", self.collection_id.is_none()),
            ("tenant", self.tenant.is_none()),
            ("database", self.database.is_none()),
            ("collection", self.collection.is_none()),
            ("source", self.source.is_none()),
            ("table_name", self.table_name.is_none()),
            ("definition", definition.is_none()),
            ("status", self.status.is_none()),
            ("holder", self.holder.is_none()),
            ("created_table", self.created_table.is_none()),
            ("written", written.is_none()),
            ("updated", updated.is_none()),
            ("deleted", deleted.is_none()),
        ];
        let missing = missing.into_iter().filter(|(_, is_missing)| *is_missing);
        problems.extend(missing.map(|(name, _)| format!("`{name}` is missing")));
        // A job without a table name cannot be used.
        let definition = definition.filter(|_| self.table_name.is_some());
        Job {
            id: self.id,
            run_id: self.run_id.unwrap_or_default(),
            origin: Origin {
                collection_id: self.collection_id.unwrap_or_default(),
                tenant: self.tenant.unwrap_or_default(),
                database: self.database.unwrap_or_default(),
                collection: self.collection.unwrap_or_default(),
                source: self.source.unwrap_or_default(),
            },
            table_name: self.table_name.unwrap_or_default(),
            definition: definition.unwrap_or_default(),
            status,
            holder: self.holder.unwrap_or_default(),
            created_table: self.created_table.unwrap_or_default(),
            counts: Counts {
                written: written.unwrap_or_default(),
                updated: updated.unwrap_or_default(),
                deleted: deleted.unwrap_or_default(),
            },
            problems,
        }
    }
}

/// An unknown name.
const SHOWN_CHARACTERS: usize = 40;

impl Database {
    /// All jobs of this database, oldest first; none if there was no migration. One that cannot be read completely
    /// has [problems](Job::problems).
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn jobs(&self) -> Result<Vec<Job>, Error> {
        self.jobs_where(true, &[], &[]).await
    }

    /// The jobs into one of `tables` or of one of `collections`.
    ///
    /// # Errors
    /// As for [`jobs`](Self::jobs).
    pub async fn jobs_about(&self, tables: &[String], collections: &[Uuid]) -> Result<Vec<Job>, Error> {
        self.jobs_where(false, tables, collections).await
    }

    async fn jobs_where(
        &self,
        are_all_meant: bool,
        tables: &[String],
        collections: &[Uuid],
    ) -> Result<Vec<Job>, Error> {
        let rows = self.if_table_exists("migration_jobs", "read earlier migrations", async |connection| {
            sqlx::query_as!(
                JobRow,
                r#"
            select id, run_id as "run_id?", collection_id as "collection_id?", tenant as "tenant?",
                database as "database?", collection as "collection?", source as "source?",
                table_name as "table_name?", definition::text, status as "status?", holder as "holder?",
                created_table as "created_table?", written as "written?", updated as "updated?",
                deleted as "deleted?"
            from migration_jobs
            where $1 or table_name = any($2) or collection_id = any($3)
            order by started_at, id
            "#,
                are_all_meant,
                tables,
                collections
            )
            .fetch_all(on(connection))
            .await
        });
        Ok(rows.await?.into_iter().map(JobRow::into_job).collect())
    }

    /// The [digests](QuarantinedRecord::digest) of the records of a collection that `runs` have quarantined.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn quarantined(&self, runs: &[Uuid], origin: &Origin) -> Result<HashSet<[u8; 32]>, Error> {
        if runs.is_empty() {
            // The table may not exist yet.
            return Ok(HashSet::new());
        }
        let digests = sqlx::query_scalar!(
            r#"
            select sha256(record || convert_to(reason, 'UTF8')) as "digest!"
            from migration_rejects
            where run_id = any($1) and tenant = $2 and database = $3 and collection = $4
            "#,
            runs,
            origin.tenant,
            origin.database,
            origin.collection,
        )
        .fetch_all(self)
        .await
        .during("look for records that were rejected before")?;
        let sized = |digest: Vec<u8>| <[u8; 32]>::try_from(digest).expect("a SHA-256 has 32 bytes");
        Ok(digests.into_iter().map(sized).collect())
    }

    /// Takes over a job of an earlier process, whose later writes are rejected. Its quarantined records will be
    /// quarantined again, so they are deleted.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn take_over_job(&self, job: &Job) -> Result<(), Error> {
        self.in_transaction(async |connection| {
            let changed = sqlx::query!(
                "update migration_jobs set holder = $2, status = 'copying', changed_at = $3 where id = $1",
                job.id,
                job.holder,
                now(),
            )
            .execute(on(connection))
            .await
            .during("take over an unfinished migration")?;
            require_held(job, &changed)?;
            forget_rejects(connection, job).await?;
            Ok(())
        })
        .await
    }

    /// Records the status of a job, and at the end its manifest. The commit waits for the disk, and makes all earlier ones
    /// durable.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another process works on it.
    pub async fn set_job_status(
        &self,
        job: &Job,
        status: JobStatus,
        manifest: Option<&Value>,
    ) -> Result<(), Error> {
        let manifest = manifest.map(Value::to_string);
        self.in_transaction(async |connection| {
            let changed = sqlx::query!(
                r#"
            update migration_jobs
            set status = $3, manifest = coalesce($4::text::jsonb, manifest), changed_at = $5
            where id = $1 and holder = $2
            "#,
                job.id,
                job.holder,
                status.as_str(),
                manifest,
                now(),
            )
            .execute(on(connection))
            .await
            .during("record the status of the migration")?;
            require_held(job, &changed)
        })
        .await
    }

    /// Records that `jobs` are complete, each with its manifest. The commit does not wait for the disk.
    ///
    /// # Errors
    /// [`Error::TakenOver`] when another process works on one of them; the others are recorded.
    pub async fn complete_jobs(&self, jobs: &[(Job, Value)]) -> Result<(), Error> {
        let ids: Vec<Uuid> = jobs.iter().map(|(job, _)| job.id).collect();
        let holders: Vec<Uuid> = jobs.iter().map(|(job, _)| job.holder).collect();
        let manifests: Vec<String> = jobs.iter().map(|(_, manifest)| manifest.to_string()).collect();
        let completed = self.in_transaction(async |connection| {
            defer_commit(connection).await?;
            sqlx::query_scalar!(
                r#"
                update migration_jobs jobs
                set status = $4, manifest = completed.manifest::jsonb, changed_at = $5
                from unnest($1::uuid[], $2::uuid[], $3::text[]) as completed (id, holder, manifest)
                where jobs.id = completed.id and jobs.holder = completed.holder
                returning jobs.id
                "#,
                &ids,
                &holders,
                &manifests,
                JobStatus::Complete.as_str(),
                now(),
            )
            .fetch_all(on(connection))
            .await
            .during("record the status of the migration")
        });
        let completed: HashSet<Uuid> = completed.await?.into_iter().collect();
        match jobs.iter().find(|(job, _)| !completed.contains(&job.id)) {
            Some((job, _)) => Err(Error::TakenOver { table: job.table_name.clone() }),
            None => Ok(()),
        }
    }
}

/// Records new jobs. Each starts later than the one before it, as they are undone in reverse order.
pub(super) async fn add(connection: &mut PgConnection, jobs: &[&Job]) -> Result<(), Error> {
    let of_each = |part: fn(&Job) -> String| jobs.iter().map(|job| part(job)).collect::<Vec<_>>();
    let ids: Vec<Uuid> = jobs.iter().map(|job| job.id).collect();
    let runs: Vec<Uuid> = jobs.iter().map(|job| job.run_id).collect();
    let collections: Vec<Uuid> = jobs.iter().map(|job| job.origin.collection_id).collect();
    let holders: Vec<Uuid> = jobs.iter().map(|job| job.holder).collect();
    let created: Vec<bool> = jobs.iter().map(|job| job.created_table).collect();
    sqlx::query!(
        r#"
        insert into migration_jobs (
            id, run_id, collection_id, tenant, database, collection, source, table_name, definition, status,
            holder, created_table, started_at, changed_at
        )
        select id, run_id, collection_id, tenant, database, collection, source, table_name, definition::jsonb, status,
            holder, created_table, $13::timestamp + (place - 1) * interval '1 microsecond', $13
        from unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::uuid[], $12::boolean[]
        ) with ordinality as jobs (
            id, run_id, collection_id, tenant, database, collection, source, table_name, definition, status,
            holder, created_table, place
        )
        "#,
        &ids,
        &runs,
        &collections,
        &of_each(|job| job.origin.tenant.clone()),
        &of_each(|job| job.origin.database.clone()),
        &of_each(|job| job.origin.collection.clone()),
        &of_each(|job| job.origin.source.clone()),
        &of_each(|job| job.table_name.clone()),
        &of_each(|job| job.definition.to_string()),
        &of_each(|job| job.status.as_str().to_owned()),
        &holders,
        &created,
        now(),
    )
    .execute(on(connection))
    .await
    .during("record the migration")?;
    Ok(())
}

/// Makes the commit of a transaction asynchronous.
pub(crate) async fn defer_commit(connection: &mut PgConnection) -> Result<(), Error> {
    sqlx::raw_sql("set local synchronous_commit = off")
        .execute(connection)
        .await
        .during("set options of the commit")?;
    Ok(())
}

/// Adds to the progress of a job, if this process still holds it.
pub(crate) async fn add_progress(
    connection: &mut PgConnection,
    job: &Job,
    counts: Counts,
) -> Result<(), Error> {
    let signed = |count: u64| i64::try_from(count).expect("a batch has far fewer rows");
    let changed = sqlx::query!(
        r#"
        update migration_jobs
        -- Limited to the greatest number; NULL stays NULL.
        set written = (written::numeric + least($3::bigint, 9223372036854775807 - written::numeric))::bigint,
            updated = (updated::numeric + least($4::bigint, 9223372036854775807 - updated::numeric))::bigint,
            deleted = (deleted::numeric + least($5::bigint, 9223372036854775807 - deleted::numeric))::bigint,
            changed_at = $6
        where id = $1 and holder = $2
        "#,
        job.id,
        job.holder,
        signed(counts.written),
        signed(counts.updated),
        signed(counts.deleted),
        now(),
    )
    .execute(on(connection))
    .await
    .during("record the progress of the migration")?;
    require_held(job, &changed)
}

/// Fails if a statement has not changed the row of `job` because another process holds it.
fn require_held(job: &Job, changed: &PgQueryResult) -> Result<(), Error> {
    if changed.rows_affected() == 0 {
        return Err(Error::TakenOver { table: job.table_name.clone() });
    }
    Ok(())
}

/// Stores records that PostgreSQL cannot hold in the quarantine.
pub(crate) async fn quarantine(
    connection: &mut PgConnection,
    job: &Job,
    records: &[QuarantinedRecord],
) -> Result<(), Error> {
    for record in records {
        sqlx::query!(
            r#"
            insert into migration_rejects
                (run_id, tenant, database, collection, source_id, reason, record, created_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            "#,
            job.run_id,
            job.origin.tenant,
            job.origin.database,
            job.origin.collection,
            record.source_id,
            record.reason,
            record.record,
            now(),
        )
        .execute(on(connection))
        .await
        .during("store a rejected record")?;
    }
    Ok(())
}

/// Deletes the records that a job has quarantined.
pub(crate) async fn forget_rejects(connection: &mut PgConnection, job: &Job) -> Result<u64, Error> {
    let forgotten = sqlx::query!(
        "delete from migration_rejects where run_id = $1 and tenant = $2 and database = $3 and collection = $4",
        job.run_id,
        job.origin.tenant,
        job.origin.database,
        job.origin.collection,
    )
    .execute(on(connection))
    .await
    .during("delete rejected records of an earlier attempt")?;
    Ok(forgotten.rows_affected())
}

/// The current time, in UTC.
pub(crate) fn now() -> PrimitiveDateTime {
    let now = OffsetDateTime::now_utc();
    PrimitiveDateTime::new(now.date(), now.time())
}
