//! Migrations as they are shown: the jobs with their times and manifests, and the records that were rejected.

use serde_json::Value;
use time::PrimitiveDateTime;
use uuid::Uuid;

use crate::{
    Error, StoredTime,
    json::decode,
    postgres::{Database, counted::counted, unnamed::on},
};

/// Bytes of a rejected record that are read.
const RECORD_BYTES: i32 = 4_000;

/// A job, which another program may have changed.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    /// Its own id.
    pub id: Uuid,
    /// The run that it is part of.
    pub run_id: Option<Uuid>,
    /// The collection's name.
    pub collection: Option<String>,
    /// ChromaDB's id of the collection.
    pub collection_id: Option<Uuid>,
    /// The directory or the URL that it was read from.
    pub source: Option<String>,
    /// The target table.
    pub table: Option<String>,
    /// `copying`, `copied`, `complete` or `undone`.
    pub status: Option<String>,
    /// Rows that it has written, updated and deleted.
    pub rows: [Option<i64>; 3],
    /// When it was started, in UTC.
    pub started_at: Option<StoredTime>,
    /// When its status was last changed, in UTC.
    pub changed_at: Option<StoredTime>,
    /// What was found at its end; `None` before.
    pub manifest: Option<Value>,
}

/// Rejected records of a collection with the same reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectCount {
    /// The collection.
    pub collection: String,
    /// The stable name of the reason.
    pub reason: String,
    /// Number of records.
    pub count: u64,
}

/// A rejected record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReject {
    /// The collection.
    pub collection: String,
    /// ChromaDB's id, as stored.
    pub source_id: Vec<u8>,
    /// The stable name of the reason.
    pub reason: String,
    /// The beginning of the record, as `panopticon dump` prints it.
    pub record: Vec<u8>,
    /// The size of the whole record.
    pub record_bytes: u64,
}

/// A row of the statements below.
struct Row {
    id: Uuid,
    run_id: Option<Uuid>,
    collection: Option<String>,
    collection_id: Option<Uuid>,
    source: Option<String>,
    table_name: Option<String>,
    status: Option<String>,
    written: Option<i64>,
    updated: Option<i64>,
    deleted: Option<i64>,
    started_at: Option<StoredTime>,
    changed_at: Option<StoredTime>,
    manifest: Option<String>,
}

impl From<Row> for JobRecord {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            run_id: row.run_id,
            collection: row.collection,
            collection_id: row.collection_id,
            source: row.source,
            table: row.table_name,
            status: row.status,
            rows: [row.written, row.updated, row.deleted],
            started_at: row.started_at,
            changed_at: row.changed_at,
            manifest: row.manifest.map(|text| decode(&text).value),
        }
    }
}

impl Database {
    /// Up to `limit` jobs, newest first, after the one with this start and id; none if there was no migration.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn job_history(
        &self,
        after: Option<(PrimitiveDateTime, Uuid)>,
        limit: u32,
    ) -> Result<Vec<JobRecord>, Error> {
        let (started_at, id) = after.unzip();
        let rows = self.if_table_exists("migration_jobs", OPERATION, async |connection| {
            sqlx::query_as!(
                Row,
                r#"
                select id, run_id as "run_id?", collection as "collection?", collection_id as "collection_id?",
                    source as "source?", table_name as "table_name?", status as "status?", written as "written?",
                    updated as "updated?", deleted as "deleted?", started_at as "started_at?: StoredTime",
                    changed_at as "changed_at?: StoredTime", manifest::text
                from migration_jobs
                where $1::timestamp is null or (started_at, id) < ($1, $2::uuid)
                order by started_at desc, id desc
                limit $3
                "#,
                started_at,
                id,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await
        });
        Ok(rows.await?.into_iter().map(JobRecord::from).collect())
    }

    /// The jobs of a run, oldest first: its own, and those of `members`.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn jobs_of_run(&self, run: Uuid, members: &[Uuid]) -> Result<Vec<JobRecord>, Error> {
        let rows = self.if_table_exists("migration_jobs", OPERATION, async |connection| {
            sqlx::query_as!(
                Row,
                r#"
                select id, run_id as "run_id?", collection as "collection?", collection_id as "collection_id?",
                    source as "source?", table_name as "table_name?", status as "status?", written as "written?",
                    updated as "updated?", deleted as "deleted?", started_at as "started_at?: StoredTime",
                    changed_at as "changed_at?: StoredTime", manifest::text
                from migration_jobs
                where run_id = $1 or id = any($2)
                order by started_at, id
                "#,
                run,
                members
            )
            .fetch_all(on(connection))
            .await
        });
        Ok(rows.await?.into_iter().map(JobRecord::from).collect())
    }

    /// How many records of `runs` were rejected, by collection and reason.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn reject_counts(&self, runs: &[Uuid]) -> Result<Vec<RejectCount>, Error> {
        self.if_table_exists("migration_rejects", REJECTS, async |connection| {
            let rows = sqlx::query!(
                r#"
                select collection, reason, count(*) as "count!"
                from migration_rejects
                where run_id = any($1)
                group by collection, reason
                order by collection, reason
                "#,
                runs
            )
            .fetch_all(on(connection))
            .await?;
            let one = |(collection, reason, count): (String, String, i64)| {
                Ok(RejectCount { collection, reason, count: counted(count)? })
            };
            rows.into_iter().map(|row| one((row.collection, row.reason, row.count))).collect()
        })
        .await
    }

    /// Up to `limit` rejected records of `runs`, by collection and id.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn rejects(&self, runs: &[Uuid], limit: u32) -> Result<Vec<StoredReject>, Error> {
        self.if_table_exists("migration_rejects", REJECTS, async |connection| {
            let rows = sqlx::query!(
                r#"
                select collection, source_id, reason, substring(record for $2) as "record!",
                    octet_length(record)::bigint as "record_bytes!"
                from migration_rejects
                where run_id = any($1)
                order by collection, source_id
                limit $3
                "#,
                runs,
                RECORD_BYTES,
                i64::from(limit)
            )
            .fetch_all(on(connection))
            .await?;
            let mut rejects = Vec::new();
            for row in rows {
                rejects.push(StoredReject {
                    collection: row.collection,
                    source_id: row.source_id,
                    reason: row.reason,
                    record: row.record,
                    record_bytes: counted(row.record_bytes)?,
                });
            }
            Ok(rejects)
        })
        .await
    }
}

const OPERATION: &str = "read the history of migrations";
const REJECTS: &str = "read rejected records";
