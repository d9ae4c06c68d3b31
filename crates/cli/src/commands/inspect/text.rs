//! The report as text.

use chroma::{LogOverview, Orphans, Warning, WarningCode, json_lines::WriteJson as _};
use unicode_width::UnicodeWidthStr as _;

use super::report::{CollectionReport, Counts, Missing, Report};
use crate::{
    output::{count, grouped, size_text, visible},
    screen::{cut, wrap},
    source::{Description, is_default},
};

/// Maximum lines for the metadata of a collection; `--json` has all of it.
const METADATA_LINES: usize = 3;

/// Minimum width of a name that still distinguishes collections.
const NARROWEST_NAME: usize = 16;

/// Warnings that the description of a directory covers already.
const DESCRIBED: [WarningCode; 3] =
    [WarningCode::OrphanSegmentDirectories, WarningCode::OrphanRecords, WarningCode::OrphanLogRows];

/// The report in lines of at most `width` columns, except for longer words.
pub(super) fn to_text(report: &Report, width: usize) -> String {
    let mut lines = vec![visible(&report.source)];
    for line in description(&report.description) {
        lines.extend(wrap(&line, width, "  ", "  "));
    }
    if !report.collections.is_empty() {
        lines.push(String::new());
        lines.extend(collections(report, width));
    }
    let is_described =
        |warning: &&Warning| describes_orphans(&report.description) && DESCRIBED.contains(&warning.code);
    let odd: Vec<&Warning> = report.warnings.iter().filter(|warning| !is_described(warning)).collect();
    if !odd.is_empty() {
        lines.push(String::new());
        lines.extend(odd.into_iter().flat_map(|odd| warning(odd, width, "")));
    }
    lines.push(String::new());
    for line in verdict(&report.total(), report.collections.len()) {
        lines.extend(wrap(&line, width, "", "  "));
    }
    lines.join("\n")
}

fn description(description: &Description) -> Vec<String> {
    let Description { kind, oldest_version, newest_version, size_bytes, log, orphans } = description;
    let version = match (oldest_version, newest_version) {
        (Some(reported), None) if *kind == "server" => {
            format!("Chroma 1.x (each of them reports {reported})")
        }
        (Some(oldest), Some(newest)) if oldest == newest => format!("Chroma {oldest}"),
        (Some(oldest), Some(newest)) => format!("Chroma {oldest} to {newest}"),
        (Some(oldest), None) => {
            format!("Chroma {oldest} or newer, with schema changes unknown to this version")
        }
        (None, _) => "Chroma of an unknown version".to_owned(),
    };
    let size = size_bytes.map_or_else(String::new, |size| format!(", {}", size_text(size)));
    let mut lines = vec![format!("{version}, {kind}{size}")];
    if *kind == "parquet" {
        lines.push("no log; the table stores vectors as they were sent, counted as `log` here".to_owned());
    } else if let Some(LogOverview { rows, auto_purge, hot_journal }) = log {
        let purge = match auto_purge {
            Some(true) => "purged once they are in the index",
            Some(false) => "kept forever",
            None => "possibly purged: its configuration cannot be read",
        };
        lines.push(format!("log: {} {}, {purge}", grouped(*rows), if *rows == 1 { "row" } else { "rows" }));
        if *hot_journal {
            lines.push(
                "its last writer crashed in a transaction, which is rolled back in a private copy".to_owned(),
            );
        }
    }
    if describes_orphans(description) {
        lines.extend(orphans.as_ref().and_then(leftovers));
    }
    lines
}

/// Whether the description states the data without a collection. Chroma 0.3 leaves nothing behind when it drops a
/// collection: there it is a fault of the directory, of which a warning names the records.
fn describes_orphans(description: &Description) -> bool {
    description.kind != "parquet"
}

