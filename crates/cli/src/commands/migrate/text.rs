//! The report as text.

use std::collections::BTreeMap;

use migrate::{
    CollectionReport, ConflictReason, CopyReport, DatabaseReport, DatabaseState, Difference, GoneCollection,
    Outcome, RejectReason, Report, Stopped, UndoReport, Verification,
};
use store::postgres::{
    collections::{Compared, DescriptionKept, Registered},
    jobs::Origin,
    vector_index::IndexDefinition,
};
use upkeep::TargetIndex;

use super::failure::of_migration;
use crate::{
    exit::chain,
    output::{excerpt, grouped, visible},
};

/// Maximum number of ids of each kind; `--json` has all of them.
const SHOWN_IDS: usize = 20;

/// Maximum number of collections; of more, only those with a problem are listed.
const SHOWN_COLLECTIONS: usize = 50;

/// What was done, a block for each collection, and how to undo it.
pub(crate) fn to_text(report: &Report) -> String {
    let mut blocks = vec![collections_to_text(report)];
    blocks.retain(|block| !block.is_empty());
    let mut lines = databases(report);
    lines.extend(gone(report));
    lines.extend(report.server.warnings.iter().map(|warning| format!("warning: {warning}")));
    let of_source = report.warnings.iter();
    lines.extend(of_source.map(|w| format!("warning: {}: {}", w.code.as_str(), visible(&w.message))));
    lines.push(last_line(report));
    blocks.push(lines.join("\n"));
    blocks.join("\n")
}

/// What was done with databases without collections, and tenants without databases.
fn databases(report: &Report) -> Vec<String> {
    let line = |one: &DatabaseReport| {
        let tenant = visible(&one.database.tenant);
        let what = match &one.database.database {
            Some(database) => format!("database {tenant}/{} without collections", visible(database)),
            None => format!("tenant {tenant} without databases"),
        };
        let became = match &one.state {
            DatabaseState::Planned => "planned".to_owned(),
            DatabaseState::Registered(Registered::Created) => "created for Chroma clients".to_owned(),
            DatabaseState::Registered(Registered::Refused(reason)) => {
                format!("warning: not served to Chroma clients: {reason}")
            }
            DatabaseState::Registered(Registered::Deleted) => {
                "conflict: a Chroma client has deleted it here, and it was not created again; --overwrite restores it"
                    .to_owned()
            }
            DatabaseState::Registered(_) => "unchanged".to_owned(),
            DatabaseState::Found => "equal".to_owned(),
            DatabaseState::Missing => "different: Chroma clients do not see it".to_owned(),
        };
        format!("{what}: {became}")
    };
    let mut lines: Vec<String> = report.databases.iter().take(SHOWN_COLLECTIONS).map(line).collect();
    if report.databases.len() > SHOWN_COLLECTIONS {
        let more = report.databases.len() - SHOWN_COLLECTIONS;
        lines.push(format!("… and {} more; --json lists all", grouped(more as u64)));
    }
    lines
}

/// The collections that the source no longer has.
fn gone(report: &Report) -> Vec<String> {
    let state = if report.is_comparison {
        "different: no longer in ChromaDB"
    } else {
        "no longer in ChromaDB, and kept"
    };
    let line = |gone: &GoneCollection| {
        let remedy = if gone.is_shared { "" } else { ", or drop the table" };
        format!(
            "{} -> table {}: {state}; if you do not need it, delete it as a Chroma client{remedy}",
            full_name(&gone.origin),
            visible(&gone.table)
        )
    };
    let mut lines: Vec<String> = report.gone.iter().take(SHOWN_COLLECTIONS).map(line).collect();
    if report.gone.len() > SHOWN_COLLECTIONS {
        let more = report.gone.len() - SHOWN_COLLECTIONS;
        lines.push(format!("… and {} more; --json lists all", grouped(more as u64)));
    }
    lines
}

/// The name of a collection, qualified by tenant and database unless they are the defaults.
fn full_name(origin: &Origin) -> String {
    let Origin { tenant, database, collection, .. } = origin;
    if tenant == chroma::DEFAULT_TENANT && database == chroma::DEFAULT_DATABASE {
        return visible(collection);
    }
    visible(&format!("{tenant}/{database}/{collection}"))
}

