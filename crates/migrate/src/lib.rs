//! Moves a service's Chroma collection into its PostgreSQL table and proves that nothing was lost.
//!
//! 1. [`Source::open`] finds the collection;
//! 2. `copy` maps each record, rejects by name what PostgreSQL cannot hold, and copies the rest in one
//!    transaction;
//! 3. the index follows the row count;
//! 4. `verify` reads both sides again, completely, and compares every record.
//!
//! Entry point: [`migrate`]. SQL is `store`'s business, bytes of Chroma are `chroma`'s.

mod copy;
mod digest;
mod error;
mod mapping;
mod report;
mod source;
mod timestamp;
mod verify;

pub use error::Error;
pub use mapping::{Defaults, RejectReason};
pub use report::{CollectionReport, Difference, Outcome, Reject, Verification};
pub use source::Source;

use std::time::Instant;

use records::Service;
use store::postgres::{Database, ServiceTable};

/// What a migration is doing, for whoever shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Records are read from Chroma and copied.
    Copy,
    /// The vector index is brought in line with the rows.
    Index,
    /// Both sides are read again and compared.
    Verify,
}

/// Told when a phase begins (`done` is 0) and every thousand records.
pub type Progress<'a> = &'a (dyn Fn(Phase, u64, u64) + Sync);

/// Migrates `service` from `source` into `database`, whose schema is current, and verifies the result.
///
/// Running it again changes nothing. Rows that are there with another content are left alone and reported.
///
/// # Errors
/// When the source cannot be read or the database refuses; the table is then as it was, or completely copied.
pub async fn migrate(
    database: &Database,
    service: Service,
    source: Source,
    progress: Progress<'_>,
) -> Result<CollectionReport, Error> {
    let started = Instant::now();
    let table = ServiceTable::of(service);
    let (source, copied) = copy::copy(database, service, source, progress).await?;
    progress(Phase::Index, 0, copied.source_records);
    let index = database.maintain_index(table).await.map_err(Error::store("build the index of", table))?;
    let (source, verification) = verify::verify(database, service, source, &copied, progress).await?;
    Ok(CollectionReport {
        service,
        tenant: source.collection().tenant.clone(),
        database: source.collection().database.clone(),
        collection: source.collection().name.clone(),
        table: table.name,
        copied,
        index,
        verification,
        elapsed: started.elapsed(),
    })
}
