//! Overview of a database.

use std::{fs, io};

use rusqlite::{OptionalExtension as _, types::ValueRef};

use super::{DATABASE, Database, runs::Runs, version};
use crate::{
    error::Error,
    hnsw,
    json::{self, Json},
    overview::{Kind, LogOverview, Overview},
};

const LOG_CONFIGURATION: &str = "select config_json_str from embeddings_queue_config limit 1";

impl Database {
    pub(crate) fn overview(&self) -> Result<Overview, Error> {
        let snapshot = &self.snapshot;
        snapshot.begin_operation();
        let version = version::deduce(&snapshot.connection, &snapshot.schema);
        // Files may claim any size, so nothing here may overflow.
        let mut size_bytes: u64 = self
            .segment_directories
            .iter()
            .fold(0, |sum, id| sum.saturating_add(hnsw::stamp(&self.path, *id).size_bytes()));
        for suffix in ["", "-journal", "-wal"] {
            size_bytes = size_bytes.saturating_add(self.file_size(suffix)?);
        }
        Ok(Overview {
            kind: Kind::Sqlite,
            version: version.map_err(snapshot.error("the schema"))?,
            size_bytes,
            log: LogOverview {
                rows: self.log_runs.values().map(|Runs { rows, .. }| rows).sum(),
                auto_purge: self.auto_purge()?,
                hot_journal: self.was_rolled_back()?,
            },
            orphans: self.orphans(),
        })
    }

    fn auto_purge(&self) -> Result<Option<bool>, Error> {
        let snapshot = &self.snapshot;
        if !snapshot.schema.has_column("embeddings_queue_config", "config_json_str") {
            return Ok(Some(false));
        }
        let configuration = snapshot
            .connection
            .query_row(LOG_CONFIGURATION, [], |row| {
                Ok(match row.get_ref(0)? {
                    ValueRef::Text(json) | ValueRef::Blob(json) => json::parse(json).ok(),
                    _ => None,
                })
            })
            .optional()
            .map_err(snapshot.error("the log's configuration"))?;
        Ok(match configuration {
            // Chroma writes the row when it first opens the directory; until then, nothing was purged.
            None => Some(false),
            Some(json) => match json.as_ref().and_then(|json| json.get("automatically_purge")) {
                Some(Json::Bool(automatically_purge)) => Some(*automatically_purge),
                _ => None,
            },
        })
    }

    /// Whether the private copy had a hot journal; the other reason for a copy is WAL mode.
    fn was_rolled_back(&self) -> Result<bool, Error> {
        let snapshot = &self.snapshot;
        let mode = snapshot.connection.query_row("pragma journal_mode", [], |row| row.get::<_, String>(0));
        let mode = mode.map_err(snapshot.error("the journal mode"))?;
        Ok(snapshot.is_private_copy() && mode != "wal" && self.file_size("-journal")? > 0)
    }

    /// Size of the database or of a file next to it; 0 if it does not exist.
    fn file_size(&self, suffix: &str) -> Result<u64, Error> {
        let path = self.path.join(format!("{DATABASE}{suffix}"));
        match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::Io { operation: "look at", path, source }),
        }
    }
}
