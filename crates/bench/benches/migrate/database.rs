//! The databases of the contest, through psql, whose `\timing` measures the server's response time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bench::psql;
use provision::Server;

use crate::ours::TABLE;

/// The table that all contestants but ours fill.
pub(super) const CONTEST: &str = "contest";

/// A database of our own server.
pub(super) struct Database<'s> {
    server: &'s Server,
    name: String,
}

impl<'s> Database<'s> {
    /// An empty database, which replaces any of this name.
    pub(super) fn create(server: &'s Server, name: &str) -> Result<Self> {
        Self::create_from(server, name, "template1")
    }

    /// A database with the migrated table's definition, for [`Self::make_contest_table`]; no rows, no vector indexes.
    pub(super) fn create_like(server: &'s Server, name: &str, migrated: &Self) -> Result<Self> {
        let database = Self::create_from(server, name, &migrated.name)?;
        database.run(&format!(
            "truncate {TABLE}; do $$ declare name regclass; begin
                for name in select i.indexrelid::regclass from pg_index i
                    join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
                    where i.indrelid = '{TABLE}'::regclass and m.amname in ('ivfflat', 'hnsw')
                loop execute format('drop index %s', name); end loop; end $$"
        ))?;
        Ok(database)
    }

    fn create_from(server: &'s Server, name: &str, template: &str) -> Result<Self> {
        let database = Self { server, name: name.to_owned() };
        database.drop()?;
        database.admin().run(&format!("create database {name} template {template}"))?;
        database.checkpoint()?;
        Ok(database)
    }

    /// Drops it if it exists.
    pub(super) fn drop(&self) -> Result<()> {
        self.admin().run(&format!("drop database if exists {} with (force)", self.name)).map(drop)
    }

    fn admin(&self) -> Self {
        Self { server: self.server, name: "postgres".to_owned() }
    }

    /// Its URL, with the password.
    pub(super) fn url(&self) -> String {
        self.server.url_of(&self.name)
    }

    /// Runs a checkpoint, so that earlier writes do not slow the next contestant.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.run("checkpoint").map(drop)
    }

    /// Makes the server write the migrated rows to a file.
    pub(super) fn export(&self) -> Result<PathBuf> {
        // The server can write there under any account.
        let file = PathBuf::from(self.run("show data_directory")?).join("bench.copy");
        self.run(&format!("copy {TABLE} to '{}' with (format binary)", file.display()))?;
        Ok(file)
    }

    /// Makes the server copy the file into the contest's table; returns the seconds.
    pub(super) fn copy_from(&self, file: &Path) -> Result<f64> {
        let copy = format!("copy {CONTEST} from '{}' with (format binary)", file.display());
        let output = self.psql(&["\\timing on", &copy])?;
        let time = output.lines().find_map(|line| line.strip_prefix("Time: ")?.split(' ').next());
        let milliseconds: f64 = time.with_context(|| format!("no time in `{output}`"))?.parse()?;
        Ok(milliseconds / 1e3)
    }

    /// Makes an empty table with the migrated one's definition.
    pub(super) fn make_contest_table(&self) -> Result<()> {
        self.drop_contest_table()?;
        self.run(&format!("create table {CONTEST} (like {TABLE} including all)"))?;
        self.checkpoint()
    }

    /// Drops that table.
    pub(super) fn drop_contest_table(&self) -> Result<()> {
        self.run(&format!("drop table if exists {CONTEST}")).map(drop)
    }

    /// Count and digest of a table's rows, in any order. Timestamps are left out: only a directory's reader knows them.
    pub(super) fn digest(&self, table: &str) -> Result<String> {
        self.run(&format!(
            "select count(*) || ' rows, ' || sum(hashtextextended(concat_ws(' ', id, source_id, document, metadata,
                md5(vector_send(embedding))), 0)) from {table}"
        ))
    }

    fn run(&self, sql: &str) -> Result<String> {
        self.psql(&[sql])
    }

    fn psql(&self, commands: &[&str]) -> Result<String> {
        psql(self.server, &self.name, commands)
    }
}