/// What was done with each collection.
pub(crate) fn collections_to_text(report: &Report) -> String {
    let collections = &report.collections;
    if collections.len() <= SHOWN_COLLECTIONS {
        return collections.iter().map(collection).collect::<Vec<_>>().join("\n");
    }
    let is_told = |report: &&CollectionReport| {
        !matches!(
            report.outcome(),
            Outcome::Verified | Outcome::Copied | Outcome::Planned | Outcome::NothingToMigrate
        )
    };
    let told: Vec<&CollectionReport> = collections.iter().filter(is_told).collect();
    let mut lines: Vec<String> =
        told.iter().take(SHOWN_COLLECTIONS).map(|report| collection(report)).collect();
    if told.len() > SHOWN_COLLECTIONS {
        lines.push(format!(
            "… and {} more; --json lists all",
            grouped((told.len() - SHOWN_COLLECTIONS) as u64)
        ));
    }
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    for report in collections {
        *outcomes.entry(report.outcome()).or_default() += 1;
    }
    let outcomes: Vec<String> = outcomes
        .into_iter()
        .map(|(outcome, count)| format!("{} {}", grouped(count), outcome.as_str().replace('_', " ")))
        .collect();
    let records: u64 = collections.iter().map(CollectionReport::source_records).sum();
    let written: u64 =
        collections.iter().filter_map(|report| report.copied.as_ref()).map(|copied| copied.written).sum();
    lines.push(format!(
        "{} with {}, {} written: {}",
        counted(collections.len() as u64, "collection"),
        counted(records, "record"),
        grouped(written),
        outcomes.join(", ")
    ));
    lines.join("\n")
}

fn last_line(report: &Report) -> String {
    let server = &report.server;
    let pgvector =
        server.pgvector.as_deref().map_or(String::new(), |version| format!(", pgvector {version}"));
    let versions = format!("PostgreSQL {}{pgvector}", server.postgresql);
    let seconds = report.elapsed.as_secs_f64();
    let has_changed = |collection: &CollectionReport| {
        collection.stopped.is_none()
            && collection
                .copied
                .as_ref()
                .is_some_and(|copied| copied.written + copied.updated + copied.deleted > 0)
    };
    let is_plan = report.collections.iter().any(|collection| collection.stopped.is_some());
    // Collections without records have nothing to compare.
    let is_comparison = report
        .collections
        .iter()
        .all(|collection| collection.copied.as_ref().is_none_or(|copied| copied.source_records == 0));
    let is_new = |collection: &CollectionReport| {
        collection.stopped.is_none() && collection.registered.as_ref().is_some_and(Registered::is_changed)
    };
    let is_new_database = |one: &DatabaseReport| one.state == DatabaseState::Registered(Registered::Created);
    if report.collections.iter().any(|collection| has_changed(collection) || is_new(collection))
        || report.databases.iter().any(is_new_database)
    {
        let run = report.run_id;
        let resumed = if report.is_resumed { " (resumed)" } else { "" };
        format!(
            "run {run}{resumed}: {seconds:.1} s on {versions}; to undo it, run `panopticon migrate --undo {run}`"
        )
    } else if is_plan || is_comparison || report.outcome() == Outcome::Different {
        format!("{seconds:.1} s on {versions}; nothing was changed")
    } else {
        format!("{seconds:.1} s on {versions}; already up to date")
    }
}

/// The line about a new index, and what follows.
fn built(definition: IndexDefinition, plan: &upkeep::Plan) -> String {
    if plan.tuning.is_some() {
        return format!("  built a vector index with measured search parameters: {definition}");
    }
    let why = plan.reasons.last().expect("a plan has a reason");
    format!(
        "  built a vector index: {definition}, because {why}; `panopticon index apply` does the rest at once"
    )
}

