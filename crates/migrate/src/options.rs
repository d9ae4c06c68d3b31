//! What to migrate and how.

use std::sync::Arc;

use records::Embedding;
use store::postgres::{MAX_COPY_CONNECTIONS, Table};
use uuid::Uuid;

use crate::{Error, mapping::MissingVectors, read::SourceCollection};

/// A migration should take less than 400 MB, and needs about 100 MB plus 60 bytes per record in addition to this.
/// 100,000 records of 384 dimensions with short texts fit.
const SPOOL_BYTES: usize = 256 << 20;

/// A collection and its target table.
pub struct Transfer {
    /// The source of the records.
    pub source: SourceCollection,
    /// The target table.
    pub table: Table,
}

impl Transfer {
    /// The transfer and its number of records; `None` if nothing was ever written to the collection, so that its
    /// dimension is unknown and no table can be created.
    pub(crate) async fn counted(self) -> Result<(Self, Option<u64>), Error> {
        let has_dimension = self.source.collection().dimension.is_some();
        let (source, records) = self.source.record_count().await?;
        Ok((Self { source, ..self }, (records > 0 || has_dimension).then_some(records)))
    }
}

/// What to do with records that PostgreSQL cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedRecords {
    /// Report them and change nothing.
    Fail,
    /// Store each in `migration_rejects`, and copy the others.
    Quarantine,
}

/// What to do with rows whose records are gone from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleRows {
    /// Keep and count them.
    Keep,
    /// Delete them, except for those edited in PostgreSQL.
    Delete,
}

/// What to do with rows that were edited in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditedRows {
    /// Keep them and report them.
    Keep,
    /// Overwrite them.
    Overwrite,
}

/// Whether to execute the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Plan and change nothing.
    DryRun,
    /// Plan and execute.
    Run,
}

/// Whether to compare both sides at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Compare every record.
    Full,
    /// Skip the comparison.
    Skip,
}

/// Embeds a text.
pub type Embed =
    Arc<dyn Fn(&str) -> Result<Embedding, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// How to migrate.
#[derive(Clone)]
pub struct MigrateOptions {
    /// Whether to execute the plan.
    pub mode: Mode,
    /// What to do with records that PostgreSQL cannot hold.
    pub rejected_records: RejectedRecords,
    /// What to do with rows whose records are gone from the source.
    pub stale_rows: StaleRows,
    /// What to do with rows that were edited in PostgreSQL.
    pub edited_rows: EditedRows,
    /// Whether to compare both sides at the end.
    pub comparison: Comparison,
    /// Connections for copying, at least 1. More than the server's cores are not faster.
    pub connections: usize,
    /// Rows per transaction, at least 1. Fewer mean more commits; more need more memory, up to a limit of 8 MB per
    /// batch.
    pub batch_rows: usize,
    /// Memory for the planned batches of all collections, so that the copy need not read the source again. A
    /// collection that does not fit is read again.
    pub spool_bytes: usize,
    /// Embeds the texts of records without a vector; if absent, these are rejected.
    pub embed: Option<Embed>,
    /// Which vector index the table gets.
    pub index_policy: upkeep::Policy,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            mode: Mode::Run,
            rejected_records: RejectedRecords::Fail,
            stale_rows: StaleRows::Keep,
            edited_rows: EditedRows::Keep,
            comparison: Comparison::Full,
            connections: cores.clamp(1, 4),
            batch_rows: 2_000,
            spool_bytes: SPOOL_BYTES,
            embed: None,
            index_policy: upkeep::Policy::default(),
        }
    }
}

/// Parameters of batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchOptions {
    /// The run of the rows.
    pub(crate) run: Uuid,
    /// Maximum rows per batch.
    pub(crate) batch_rows: usize,
}

/// How to treat edited rows and records without a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    pub(crate) missing_vectors: MissingVectors,
    pub(crate) edited_rows: EditedRows,
}

impl MigrateOptions {
    pub(crate) fn batches(&self, run: Uuid) -> BatchOptions {
        BatchOptions { run, batch_rows: self.batch_rows.max(1) }
    }

    /// Connections for copying: the configured number, minus those reserved.
    pub(crate) fn copying_connections(&self) -> u32 {
        u32::try_from(self.connections).unwrap_or(u32::MAX).clamp(1, MAX_COPY_CONNECTIONS)
    }

    pub(crate) fn choices(&self) -> Choices {
        Choices { missing_vectors: missing_vectors(self.embed.is_some()), edited_rows: self.edited_rows }
    }
}

pub(crate) fn missing_vectors(are_embedded: bool) -> MissingVectors {
    if are_embedded { MissingVectors::Embed } else { MissingVectors::Reject }
}

/// Options of a comparison.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Whether records with a text but no vector were embedded.
    pub embedded_missing: bool,
}