fn leftovers(orphans: &Orphans) -> Option<String> {
    let Orphans { segment_directories, segments, records, topics, log_rows } = orphans;
    let mut parts = Vec::new();
    if let Some(first) = segment_directories.first() {
        parts.push(match segment_directories.len() {
            1 => format!("1 index directory ({first})"),
            number => format!("{number} index directories (such as {first})"),
        });
    }
    if *records > 0 {
        parts.push(format!("{} of {}", count(*records, "record"), count(*segments, "segment")));
    }
    if *log_rows > 0 {
        parts.push(format!("{} of {}", count(*log_rows, "log row"), count(*topics, "collection")));
    }
    (!parts.is_empty()).then(|| format!("left over from dropped collections: {}", parts.join(", ")))
}

/// A table with a row for each collection, followed by its metadata and warnings.
fn collections(report: &Report, width: usize) -> Vec<String> {
    let total = report.total();
    let mut titles = vec!["space", "dim", "records", "log", "hnsw"];
    titles.extend((total.salvaged > 0).then_some("salvaged"));
    titles.push("missing");
    let rows: Vec<Vec<String>> =
        report.collections.iter().map(|report| cells(report, total.salvaged > 0)).collect();
    let widths: Vec<usize> = titles
        .iter()
        .enumerate()
        .map(|(column, title)| rows.iter().map(|row| row[column].len()).max().unwrap_or(0).max(title.len()))
        .collect();
    let names: Vec<String> =
        report.collections.iter().map(|report| visible(&report.collection.name)).collect();
    let longest_name = names.iter().map(|name| name.width()).max().unwrap_or(0).max("collection".len());
    let room = width.saturating_sub(widths.iter().map(|width| width + 2).sum());
    let name_width = longest_name.min(room.max(NARROWEST_NAME));

    let shows_databases = !report.collections.iter().all(|report| is_default(&report.collection));
    let mut lines = vec![table_line("collection", &titles, &widths, name_width)];
    let mut group = None;
    for ((report, name), row) in report.collections.iter().zip(&names).zip(&rows) {
        let collection = &report.collection;
        let own_group = (&collection.tenant, &collection.database);
        if shows_databases && group != Some(own_group) {
            group = Some(own_group);
            let line = format!("[tenant {}, database {}]", visible(own_group.0), visible(own_group.1));
            lines.extend(wrap(&line, width, "", "  "));
        }
        lines.push(table_line(name, row, &widths, name_width));
        lines.extend(metadata(report, width));
        lines.extend(collection.warnings.iter().flat_map(|odd| warning(odd, width, "  ")));
    }
    lines
}

fn cells(report: &CollectionReport, shows_salvaged: bool) -> Vec<String> {
    let Counts { records, log, hnsw, salvaged, missing, .. } = &report.counts;
    let collection = &report.collection;
    let dimension = collection.dimension.map_or_else(|| "-".to_owned(), |dimension| dimension.to_string());
    let mut cells = vec![
        collection.space.as_str().to_owned(),
        dimension,
        grouped(*records),
        grouped(*log),
        grouped(*hnsw),
    ];
    cells.extend(shows_salvaged.then(|| grouped(*salvaged)));
    cells.push(grouped(missing.total()));
    cells
}

/// The name and the space are aligned left, the numbers right.
fn table_line(name: &str, cells: &[impl AsRef<str>], widths: &[usize], name_width: usize) -> String {
    let name = cut(name, name_width);
    let padding = " ".repeat(name_width.saturating_sub(name.width()));
    let mut line = format!("{name}{padding}");
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = cell.as_ref();
        line.push_str(&if column == 0 { format!("  {cell:<width$}") } else { format!("  {cell:>width$}") });
    }
    line
}

fn metadata(report: &CollectionReport, width: usize) -> Vec<String> {
    if report.collection.metadata.is_empty() {
        return Vec::new();
    }
    let entries: Vec<String> = report
        .collection
        .metadata
        .iter()
        .map(|(key, value)| {
            let mut json = Vec::new();
            value.write_json(&mut json);
            visible(&format!("{key}={}", String::from_utf8_lossy(&json)))
        })
        .collect();
    let mut lines = wrap(&entries.join(", "), width, "  metadata: ", "    ");
    if lines.len() > METADATA_LINES {
        lines.truncate(METADATA_LINES);
        if let Some(last) = lines.last_mut() {
            *last = format!("{} …", cut(last, width.saturating_sub(2)));
        }
    }
    lines
}