fn collection(report: &CollectionReport) -> String {
    let mut lines = vec![headline(report)];
    if let Some(copied) = &report.copied {
        oddities(&mut lines, copied);
    }
    match &report.index {
        Some(plan) if plan.wanted == TargetIndex::TooWide => lines.push(
            "  warning: pgvector indexes at most 4,000 dimensions, so searches of this table use an exact scan"
                .to_owned(),
        ),
        Some(plan) if plan.wanted == TargetIndex::OutOfRange => lines.push(
            "  warning: pgvector indexes vectors of this dimension only in half precision, which cannot hold components beyond 65,504 or vectors with components below 0.00006, so searches of this table use an exact scan"
                .to_owned(),
        ),
        Some(plan) => {
            lines.extend(plan.built().map(|definition| built(definition, plan)));
        }
        None => {}
    }
    if let Some(failure) = &report.index_failure {
        lines.push(format!(
            "  index not built: {}; searches use an exact scan; run `panopticon index apply` to retry",
            visible(failure)
        ));
    }
    if let Some(verification) = &report.verification {
        proof(&mut lines, verification);
        if report.copied.is_none() && verification.stale > 0 {
            lines.push(format!(
                "  {} no longer in ChromaDB: `panopticon migrate … --delete` removes them",
                rows_are(verification.stale)
            ));
        }
    }
    lists(&mut lines, report);
    match &report.registered {
        Some(Registered::Refused(reason)) => {
            lines.push(format!("  warning: not served to Chroma clients: {reason}"));
        }
        Some(Registered::Edited(parts)) => lines.push(format!(
            "  conflict: a Chroma client has changed its {} here, which was kept; --overwrite replaces it",
            parts.join(", ")
        )),
        Some(Registered::Deleted) => lines.push(
            "  conflict: a Chroma client has deleted it here, and it was not created again; --overwrite restores it"
                .to_owned(),
        ),
        Some(Registered::NameTaken) => lines.push(
            "  conflict: another collection has its name, so Chroma clients do not see it; rename or delete one of them, then migrate again"
                .to_owned(),
        ),
        Some(Registered::Updated(parts)) => {
            let became = if report.stopped.is_some() { "to be updated" } else { "updated" };
            lines.push(format!("  {} {became} for Chroma clients", parts.join(", ")));
        }
        Some(Registered::Created | Registered::Unchanged) | None => {}
    }
    match &report.compared {
        Compared::Equal => {}
        Compared::Different(parts) => {
            let parts = parts.join(", ");
            lines.push(format!("  different: Chroma clients see another {parts} than in the source"));
        }
        Compared::Deleted => lines.push("  different: a Chroma client has deleted it here".to_owned()),
        Compared::NameTaken => {
            lines.push(
                "  different: another collection has its name, so Chroma clients do not see it".to_owned(),
            );
        }
    }
    lines.extend(report.discrepancies().iter().map(|discrepancy| format!("  different: {discrepancy}")));
    lines.join("\n")
}

fn headline(report: &CollectionReport) -> String {
    if report.is_table_absent {
        let has = match report.registered {
            None | Some(Registered::Refused(_) | Registered::Deleted | Registered::NameTaken) => {
                "no records, and no table was created"
            }
            Some(Registered::Created) if report.stopped.is_some() => {
                "no records; Chroma clients would see it, and the first record would create its table"
            }
            Some(_) => "no records; Chroma clients see it, and the first record creates its table",
        };
        return format!(
            "{}: {has}: {}",
            full_name(&report.origin),
            report.outcome().as_str().replace('_', " ")
        );
    }
    let route = format!("{} -> table {}", full_name(&report.origin), visible(&report.table));
    let outcome = report.outcome().as_str().replace('_', " ");
    if let Some(error) = &report.failure {
        let hint =
            of_migration(error).1.map_or(String::new(), |hint| format!("\n  hint: {}", visible(&hint)));
        return format!("{route}: {outcome}: {}{hint}", visible(&chain(&**error)));
    }
    let Some(copied) = &report.copied else {
        let verification = report.verification.as_ref();
        let (records, rows, matched) = verification
            .map_or((0, 0, 0), |verified| (verified.source_records, verified.rows, verified.matched));
        return format!(
            "{route}: {}, {}, {} equal: {outcome}",
            counted(records, "record"),
            counted(rows, "row"),
            grouped(matched)
        );
    };
    let records = counted(copied.source_records, "record");
    match report.stopped {
        Some(Stopped::DryRun) => {
            return format!(
                "{route}: {records}: {} to write, {} to update, {} to delete, {} unchanged: {outcome}",
                grouped(copied.written),
                grouped(copied.updated),
                grouped(copied.deleted),
                grouped(copied.unchanged)
            );
        }
        Some(Stopped::Rejects) => {
            let rejects = grouped(copied.rejects.len() as u64);
            return format!(
                "{route}: {records}, {rejects} that PostgreSQL cannot store: stopped before anything was changed"
            );
        }
        None => {}
    }
    let equal = report
        .verification
        .as_ref()
        .map_or(String::new(), |verified| format!(", {} equal on both sides", grouped(verified.matched)));
    let seconds = report.phases.scan + report.phases.copy + report.phases.index + report.phases.verify;
    format!(
        "{route}: {records}: {} written, {} updated, {} unchanged{equal}: {outcome}, {:.1} s",
        grouped(copied.written),
        grouped(copied.updated),
        grouped(copied.unchanged),
        (seconds + report.phases.search).as_secs_f64()
    )
}

