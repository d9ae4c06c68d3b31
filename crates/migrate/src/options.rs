//! What to migrate, and how.

use std::sync::Arc;

use records::Embedding;
use store::postgres::{MAX_COPY_CONNECTIONS, Table};
use uuid::Uuid;

use crate::{Error, mapping::MissingVectors, read::SourceCollection};

/// A migration is to take less than 400 MB in all, and needs some 100 MB and 60 bytes a record beside this. 100,000
/// records of 384 dimensions with short texts fit.
const SPOOL_BYTES: usize = 256 << 20;

/// One collection and the table that it goes into.
pub struct Transfer {
    /// Where the records are.
    pub source: SourceCollection,
    /// Where they go.
    pub table: Table,
}

impl Transfer {
    /// The same, and how many records it has; `None` where nobody has ever written to the collection, so that not even
    /// its table could be made.
    pub(crate) async fn counted(self) -> Result<(Self, Option<u64>), Error> {
        let has_dimension = self.source.collection().dimension.is_some();
        let (source, records) = self.source.record_count().await?;
        Ok((Self { source, ..self }, (records > 0 || has_dimension).then_some(records)))
    }
}

/// What to do with records that PostgreSQL cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectedRecords {
    /// Change nothing and name them.
    Fail,
    /// Keep each in `migration_rejects`, and copy the others.
    Quarantine,
}

/// What to do with rows whose records are gone from the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleRows {
    /// Keep and count them.
    Keep,
    /// Delete them, but for those that were edited in PostgreSQL.
    Delete,
}

/// What to do with rows that were edited in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditedRows {
    /// Keep them and report them.
    Keep,
    /// Write over them.
    Overwrite,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Look, and change nothing.
    DryRun,
    /// Do it.
    Run,
}

/// Whether to compare at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Every record.
    Full,
    /// None.
    Skip,
}

/// Makes a vector from a text.
pub type Embed =
    Arc<dyn Fn(&str) -> Result<Embedding, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>;

/// How to migrate.
#[derive(Clone)]
pub struct MigrateOptions {
    /// How far to go.
    pub mode: Mode,
    /// What to do with records that PostgreSQL cannot hold.
    pub rejected_records: RejectedRecords,
    /// What to do with rows whose records are gone from the source.
    pub stale_rows: StaleRows,
    /// What to do with rows that were edited in PostgreSQL.
    pub edited_rows: EditedRows,
    /// Whether to compare at the end.
    pub comparison: Comparison,
    /// Connections to copy on, at least 1. More than the server has cores gain nothing.
    pub connections: usize,
    /// Rows in one transaction, at least 1. Fewer cost commits; more cost memory, of which 8 MB are the limit.
    pub batch_rows: usize,
    /// Memory for what is to be written, of all collections together, so that the source need not be read again for the
    /// copy. Where it is not enough for a collection, it is not used for it.
    pub spool_bytes: usize,
    /// Makes vectors from the texts of records that have none; without it these are rejected.
    pub embed: Option<Embed>,
    /// Which vector index the table is to have.
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

/// What batches are to be like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchOptions {
    /// The run that brings the rows.
    pub(crate) run: Uuid,
    /// Rows in one batch, at most.
    pub(crate) batch_rows: usize,
}

/// What the user wants done with the odd ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choices {
    pub(crate) missing_vectors: MissingVectors,
    pub(crate) edited_rows: EditedRows,
}

impl MigrateOptions {
    pub(crate) fn batches(&self, run: Uuid) -> BatchOptions {
        BatchOptions { run, batch_rows: self.batch_rows.max(1) }
    }

    /// Connections to copy on: those that were asked for, as far as they are kept free.
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

/// How to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Whether records with a text and no vector were given one.
    pub embedded_missing: bool,
}
