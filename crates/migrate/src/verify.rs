//! The comparison: both sides are read completely, and every part of every source record is compared with its row,
//! the vector bit by bit.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
};

use chroma::{Record, Warning};
use records::Embedding;
use store::{
    StoredRecord,
    postgres::{Database, Table, schema::TableState, write::record_parts},
};
use uuid::Uuid;

use crate::{
    Error,
    digest::CollectionDigest,
    mapping::{Defaults, MissingVectors, RejectReason, check_record, map_record},
    observe::{Counter, Observer, Phase},
    parity::NearestInSource,
    quarantine::Quarantine,
    read::{SourceCollection, Visitor},
    report::{Difference, Reject, Verification},
    resume::Origins,
    target::{Comparison, TargetRows},
};

/// What to compare.
pub(crate) struct VerifyTask<'a> {
    pub(crate) table: &'a Table,
    pub(crate) state: TableState,
    pub(crate) origins: &'a Origins,
    pub(crate) missing_vectors: MissingVectors,
    /// Maximum number of searches.
    pub(crate) most_searches: usize,
    /// Whether one of the runs may have quarantined records.
    pub(crate) may_have_quarantined: bool,
    /// Whether the table may have a vector index.
    pub(crate) may_have_index: bool,
}

/// The comparison, and the input for comparing searches.
pub(crate) struct Verified {
    pub(crate) verification: Verification,
    pub(crate) nearest: NearestInSource,
    /// Rows that differ from the source.
    pub(crate) different: HashSet<Uuid>,
    /// Whether the table has rows of this collection only.
    pub(crate) is_alone: bool,
    pub(crate) warnings: Vec<Warning>,
}

/// Compares `source` with the rows of its collection.
pub(crate) async fn verify(
    database: &Database,
    source: SourceCollection,
    task: VerifyTask<'_>,
    observer: &Observer,
) -> Result<Verified, Error> {
    let name = source.collection().name.clone();
    Counter::begin(observer, &name, Phase::Target, 0);
    let rows = TargetRows::read(database, task.table, task.state, task.origins).await?;
    let searches = NearestInSource::samples(rows.migrated()).min(task.most_searches);
    let samples = rows.sample(searches);
    let queries = embeddings_of(database, &task, &samples).await?;
    let set_aside = match task.may_have_quarantined {
        true => database.quarantined(&task.origins.own_runs, &source.origin()).await?,
        false => HashSet::new(),
    };
    let (source, total) = source.record_count().await?;
    let comparer = Comparer {
        table: task.table.clone(),
        missing_vectors: task.missing_vectors,
        defaults: Defaults::of(task.table),
        counter: Counter::begin(observer, &name, Phase::Verify, total),
        nearest: NearestInSource::new(task.table.space, queries),
        digest: CollectionDigest::default(),
        verification: Verification { rows: rows.migrated(), ..Verification::default() },
        rows,
        quarantine: Quarantine::new(source.collection(), set_aside),
        rowless: HashSet::new(),
        different: HashMap::new(),
        scratch: Vec::new(),
    };
    let read = source.read(comparer).await?.complete()?;
    let Comparer { mut rows, mut verification, digest, nearest, mut different, counter, .. } = read.visitor;
    // Only now, since a seen row is one that a record of the same id was compared with.
    verification.rejects.iter().for_each(|reject| rows.see(task.table.row_id(&reject.source_id)));
    let mut digest_target = CollectionDigest::default();
    rows.digests().for_each(|digest| digest_target.add(digest));
    verification.source_records = counter.done();
    verification.unread = read.unread;
    verification.stale = rows.unseen().count() as u64;
    verification.digest_source = digest.to_string();
    verification.digest_target = digest_target.to_string();
    explain(database, &task, &mut different).await?;
    let foreign = match task.state {
        TableState::Absent => HashMap::new(),
        _ => foreign_rows(database, task.table, &verification.missing).await?,
    };
    verification.missing.retain(|source_id| !foreign.contains_key(&task.table.row_id(source_id)));
    let different_rows = different.keys().copied().collect();
    verification.different = different.into_values().map(|difference| difference.difference).collect();
    verification.different.extend(foreign.into_iter().map(|(id, source_id)| Difference {
        source_id,
        columns: Vec::new(),
        is_edited: false,
        foreign: Some(rows.foreign(id)),
    }));
    verification.different.sort_by(|one, other| one.source_id.cmp(&other.source_id));
    let is_alone = rows.is_alone();
    Ok(Verified { verification, nearest, different: different_rows, is_alone, warnings: read.warnings })
}