fn oddities(lines: &mut Vec<String>, copied: &CopyReport) {
    for (column, number) in &copied.defaults.columns {
        if *number > 0 {
            lines.push(format!(
                "  {} had no usable value for column `{}`; the default was used",
                counted(*number, "record"),
                visible(column)
            ));
        }
    }
    if copied.defaults.created_at > 0 {
        lines.push(format!(
            "  {} without a time got 1970-01-01",
            counted(copied.defaults.created_at, "record")
        ));
    }
    if copied.defaults.unread_timestamps > 0 {
        lines.push(format!(
            "  {} whose `timestamp` is not a time in the years 1 to 9999 got the time at which ChromaDB stored it",
            counted(copied.defaults.unread_timestamps, "record")
        ));
    }
    if copied.embedded > 0 {
        lines.push(format!(
            "  {} without a vector got the embedding of the text",
            counted(copied.embedded, "record")
        ));
    }
    if copied.zero_vectors.count > 0 {
        lines.push(format!(
            "  {} with a vector of zeros, which no cosine search finds: `{}`",
            counted(copied.zero_vectors.count, "record"),
            visible(&copied.zero_vectors.ids.join("`, `"))
        ));
    }
    if copied.deleted > 0 {
        lines.push(format!("  {} no longer in ChromaDB and deleted", rows_are(copied.deleted)));
    }
    if copied.stale > 0 {
        lines.push(format!(
            "  {} no longer in ChromaDB and kept; --delete removes them",
            rows_are(copied.stale)
        ));
    }
}

fn proof(lines: &mut Vec<String>, verification: &Verification) {
    if verification.rows == 0 && verification.source_records == 0 {
        return;
    }
    let digests = if verification.digest_source == verification.digest_target {
        format!("digest {} on both sides", &verification.digest_source[..16])
    } else {
        format!(
            "digest {} in ChromaDB, {} in PostgreSQL",
            &verification.digest_source[..16],
            &verification.digest_target[..16]
        )
    };
    let searches = verification.searches;
    let recall =
        searches.index_recall.map_or(String::new(), |recall| format!(", recall@10 of the index {recall:.3}"));
    let agreement = searches.parity.map_or(String::new(), |parity| {
        let made = match searches.count {
            1 => "1 search on both sides agrees".to_owned(),
            number => format!("{number} searches on both sides agree"),
        };
        format!("; {made} to {:.1} %", parity * 100.0)
    });
    let left_out = match searches.without_distance {
        0 => String::new(),
        1 => "; 1 search skipped: its vector has no finite distance".to_owned(),
        number => format!("; {number} searches skipped: their vectors have no finite distance"),
    };
    lines.push(format!("  {digests}{agreement}{recall}{left_out}"));
}

fn lists(lines: &mut Vec<String>, report: &CollectionReport) {
    let (copied, verification) = (report.copied.as_ref(), report.verification.as_ref());
    let rejects = copied
        .map(|copied| &copied.rejects)
        .or_else(|| verification.map(|verification| &verification.rejects));
    let rejects = rejects.into_iter().flatten().map(|r| (r.source_id.as_str(), reject(r.reason)));
    list_ids(lines, "rejected", rejects.collect());
    let conflicts = copied.into_iter().flat_map(|copied| &copied.conflicts);
    list_ids(lines, "conflict", conflicts.map(|c| (c.shown_id(), conflict(c.reason))).collect());
    let missing = verification.into_iter().flat_map(|verification| &verification.missing);
    list_ids(lines, "missing", missing.map(|id| (id.as_str(), "no row in PostgreSQL".to_owned())).collect());
    let different = verification.into_iter().flat_map(|verification| &verification.different);
    list_ids(lines, "different", different.map(|d| (d.source_id.as_str(), difference(d))).collect());
    for warning in copied.into_iter().flat_map(|copied| &copied.warnings) {
        lines.push(format!("  warning {}: {}", warning.code.as_str(), visible(&warning.message)));
    }
}

fn reject(reason: RejectReason) -> String {
    let remedy = match reason {
        RejectReason::MissingEmbedding => "; --embed-missing embeds its text",
        _ => "",
    };
    format!("{}, {}{remedy}", reason.as_str(), reason.describe())
}

