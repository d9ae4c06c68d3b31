//! The proof: both sides are read again from beginning to end, and every record of the source is looked for in
//! the table and compared part by part, the vector bit by bit.

use std::collections::{HashMap, HashSet};

use chroma::Record;
use records::{Service, stored_id};
use store::postgres::{Database, ServiceTable, copy::MigratedRow};
use uuid::Uuid;

use crate::{
    Error, Phase, Progress, Source,
    copy::PROGRESS_RECORDS,
    digest::{CollectionDigest, RecordDigest},
    mapping::{Defaults, map_record},
    report::{CopyReport, Difference, Verification},
};

/// Compares what `source` holds with the rows of its table. Conflicts that the copy reported are not differences
/// again, but they show in the digests.
pub(crate) async fn verify(
    database: &Database,
    service: Service,
    source: Source,
    copied: &CopyReport,
    progress: Progress<'_>,
) -> Result<(Source, Verification), Error> {
    let table = ServiceTable::of(service);
    let total = copied.source_records;
    let mut expected = HashMap::new();
    let mut digest_source = CollectionDigest::default();
    let mut done = 0;
    progress(Phase::Verify, 0, total);
    let source = for_each(source, |record| {
        done += 1;
        if done % PROGRESS_RECORDS == 0 {
            progress(Phase::Verify, done, total);
        }
        // Rejects were reported by the copy.
        if let Ok(row) = map_record(service, record, &mut Defaults::default()) {
            let digest = RecordDigest::of(&row);
            digest_source.add(row.id, &digest);
            expected.insert(row.id, digest);
        }
    })
    .await?;

    let conflicts: HashSet<&str> = copied.conflicts.iter().map(String::as_str).collect();
    let mut digest_target = CollectionDigest::default();
    let (mut matched, mut different) = (0, Vec::new());
    let compare = |row: MigratedRow| {
        let (id, source_id, found) = match row {
            MigratedRow::Whole(row) => {
                let digest = RecordDigest::of(&row);
                (row.id, row.source_id.expect("only rows with a source id are read back"), Some(digest))
            }
            MigratedRow::Foreign { id, source_id } => (id, source_id, None),
        };
        // Rows of other directories, migrated into the same table, are none of this comparison's business.
        let Some(wanted) = expected.remove(&id) else { return };
        if let Some(found) = &found {
            digest_target.add(id, found);
        }
        if found == Some(wanted) {
            matched += 1;
        } else if !conflicts.contains(source_id.as_str()) {
            let parts = found.map_or_else(Vec::new, |found| wanted.differing_parts(&found));
            different.push(Difference { source_id, parts });
        }
    };
    database.read_migrated(table, compare).await.map_err(Error::store("read back", table))?;

    let (source, missing) = name_missing(source, expected, &conflicts).await?;
    progress(Phase::Verify, total, total);
    let verification = Verification {
        matched,
        missing,
        different,
        digest_source: digest_source.to_string(),
        digest_target: digest_target.to_string(),
    };
    Ok((source, verification))
}

/// ChromaDB's ids of the records in `missing`, which knows them by their row's id only.
async fn name_missing(
    source: Source,
    missing: HashMap<Uuid, RecordDigest>,
    conflicts: &HashSet<&str>,
) -> Result<(Source, Vec<String>), Error> {
    let mut names = Vec::new();
    if missing.is_empty() {
        return Ok((source, names));
    }
    let source = for_each(source, |record| {
        // A row that was born in PostgreSQL under the same id is a conflict, and is not read back as migrated.
        if missing.contains_key(&stored_id(&record.id)) && !conflicts.contains(record.id.as_str()) {
            names.push(record.id);
        }
    })
    .await?;
    Ok((source, names))
}

async fn for_each(source: Source, mut visit: impl FnMut(Record)) -> Result<Source, Error> {
    let (reading, mut records) = source.read()?;
    while let Some(record) = records.recv().await {
        visit(record);
    }
    reading.finish().map(|(source, _report)| source)
}
