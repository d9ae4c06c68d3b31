//! The databases of the contest, by psql, whose `\timing` is the server's answer time.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bench::psql;
use provision::Server;

use crate::ours::TABLE;

/// The table that all but us fill.
pub(super) const CONTEST: &str = "contest";

/// A database of our own server.
pub(super) struct Database<'s> {
    server: &'s Server,
    name: String,
}

impl<'s> Database<'s> {
    /// An empty one, in place of any of this name.
    pub(super) fn create(server: &'s Server, name: &str) -> Result<Self> {
        Self::create_from(server, name, "template1")
    }

    /// One with the migrated table's definition for [`Self::make_contest_table`], without rows and vector indexes.
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

    /// Drops it, if it is there.
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

    /// Writes all changes to the table files, so that whoever comes next does not pay for them.
    pub(super) fn checkpoint(&self) -> Result<()> {
        self.run("checkpoint").map(drop)
    }

    /// Has the server write the migrated rows into a file.
    pub(super) fn export(&self) -> Result<PathBuf> {
        // The server can write there whatever its account is.
        let file = PathBuf::from(self.run("show data_directory")?).join("bench.copy");
        self.run(&format!("copy {TABLE} to '{}' with (format binary)", file.display()))?;
        Ok(file)
    }

    /// Has the server read the file into the contest's table; returns the seconds.
    pub(super) fn copy_from(&self, file: &Path) -> Result<f64> {
        let copy = format!("copy {CONTEST} from '{}' with (format binary)", file.display());
        let output = self.psql(&["\\timing on", &copy])?;
        let time = output.lines().find_map(|line| line.strip_prefix("Time: ")?.split(' ').next());
        let milliseconds: f64 = time.with_context(|| format!("no time in `{output}`"))?.parse()?;
        Ok(milliseconds / 1e3)
    }

    /// An empty table of the migrated one's definition.
    pub(super) fn make_contest_table(&self) -> Result<()> {
        self.drop_contest_table()?;
        self.run(&format!("create table {CONTEST} (like {TABLE} including all)"))?;
        self.checkpoint()
    }

    /// Frees its space.
    pub(super) fn drop_contest_table(&self) -> Result<()> {
        self.run(&format!("drop table if exists {CONTEST}")).map(drop)
    }

    /// Number and content of a table's rows, whatever their order. Times are not compared: only a directory's reader
    /// knows them.
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
