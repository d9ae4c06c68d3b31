//! The copy: every record of the source is mapped and staged, or rejected by name.

use records::Service;
use store::postgres::{Database, ServiceTable};

use crate::{
    Error, Phase, Progress, Source,
    mapping::{Defaults, map_record},
    report::{CopyReport, Reject},
};

/// Progress is told this often.
pub(crate) const PROGRESS_RECORDS: u64 = 1_000;

pub(crate) async fn copy(
    database: &Database,
    service: Service,
    source: Source,
    progress: Progress<'_>,
) -> Result<(Source, CopyReport), Error> {
    let table = ServiceTable::of(service);
    let total = source.record_count();
    let mut warnings = source.warnings();
    progress(Phase::Copy, 0, total);
    let mut copy = database.begin_copy(table).await.map_err(Error::store("begin a copy into", table))?;
    let (reading, mut records) = source.read()?;
    let (mut rejects, mut defaults, mut done) = (Vec::new(), Defaults::default(), 0);
    while let Some(record) = records.recv().await {
        let id = record.id.clone();
        match map_record(service, record, &mut defaults) {
            Ok(row) => copy.stage(&row),
            Err(reason) => rejects.push(Reject { source_id: id, reason }),
        }
        if copy.is_full() {
            copy.send().await.map_err(Error::store("copy into", table))?;
        }
        done += 1;
        if done % PROGRESS_RECORDS == 0 {
            progress(Phase::Copy, done, total);
        }
    }
    // An incomplete read fails here, before anything is committed.
    let (source, read) = reading.finish()?;
    warnings.extend(read.warnings);
    let copied = copy.commit().await.map_err(Error::store("copy into", table))?;
    progress(Phase::Copy, done, total);
    let report = CopyReport {
        source_records: done,
        written: copied.written,
        unchanged: copied.unchanged,
        conflicts: copied.conflicts,
        rejects,
        defaults,
        warnings,
    };
    Ok((source, report))
}
