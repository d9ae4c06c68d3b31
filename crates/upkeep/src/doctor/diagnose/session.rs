//! The database in our sessions: its encoding, the schema of pgvector's types, and shared memory.

use store::postgres::{Vectors, schema_version};

use super::{megabytes, sql};
use crate::doctor::{Examination, Finding, Remedy, Severity};

/// A parallel build of an HNSW index shares all the memory that it uses.
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
            "create another one with `create database … encoding 'UTF8' template template0`, move the data \
                by pg_dump, and use that"
                .to_owned(),
        )
    };
    match examination.server.session.encoding.as_str() {
        "UTF8" => None,
        "SQL_ASCII" => {
            let what = "the database's encoding is SQL_ASCII, which does not validate texts: Panopticon \
                requires UTF8, stores nothing here, and examined no table";
            finding(Severity::Error, "encoding_not_utf8", what.to_owned(), remedy())
        }
        encoding => {
            let what = format!(
                "the database's encoding is {encoding}, which cannot represent every text: Panopticon \
                    requires UTF8, and stores nothing here"
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
                "pgvector is in schema `{schema}`, which is not in the search_path of role `{role}`: \
                    Panopticon's transactions add it, but other programs of the role do not find its types"
            );
            let remedy = session.search_there().map(sql)?;
            finding(Severity::Note, "pgvector_not_searched", what, remedy)
        }
        Vectors::Forbidden { schema } => {
            let what = format!(
                "pgvector is in schema `{schema}`, which role `{role}` may not use: vectors can be neither \
                    stored nor searched, and no table was examined"
            );
            finding(Severity::Error, "pgvector_forbidden", what, sql(session.grant_usage(schema)))
        }
        Vectors::Hidden { schema, by } => {
            let what = format!(
                "a type of schema `{by}` hides pgvector's, which is in schema `{schema}`: vectors can be \
                    neither stored nor searched, and no table was examined"
            );
            let advice = "rename it: a table named `vector` or `halfvec` creates such a type";
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
        "/dev/shm has {}: an index whose parallel build needs more is built without parallel workers, which \
            takes longer",
        megabytes(limit)
    );
    let advice = "give the server's container more: `docker run --shm-size=1g`, or `shm_size: 1g` in compose";
    finding(Severity::Note, "shared_memory_small", what, Remedy::Advice(advice.to_owned()))
}
