//! The description of a backup: `manifest.json`, next to the dump.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, anyhow};
use rustix::fs::OFlags;
use serde_json::{Value, json};
use store::postgres::{StoredTable, TableContents};

/// Name of the manifest in the folder of a backup.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Name of the dump: the custom format of `pg_dump`.
pub(crate) const DUMP: &str = "database.dump";

/// Raised when an older program could not restore what a newer one writes.
const FORMAT: u64 = 1;

/// More than the tables of any database that PostgreSQL handles well.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;

/// What a backup contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// In UTC, as RFC 3339.
    pub(crate) created_at: String,
    /// Version of Panopticon.
    pub(crate) panopticon: String,
    /// Version of the schema; `None` for a database that no service and no migration has used.
    pub(crate) schema_version: Option<i64>,
    /// Version of the server.
    pub(crate) postgresql: String,
    /// The schema of pgvector, which the dump lacks: `pg_dump` takes it for a part of the embedded server. `None` without it.
    pub(crate) pgvector_schema: Option<String>,
    pub(crate) dump_bytes: u64,
    /// In hexadecimal digits.
    pub(crate) dump_sha256: String,
    pub(crate) tables: Vec<(StoredTable, TableContents)>,
}

impl Manifest {
    pub(crate) fn to_json(&self) -> Value {
        let tables = self.tables.iter().map(|(table, contents)| {
            json!({
                "schema": table.schema,
                "table": table.name,
                "rows": contents.rows,
                "digest": contents.digest,
            })
        });
        json!({
            "format": FORMAT,
            "created_at": self.created_at,
            "panopticon": self.panopticon,
            "schema_version": self.schema_version,
            "postgresql": self.postgresql,
            "pgvector_schema": self.pgvector_schema,
            "dump": { "file": DUMP, "bytes": self.dump_bytes, "sha256": self.dump_sha256 },
            "tables": tables.collect::<Vec<_>>(),
        })
    }

    /// Reads the manifest of the backup in `folder`.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let mut text = String::new();
        open_regular(&path)
            .and_then(|file| file.take(MAX_MANIFEST_BYTES).read_to_string(&mut text))
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    anyhow!("`{}` is not a complete backup: it has no {MANIFEST}", folder.display())
                }
                _ => anyhow!(error).context(format!("failed to read `{}`", path.display())),
            })?;
        let json = serde_json::from_str(&text).context("it is not JSON");
        json.and_then(|json| Self::of(&json)).with_context(|| format!("`{}` cannot be used", path.display()))
    }

    fn of(json: &Value) -> anyhow::Result<Self> {
        let format = number(json, "format")?;
        if format != FORMAT {
            return Err(anyhow!(
                "expected format {FORMAT}, found {format}: restore it with the version of panopticon that made it, or a newer one"
            ));
        }
        let tables = json["tables"].as_array().context("expected a list `tables`")?;
        Ok(Self {
            created_at: text(json, "created_at")?,
            panopticon: text(json, "panopticon")?,
            schema_version: match &json["schema_version"] {
                Value::Null => None,
                version => Some(version.as_i64().context("expected a number `schema_version`")?),
            },
            postgresql: text(json, "postgresql")?,
            pgvector_schema: match json.get("pgvector_schema") {
                // Of an earlier version.
                None => Some("public".to_owned()),
                Some(Value::Null) => None,
                Some(_) => Some(text(json, "pgvector_schema")?),
            },
            dump_bytes: number(&json["dump"], "bytes")?,
            dump_sha256: text(&json["dump"], "sha256")?,
            tables: tables.iter().map(table).collect::<anyhow::Result<_>>()?,
        })
    }

    /// Rows of all tables.
    pub(crate) fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, contents)| contents.rows).fold(0, u64::saturating_add)
    }
}

/// Opens the regular file at `path`; does not wait for the writer of a pipe.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn table(json: &Value) -> anyhow::Result<(StoredTable, TableContents)> {
    let table = StoredTable { schema: text(json, "schema")?, name: text(json, "table")? };
    Ok((table, TableContents { rows: number(json, "rows")?, digest: text(json, "digest")? }))
}

fn text(json: &Value, name: &str) -> anyhow::Result<String> {
    json[name].as_str().map(str::to_owned).with_context(|| format!("expected a text `{name}`"))
}

fn number(json: &Value, name: &str) -> anyhow::Result<u64> {
    json[name].as_u64().with_context(|| format!("expected a number `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            created_at: "2026-11-29T12:00:00Z".to_owned(),
            panopticon: "0.1.0".to_owned(),
            schema_version: Some(20_261_129_113_300),
            postgresql: "18.6".to_owned(),
            pgvector_schema: Some("ext".to_owned()),
            dump_bytes: 12,
            dump_sha256: "00ff".to_owned(),
            tables: vec![(
                StoredTable { schema: "public".to_owned(), name: "odd \"name\"".to_owned() },
                TableContents { rows: 3, digest: "-17".to_owned() },
            )],
        }
    }

    #[test]
    fn manifest_is_read_as_written() {
        for schema_version in [None, Some(7)] {
            let manifest = Manifest { schema_version, ..manifest() };
            assert_eq!(Manifest::of(&manifest.to_json()).expect("it reads"), manifest);
        }
    }

    #[test]
    fn manifest_with_a_wrong_field_is_refused() {
        let written = manifest().to_json();
        let fields = [
            "created_at",
            "panopticon",
            "schema_version",
            "postgresql",
            "pgvector_schema",
            "dump",
            "tables",
            "format",
        ];
        for field in fields {
            let mut json = written.clone();
            json[field] = json!([{}]);
            let error = Manifest::of(&json).expect_err(field);
            assert!(error.to_string().contains("expected"), "{error}");
        }
        let mut newer = written;
        newer["format"] = json!(2);
        let error = Manifest::of(&newer).expect_err("it is newer").to_string();
        assert!(error.contains("found 2") && error.contains("newer"), "{error}");
    }
}
