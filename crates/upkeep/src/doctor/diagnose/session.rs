//! The database as our sessions find it: its encoding, where pgvector's types are, and the memory that processes share.

use store::postgres::{Vectors, schema_version};

use super::{megabytes, sql};
use crate::doctor::{Examination, Finding, Remedy, Severity};

/// A parallel build of a graph shares as much memory as it may take.
const ENOUGH_SHARED_BYTES: u64 = 1 << 30;

pub(super) fn diagnose(examination: &Examination) -> Vec<Finding> {
    let found =
        [encoding(examination), vectors(examination), schema(examination), shared_memory(examination)];
    found.into_iter().flatten().collect()
}

fn finding(severity: Severity, code: &'static str, what: String, remedy: Remedy) -> Option<Finding> {
    Some(Finding { severity, code, table: None, what, remedy })
}

fn encoding(examination: &Examination) -> Option<Finding> {
    let remedy = || {
        Remedy::Advice(
            "make another with `create database … encoding 'UTF8' template template0`, move what is here by pg_dump, and use that"
                .to_owned(),
        )
    };
    match examination.server.session.encoding.as_str() {
        "UTF8" => None,
        "SQL_ASCII" => {
            let what = "the database's encoding is SQL_ASCII, which checks no text: Panopticon needs UTF8, stores nothing here, and no table was looked at";
            finding(Severity::Error, "encoding_not_utf8", what.to_owned(), remedy())
        }
        encoding => {
            let what = format!(
                "the database's encoding is {encoding}, which cannot hold every text: Panopticon needs UTF8, and stores nothing here"
            );
            finding(Severity::Error, "encoding_not_utf8", what, remedy())
        }
    }
}

fn vectors(examination: &Examination) -> Option<Finding> {
    let session = &examination.server.session;
    let role = &session.role;
    match &session.vectors {
        Vectors::Absent | Vectors::Searched => None,
        Vectors::Elsewhere { schema, .. } => {
            let what = format!(
                "pgvector is in schema `{schema}`, where role `{role}` does not look: Panopticon's transactions do by themselves, other programs of the role do not find its types"
            );
            let remedy = session.search_there().map(sql)?;
            finding(Severity::Note, "pgvector_not_searched", what, remedy)
        }
        Vectors::Forbidden { schema } => {
            let what = format!(
                "pgvector is in schema `{schema}`, which role `{role}` may not use: no vector can be stored or searched for, and no table was looked at"
            );
            finding(Severity::Error, "pgvector_forbidden", what, sql(session.grant_usage(schema)))
        }
        Vectors::Hidden { schema, by } => {
            let what = format!(
                "a type of schema `{by}` hides pgvector's, which is in schema `{schema}`: no vector can be stored or searched for, and no table was looked at"
            );
            let advice = "rename it: a table `vector` or `halfvec` makes such a type";
            finding(Severity::Error, "pgvector_hidden", what, Remedy::Advice(advice.to_owned()))
        }
    }
}

fn schema(examination: &Examination) -> Option<Finding> {
    let known = schema_version();
    let found = examination.server.session.schema_version.filter(|found| *found > known)?;
    let what = format!(
        "the schema has version {found}, and this program knows versions up to {known}: all other commands refuse the database"
    );
    let advice = "upgrade panopticon, or restore a backup that this version made";
    finding(Severity::Error, "schema_newer", what, Remedy::Advice(advice.to_owned()))
}

fn shared_memory(examination: &Examination) -> Option<Finding> {
    let server = &examination.server;
    let is_posix = server.setting("dynamic_shared_memory_type").is_some_and(|kind| kind.value == "posix");
    let limit = server.shared_memory_bytes.filter(|limit| is_posix && *limit < ENOUGH_SHARED_BYTES)?;
    let what = format!(
        "/dev/shm holds {}: an index whose parallel build shares more is built without parallel workers, which takes longer",
        megabytes(limit)
    );
    let advice = "give the server's container more: `docker run --shm-size=1g`, or `shm_size: 1g` in compose";
    finding(Severity::Note, "shared_memory_small", what, Remedy::Advice(advice.to_owned()))
}
