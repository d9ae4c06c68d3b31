//! The report as JSON.

use chroma::{
    Collection, LogOverview, Orphans, Warning,
    json_lines::{MetadataOrNull, Object, WriteJson},
};

use super::report::{CollectionReport, Counts, Report};
use crate::source::Description;

/// One object.
pub(super) fn to_json(report: &Report) -> String {
    let Description { kind, oldest_version, newest_version, size_bytes, log, orphans } = &report.description;
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    object.member("source", &report.source);
    object.member("kind", *kind);
    object.object("chroma_version", |version| {
        version.member("min", oldest_version);
        version.member("max", newest_version);
    });
    object.member("size_bytes", size_bytes);
    object.member("log", &log.map(Log));
    object.objects("collections", &report.collections, collection);
    object.member("orphans", &orphans.as_ref().map(Leftovers));
    object.objects("warnings", &report.warnings, warning);
    object.close();
    String::from_utf8(out).expect("JSON of Unicode texts is Unicode")
}

fn collection(object: &mut Object<'_>, report: &CollectionReport) {
    let Collection { id, tenant, database, name, space, dimension, metadata, warnings, .. } =
        &report.collection;
    let Counts { records, log, hnsw, salvaged, missing, .. } = &report.counts;
    object.member("tenant", tenant);
    object.member("database", database);
    object.member("name", name);
    object.member("id", id);
    object.member("space", space.as_str());
    object.member("dimension", dimension);
    object.member("records", records);
    object.object("vectors", |vectors| {
        vectors.member("log", log);
        vectors.member("hnsw", hnsw);
        vectors.member("salvaged", salvaged);
    });
    object.member("missing", &missing.total());
    object.member("metadata", &MetadataOrNull(metadata));
    object.objects("warnings", warnings, warning);
}

fn warning(object: &mut Object<'_>, warning: &Warning) {
    object.member("code", warning.code.as_str());
    object.member("message", &warning.message);
}

struct Log(LogOverview);

impl WriteJson for Log {
    fn write_json(&self, out: &mut Vec<u8>) {
        let LogOverview { rows, auto_purge, hot_journal } = &self.0;
        let mut object = Object::open(out);
        object.member("rows", rows);
        object.member("auto_purge", auto_purge);
        object.member("hot_journal", hot_journal);
        object.close();
    }
}

struct Leftovers<'o>(&'o Orphans);

impl WriteJson for Leftovers<'_> {
    fn write_json(&self, out: &mut Vec<u8>) {
        let Orphans { segment_directories, segments, records, topics, log_rows } = self.0;
        let mut object = Object::open(out);
        object.member("segment_directories", segment_directories.as_slice());
        object.member("segments", segments);
        object.member("records", records);
        object.member("topics", topics);
        object.member("log_rows", log_rows);
        object.close();
    }
}