struct Comparer {
    table: Table,
    missing_vectors: MissingVectors,
    defaults: Defaults,
    counter: Counter,
    rows: TargetRows,
    nearest: NearestInSource,
    digest: CollectionDigest,
    verification: Verification,
    /// Records that earlier runs quarantined.
    quarantine: Quarantine,
    /// Ids of source records without a row.
    rowless: HashSet<Uuid>,
    different: HashMap<Uuid, Differing>,
    scratch: Vec<u8>,
}

/// A record whose row differs.
struct Differing {
    difference: Difference,
    /// The expected parts, for the first [`Difference::MOST_EXPLAINED`].
    expected: Option<store::postgres::scan::RowParts>,
}

impl Visitor for Comparer {
    fn visit(&mut self, record: Record) -> ControlFlow<()> {
        self.counter.count();
        match check_record(&self.table, &record, self.missing_vectors) {
            Ok(()) => {
                let kept = (!self.quarantine.is_empty()).then(|| record.clone());
                let rows = &self.rows;
                let row = map_record(&self.table, record, |id| rows.created_at(id), &mut self.defaults);
                self.compare(row, kept.as_ref());
            }
            Err(reason) => {
                self.verification.rejects.push(Reject { source_id: record.id, reason });
            }
        }
        ControlFlow::Continue(())
    }
}

impl Comparer {
    /// Compares `row`, made from `record`, which is given only if it may be quarantined.
    fn compare(&mut self, row: StoredRecord, record: Option<&Record>) {
        let digest = store::postgres::write::row_digest(&mut self.scratch, &row);
        let source_id = || row.source_id.clone().expect("a record has an id");
        let found = self.rows.compare(row.id, digest);
        let is_second = match found {
            None => !self.rowless.insert(row.id),
            Some(found) => found == Comparison::Seen,
        };
        if is_second {
            let reason = RejectReason::DuplicateId;
            self.verification.rejects.push(Reject { source_id: source_id(), reason });
            return;
        }
        // The source's digest and nearest records do not depend on the table.
        self.digest.add(digest);
        self.nearest.add(row.id, row.embedding.as_slice());
        let is_unequal = !matches!(found, Some(Comparison::Equal));
        if is_unequal && record.is_some_and(|record| self.quarantine.has_refused(record)) {
            let reason = RejectReason::RefusedByTable;
            self.verification.rejects.push(Reject { source_id: source_id(), reason });
            return;
        }
        match found {
            None => self.verification.missing.push(source_id()),
            Some(Comparison::Equal) => self.verification.matched += 1,
            Some(unequal) => {
                let is_explained = self.different.len() < Difference::MOST_EXPLAINED;
                let difference = Difference {
                    source_id: source_id(),
                    columns: Vec::new(),
                    is_edited: unequal == Comparison::Edited,
                    foreign: None,
                };
                let expected = is_explained.then(|| record_parts(&self.table, &row));
                self.different.insert(row.id, Differing { difference, expected });
            }
        }
    }
}

/// Rows with the ids of `missing` records that do not belong to the collection.
async fn foreign_rows(
    database: &Database,
    table: &Table,
    missing: &[String],
) -> Result<HashMap<Uuid, String>, Error> {
    const MOST_AT_ONCE: usize = 10_000;
    let failed = |error| Error::store("read", &table.name)(error);
    let mut foreign = HashMap::new();
    for part in missing.chunks(MOST_AT_ONCE) {
        let mut records: HashMap<Uuid, &String> =
            part.iter().map(|source_id| (table.row_id(source_id), source_id)).collect();
        let ids: Vec<Uuid> = records.keys().copied().collect();
        let there = database.existing_rows(table, &ids).await.map_err(failed)?;
        foreign.extend(there.into_iter().filter_map(|id| Some((id, records.remove(&id)?.clone()))));
    }
    Ok(foreign)
}

/// Reads the differing rows again to determine the differing columns.
async fn explain(
    database: &Database,
    task: &VerifyTask<'_>,
    different: &mut HashMap<Uuid, Differing>,
) -> Result<(), Error> {
    if different.is_empty() {
        return Ok(());
    }
    let explain = |row: store::postgres::scan::MigratedRow<'_>| {
        let Some(Differing { difference, expected: Some(expected) }) = different.get_mut(&row.id) else {
            return;
        };
        let found = row.parts(task.table);
        let differing = expected.iter().zip(&found).filter(|(expected, found)| expected != found);
        difference.columns = differing.map(|((name, _), _)| name.clone()).collect();
    };
    let table = task.table;
    let failed = |error| Error::store("read", &table.name)(error);
    database.scan_migrated(table, &task.origins.own_runs, explain).await.map_err(failed)
}

/// The embeddings of sample rows.
async fn embeddings_of(
    database: &Database,
    task: &VerifyTask<'_>,
    ids: &[Uuid],
) -> Result<Vec<Embedding>, Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |error| Error::store("read", &task.table.name)(error);
    database.embeddings(task.table, ids).await.map_err(failed)
}