fn warning(warning: &Warning, width: usize, indent: &str) -> Vec<String> {
    let text = visible(&warning.to_string());
    wrap(&text, width, &format!("{indent}warning: "), &format!("{indent}  "))
}

/// Whether everything can be read exactly; the last line is the conclusion.
fn verdict(total: &Counts, collections: usize) -> Vec<String> {
    let Counts { records, rounded, salvaged, missing, inexact, .. } = total;
    if collections == 0 {
        return vec!["There are no collections.".to_owned()];
    }
    if *records == 0 {
        return vec!["There are no records.".to_owned()];
    }
    let mut lines = Vec::new();
    if *rounded > 0 {
        lines.push(format!(
            "Vectors stored only in a cosine index: {}, within 2 ulp of what was sent.",
            grouped(*rounded)
        ));
    }
    if *salvaged > 0 {
        lines.push(format!(
            "Vectors salvaged from a damaged index: {}. A warning says how they were assigned to records.",
            grouped(*salvaged)
        ));
    }
    let part = |number: u64, singular: &str, plural: &str| {
        let records = if *records == 1 { "record" } else { "records" };
        let verb = if number == 1 { singular } else { plural };
        format!("{} of {} {records} {verb}", grouped(number), grouped(total.records))
    };
    if *inexact > 0 {
        let cannot = part(*inexact, "cannot", "cannot");
        lines.push(format!(
            "{cannot} be read exactly: text that is not Unicode, or values that no record can hold."
        ));
    }
    if missing.total() > 0 {
        lines.push(format!("{} no vector: {}.", part(missing.total(), "has", "have"), reasons(missing)));
    }
    if missing.total() == 0 && *inexact == 0 {
        lines.push(match records {
            1 => "The only record can be read exactly, with its vector.".to_owned(),
            _ => format!("All {} records can be read exactly, each with its vector.", grouped(*records)),
        });
    }
    lines
}

/// Why vectors are missing; with numbers if there is more than one reason.
fn reasons(missing: &Missing) -> String {
    let Missing { not_stored, deleted_in_log, index_lost, undecodable, not_returned } = missing;
    let reasons = [
        (*index_lost, "index lost"),
        (*not_stored, "never stored"),
        (*deleted_in_log, "deleted, and the record added again without one"),
        (*undecodable, "stored in an invalid form"),
        (*not_returned, "not returned by the server"),
    ];
    let reasons = reasons.into_iter().filter(|(number, _)| *number > 0);
    let reasons = reasons.map(|(number, reason)| match number == missing.total() {
        true => reason.to_owned(),
        false => format!("{} {reason}", grouped(number)),
    });
    reasons.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(total: &Counts, expected: Expect) {
        expected.assert_eq(&verdict(total, 1).join("\n"));
    }

    #[test]
    fn verdict_names_counts_and_reasons() {
        check(
            &Counts { records: 1, log: 1, ..Counts::default() },
            expect!["The only record can be read exactly, with its vector."],
        );
        let missing = Missing { not_stored: 1, ..Missing::default() };
        check(
            &Counts { records: 1, missing, ..Counts::default() },
            expect!["1 of 1 record has no vector: never stored."],
        );
        let missing =
            Missing { not_stored: 1, deleted_in_log: 2, index_lost: 3000, undecodable: 4, not_returned: 0 };
        let total = Counts {
            records: 12_345,
            hnsw: 7000,
            rounded: 6000,
            salvaged: 9,
            missing,
            inexact: 5,
            log: 2329,
        };
        check(
            &total,
            expect![[r#"
                Vectors stored only in a cosine index: 6,000, within 2 ulp of what was sent.
                Vectors salvaged from a damaged index: 9. A warning says how they were assigned to records.
                5 of 12,345 records cannot be read exactly: text that is not Unicode, or values that no record can hold.
                3,007 of 12,345 records have no vector: 3,000 index lost, 1 never stored, 2 deleted, and the record added again without one, 4 stored in an invalid form."#]],
        );
    }
}