fn conflict(reason: ConflictReason) -> String {
    match reason {
        ConflictReason::Edited => "edited in PostgreSQL, and kept; --overwrite replaces it",
        ConflictReason::EditedAndGone => {
            "no longer in ChromaDB, but edited in PostgreSQL, and kept; --overwrite deletes it"
        }
        ConflictReason::BornHere => "a row with this id was created in PostgreSQL, and kept",
        ConflictReason::OfAnother => "a row with this id came from another collection, and was kept",
        ConflictReason::DeletedHere => "deleted here, and not copied again; --overwrite restores it",
    }
    .to_owned()
}

fn difference(difference: &Difference) -> String {
    if let Some(reason) = difference.foreign {
        return conflict(reason);
    }
    let edited = if difference.is_edited { ", edited in PostgreSQL" } else { "" };
    format!("{}{edited}", difference.columns.join(", "))
}

fn list_ids(lines: &mut Vec<String>, what: &str, ids: Vec<(impl AsRef<str>, String)>) {
    let total = ids.len();
    // Ids can have any text, up to thousands of characters.
    let shown = ids.into_iter().take(SHOWN_IDS);
    lines.extend(
        shown.map(|(id, reason)| format!("  {what} `{}`: {}", excerpt(id.as_ref(), 80), visible(&reason))),
    );
    if total > SHOWN_IDS {
        lines.push(format!("  … and {} more {what}; --json lists all", total - SHOWN_IDS));
    }
}

/// Why undo keeps a row.
const EDITED: &str = "edited in PostgreSQL, and kept; --overwrite removes it too";

/// Why a row could not be removed or restored.
const UNCHANGED: &str = "not removed or not restored: a trigger or a rule of the table prevents it, or another row has its id; \
    remove the cause, then undo again";

/// What undoing a run has changed.
pub(super) fn undo_to_text(report: &UndoReport) -> String {
    let mut lines = Vec::new();
    for table in &report.tables {
        let undone = &table.undone;
        let dropped = if undone.table_dropped { ", and the table dropped" } else { "" };
        lines.push(format!(
            "table {}, collection {}: {} removed, {} restored, {} deleted{dropped}",
            visible(&table.table),
            visible(&table.collection.to_string()),
            counted(undone.removed, "row"),
            counted(undone.restored, "row"),
            counted(undone.rejects_forgotten, "rejected record"),
        ));
        if !undone.table_kept.is_empty() {
            lines.push(format!(
                "  the table is empty and stays; drop it yourself if you do not need it: {}",
                visible(&undone.table_kept.join("; "))
            ));
        }
        let kept = table.kept.iter().map(|id| (id.to_string(), EDITED.to_owned())).collect();
        list_ids(&mut lines, "conflict", kept);
        let unchanged = undone.unchanged.iter().map(|id| (id.to_string(), UNCHANGED.to_owned())).collect();
        list_ids(&mut lines, "row", unchanged);
    }
    let gone = &report.unregistered;
    for (number, what) in [
        (gone.collections.len(), "empty collection"),
        (gone.databases.len(), "empty database"),
        (gone.tenants.len(), "empty tenant"),
    ] {
        if number > 0 {
            lines.push(format!("{} no longer served to Chroma clients", counted(number as u64, what)));
        }
    }
    let descriptions = &report.descriptions;
    if !descriptions.restored.is_empty() {
        let number = counted(descriptions.restored.len() as u64, "collection");
        lines.push(format!("name, metadata and configuration of {number} restored"));
    }
    let kept = descriptions.kept.iter().map(|(name, reason)| {
        let reason = match reason {
            DescriptionKept::Edited => "a Chroma client has changed its description, which was kept; --overwrite restores it",
            DescriptionKept::NameTaken => "another collection has its former name, or its former database was deleted; rename that one, then undo again",
        };
        (name.to_string(), reason.to_owned())
    });
    list_ids(&mut lines, "collection", kept.collect());
    let state = if report.is_complete() { "is undone" } else { "is not undone: these remain" };
    lines.push(format!("run {} {state}", report.run_id));
    lines.join("\n")
}

/// `1 record`, `2,000 records`.
fn counted(number: u64, singular: &str) -> String {
    if number == 1 { format!("1 {singular}") } else { format!("{} {singular}s", grouped(number)) }
}

fn rows_are(number: u64) -> String {
    if number == 1 { "1 row is".to_owned() } else { format!("{} rows are", grouped(number)) }
}
