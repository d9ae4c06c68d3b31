//! Builds, drops and renames vector indexes, in one transaction or concurrently, and reports the progress.

use std::{fmt, time::Duration};

use super::{
    IndexDefinition, IndexKind, Precision,
    observe::{cores, meminfo_kb},
};
use crate::{
    Error,
    postgres::{
        Database, Table,
        error::StatementContext as _,
        sql::{
            self, Build,
            maintenance::reindex_concurrently,
            vector_index::{create_vector_index, end_with_client, rename_index},
        },
        unnamed::on,
    },
};

/// How often the progress of a build is read.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// PostgreSQL's limit is the number of its worker processes, eight by default.
const MAX_BUILD_WORKERS: usize = 8;
/// PostgreSQL's default; each worker of a parallel build needs half of it.
const MIN_BUILD_MEMORY_KB: u64 = 64 << 10;
/// More memory did not measurably speed up IVFFlat builds.
const MAX_SORT_MEMORY_KB: u64 = 2 << 20;
/// The share (one over this) of the free memory that an IVFFlat build may use for sorting.
const FREE_SORT_SHARE: u64 = 4;
/// The share for an HNSW build, which is many times slower if the graph does not fit into memory.
const FREE_GRAPH_SHARE: u64 = 2;

/// A change of a table's vector indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexChange {
    /// Drop an index, if it exists.
    Drop {
        /// Its name.
        name: String,
    },
    /// Build one.
    Build {
        /// Its name, which must be unused.
        name: String,
        /// What it is.
        definition: IndexDefinition,
    },
    /// Give an index another name.
    Rename {
        /// Its name.
        from: String,
        /// The new name, which must be unused by then.
        to: String,
    },
    /// Set the option `ef_construction` of an HNSW index, and record how it was built.
    SetConstruction {
        /// Its name.
        name: String,
        /// The option.
        ef_construction: u32,
    },
}

/// The number of parallel workers of an index build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum Workers {
    /// As many as there are cores.
    Parallel,
    /// None, because there is too little shared memory.
    Without,
}

/// Called with the completed and the total rows during an index build.
pub type BuildProgress<'a> = &'a (dyn Fn(u64, u64) + Sync);

impl Database {
    /// Makes `changes` to the vector indexes of `table`, which has about `rows` rows, in order; the caller holds the
    /// lock on the table's indexes ([`lock_indexes`](Self::lock_indexes)). They are one transaction, except for options,
    /// unless they are made concurrently: then the changes before an error are kept, and a build that fails leaves an
    /// invalid index.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn change_indexes(
        &self,
        table: &Table,
        rows: u64,
        changes: &[IndexChange],
        build: Build,
        progress: BuildProgress<'_>,
    ) -> Result<(), Error> {
        let is_of_relations = |change: &IndexChange| !matches!(change, IndexChange::SetConstruction { .. });
        // Concurrent changes are separate, so that completed ones are kept.
        let parts = changes
            .chunk_by(|one, other| build == Build::Alone && is_of_relations(one) && is_of_relations(other));
        for part in parts {
            if let [IndexChange::SetConstruction { name, ef_construction }] = part {
                self.lower_ef_construction(table, name, *ef_construction).await?;
                continue;
            }
            let built = self.change_with((table, rows), part, build, Workers::Parallel, progress).await;
            self.or_without_workers(table, built, async || {
                // The invalid index of a concurrent build that failed.
                if let (Build::Concurrently, [IndexChange::Build { name, .. }]) = (build, part) {
                    self.run_alone("drop an index", vec![sql::drop_index(name, build)]).await?;
                }
                self.change_with((table, rows), part, build, Workers::Without, progress).await
            })
            .await?;
        }
        Ok(())
    }

    async fn change_with(
        &self,
        (table, rows): (&Table, u64),
        changes: &[IndexChange],
        build: Build,
        workers: Workers,
        progress: BuildProgress<'_>,
    ) -> Result<(), Error> {
        let needed_kb = changes.iter().map(|change| match change {
            IndexChange::Build { definition, .. } => {
                build_memory_kb(*definition, rows, table.dimension, self.free_memory_kb())
            }
            IndexChange::Drop { .. } | IndexChange::Rename { .. } | IndexChange::SetConstruction { .. } => 0,
        });
        let needed_kb = needed_kb.max().unwrap_or(0);
        let schema = self.vector_schema();
        let statements = changes
            .iter()
            .filter_map(|change| match change {
                IndexChange::Drop { name } => Some(sql::drop_index(name, build)),
                IndexChange::Build { name, definition } => {
                    Some(create_vector_index(table, name, *definition, build, schema.as_deref()))
                }
                IndexChange::Rename { from, to } => Some(rename_index(from, to)),
                // In a transaction of its own.
                IndexChange::SetConstruction { .. } => None,
            })
            .collect();
        self.build_watched((table, rows), (needed_kb, workers), statements, build, progress).await
    }

    /// Builds the missing indexes, except the vector index, of a table that belongs to a service or has a vector index. The
    /// caller holds the lock on the table's indexes.
    ///
    /// # Errors
    /// When one cannot be built.
    pub async fn build_other_indexes(
        &self,
        table: &Table,
        rows: u64,
        build: Build,
        progress: BuildProgress<'_>,
    ) -> Result<(), Error> {
        let statements = self.index_statements(table, build).await?;
        let settings = (0, Workers::Parallel);
        let built = self.build_watched((table, rows), settings, statements, build, progress).await;
        self.or_without_workers(table, built, async || {
            let statements = self.index_statements(table, build).await?;
            let settings = (0, Workers::Without);
            self.build_watched((table, rows), settings, statements, build, progress).await
        })
        .await
    }

    /// Rebuilds the index `name` of `table` with its definition, without the entries of dead rows, while it is in use;
    /// the caller holds the lock on the table's indexes. If it is killed, it leaves an invalid index with the suffix
    /// `_ccnew` or `_ccold`, or the option with which the index is built.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn rebuild_index(
        &self,
        table: &Table,
        rows: u64,
        index: (&str, IndexDefinition),
        progress: BuildProgress<'_>,
    ) -> Result<(), Error> {
        let (name, definition) = index;
        let needed_kb = build_memory_kb(definition, rows, table.dimension, self.free_memory_kb());
        let rebuild = async |workers| {
            let statements = vec![reindex_concurrently(name)];
            let settings = (needed_kb, workers);
            self.build_watched((table, rows), settings, statements, Build::Concurrently, progress).await
        };
        if let IndexKind::Hnsw { ef_construction, .. } = definition.kind {
            self.set_ef_construction(table, name, ef_construction).await?;
        }
        let rebuilt = rebuild(Workers::Parallel).await;
        let rebuilt = self.or_without_workers(table, rebuilt, async || {
            self.drop_leftovers(table).await?;
            rebuild(Workers::Without).await
        });
        let rebuilt = rebuilt.await;
        if let IndexKind::Hnsw { ef_insert, .. } = definition.kind {
            self.lower_ef_construction(table, name, ef_insert).await?;
        }
        rebuilt
    }

    /// Runs `again`, with a warning, if `done` failed because the server has too little shared memory.
    pub(in crate::postgres) async fn or_without_workers(
        &self,
        table: &Table,
        done: Result<(), Error>,
        again: impl AsyncFnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        match done {
            Err(error) if error.is_short_of_shared_memory() => {
                log::warn!(
                    "table {}: the server has too little shared memory for a parallel build ({}); building again without parallel workers, which takes longer. Start its container with --shm-size=1g (`shm_size: 1g` in compose)",
                    table.name,
                    Chain(&error)
                );
                again().await
            }
            done => done,
        }
    }

    /// Drops the indexes that failed rebuilds of the indexes of `table` have left; the caller holds the lock on its
    /// indexes.
    async fn drop_leftovers(&self, table: &Table) -> Result<(), Error> {
        let leftovers = sqlx::query_scalar!(
            r#"
            select relation.relname::text as "name!"
            from pg_index index
            join pg_class relation on relation.oid = index.indexrelid
            where index.indrelid = to_regclass(quote_ident($1))
                and not index.indisvalid
                and relation.relname ~ '_ccnew[0-9]*$'
            "#,
            table.name
        )
        .fetch_all(self)
        .await
        .during("look for indexes left by a rebuild")?;
        let drops = leftovers.iter().map(|name| sql::drop_index(name, Build::Concurrently)).collect();
        self.run_alone("drop what a rebuild has left", drops).await
    }

    /// Refreshes the planner's statistics of `table`.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn analyze(&self, table: &Table) -> Result<(), Error> {
        self.gather_statistics(&table.name, &[]).await
    }

    /// Ends abandoned builds of the index `name` and rebuilds of any index of `table`, which were started by
    /// processes of ours that no longer exist: the caller holds the lock on the table's indexes, so no other process
    /// needs them.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn end_orphaned_builds(&self, table: &Table, name: &str) -> Result<(), Error> {
        const OPERATION: &str = "end an abandoned index build";
        loop {
            let ended = sqlx::query_scalar!(
                r#"
                select pg_cancel_backend(building.pid) as "is_cancelled!"
                from pg_stat_progress_create_index building
                where building.relid = to_regclass(quote_ident($1))
                    and (
                        building.index_relid = to_regclass(quote_ident($2))
                        or building.command = 'REINDEX CONCURRENTLY'
                            and exists (
                                select from pg_stat_activity session
                                where session.pid = building.pid and session.application_name = 'panopticon'
                            )
                    )
                    and building.datname = current_database()
                "#,
                table.name,
                name
            )
            .fetch_all(self)
            .await
            .during(OPERATION)?;
            if ended.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }

    async fn build_watched(
        &self,
        (table, rows): (&Table, u64),
        (needed_kb, workers): (u64, Workers),
        statements: Vec<sql::Sql>,
        build: Build,
        progress: BuildProgress<'_>,
    ) -> Result<(), Error> {
        if statements.is_empty() {
            return Ok(());
        }
        let mut all = vec![end_with_client()];
        if needed_kb > 0 {
            let memory_kb = needed_kb.max(self.maintenance_memory_kb().await?);
            all.push(sql::set_build_memory(build, memory_kb));
        }
        match workers {
            Workers::Parallel if needed_kb > 0 => {
                all.push(sql::set_build_workers(build, cores().min(MAX_BUILD_WORKERS)))
            }
            Workers::Parallel => {}
            Workers::Without => all.push(sql::set_build_workers(build, 0)),
        }
        all.extend(statements);
        tokio::select! {
            built = self.run_build(all, build) => built,
            never = self.watch_build(table, rows, progress) => match never? {},
        }
    }

    async fn run_build(&self, statements: Vec<sql::Sql>, build: Build) -> Result<(), Error> {
        const OPERATION: &str = "build the indexes of a table";
        match build {
            Build::Alone => {
                self.in_transaction(async |connection| {
                    for statement in statements {
                        sqlx::query(statement).execute(on(connection)).await.during(OPERATION)?;
                    }
                    Ok(())
                })
                .await
            }
            // The settings are for the session, which ends afterwards. If a pooler runs the statements on different
            // connections, the error of the build names the missing setting.
            Build::Concurrently => self.run_alone(OPERATION, statements).await,
        }
    }

    /// Reports the progress of the build until it is dropped.
    async fn watch_build(
        &self,
        table: &Table,
        rows: u64,
        progress: BuildProgress<'_>,
    ) -> Result<std::convert::Infallible, Error> {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            // IVFFlat builds report tuples, HNSW builds only blocks.
            let done = sqlx::query_scalar!(
                r#"
                select coalesce(
                    tuples_done::float8 / nullif(tuples_total, 0), blocks_done::float8 / nullif(blocks_total, 0), 0
                ) as "done!"
                from pg_stat_progress_create_index
                where relid = to_regclass(quote_ident($1)) and datname = current_database()
                "#,
                table.name
            )
            .fetch_optional(self)
            .await
            .during("read the progress of an index build")?;
            if let Some(done) = done {
                progress((done.clamp(0.0, 1.0) * rows as f64) as u64, rows);
            }
        }
    }

    async fn maintenance_memory_kb(&self) -> Result<u64, Error> {
        let memory_kb = sqlx::query_scalar!(
            r#"select setting::bigint as "setting!" from pg_settings where name = 'maintenance_work_mem'"#
        )
        .fetch_one(self)
        .await
        .during("read a setting")?;
        Ok(memory_kb.unsigned_abs())
    }

    /// Free memory of the server's machine, if it is this one.
    fn free_memory_kb(&self) -> Option<u64> {
        if self.is_local() { meminfo_kb("MemAvailable:") } else { None }
    }
}

/// An error with its causes, on one line.
struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = std::error::Error::source(self.0);
        source.map_or(Ok(()), |source| f.write_str(&source.to_string().replace('\n', " ")))
    }
}

impl IndexDefinition {
    /// About how large an index of `rows` vectors of `dimension` components is. A graph takes a page of 8 kB for as
    /// many vectors as fit, so that it is up to twice its vectors.
    pub fn estimated_bytes(self, rows: u64, dimension: usize) -> u64 {
        let vector = self.vector_bytes(dimension);
        match self.kind {
            IndexKind::Ivfflat { lists } => rows * (vector + 24) + u64::from(lists) * (vector + 24),
            IndexKind::Hnsw { m, .. } => rows * (vector + graph_bytes(m, 6) + 56).max(1) * 115 / 100,
        }
    }

    fn vector_bytes(self, dimension: usize) -> u64 {
        let component = match self.precision {
            Precision::Full => 4,
            Precision::Half => 2,
        };
        8 + component * dimension as u64
    }
}

/// Bytes of a row's neighbours, each of `neighbour` bytes: twice `m` in the lowest layer, and a few above.
fn graph_bytes(m: u32, neighbour: u64) -> u64 {
    u64::from(m) * neighbour * 9 / 4
}

/// Memory for the build. IVFFlat: the memory that pgvector's k-means requires (`ivfkmeans.c`: samples, bounds of each
/// sample for each centre, distances between centres); on our own machine also a share of the free memory, for
/// sorting. HNSW: the size of the graph (`hnswbuild.c` continues on disk if it does not fit), limited by the free
/// memory.
fn build_memory_kb(definition: IndexDefinition, rows: u64, dimension: usize, free_kb: Option<u64>) -> u64 {
    const SAMPLES_PER_LIST: u64 = 50;
    const MIN_SAMPLES: u64 = 10_000;
    match definition.kind {
        IndexKind::Ivfflat { lists } => {
            let (lists, vector_bytes) = (u64::from(lists), 16 + 4 * dimension as u64);
            let samples = (lists * SAMPLES_PER_LIST).max(MIN_SAMPLES);
            let needed = samples * (vector_bytes + 16)
                + samples * lists * 4
                + lists * lists * 8
                + lists * vector_bytes * 4;
            let needed_kb = needed / 1024 * 5 / 4 + MIN_BUILD_MEMORY_KB;
            needed_kb.max(free_kb.map_or(0, |free| (free / FREE_SORT_SHARE).min(MAX_SORT_MEMORY_KB)))
        }
        IndexKind::Hnsw { m, .. } => {
            // In memory a neighbour is a pointer and a distance, and each element has some 150 additional bytes.
            let element = definition.vector_bytes(dimension) + graph_bytes(m, 16) + 150;
            let needed_kb = rows * element / 1024 * 5 / 4 + MIN_BUILD_MEMORY_KB;
            // On another machine, only the configured limit is known.
            needed_kb.min(free_kb.map_or(0, |free| free / FREE_GRAPH_SHARE))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ivfflat_build_gets_the_memory_that_k_means_asks_for() {
        let of = |lists| IndexDefinition { kind: IndexKind::Ivfflat { lists }, precision: Precision::Full };
        // pgvector 0.8 on 1,000 lists of 384 dimensions: "memory required is 273 MB".
        assert!(build_memory_kb(of(1_000), 1_000_000, 384, None) > 273 << 10);
        assert!(build_memory_kb(of(10), 10_000, 384, None) < 100 << 10);
    }

    #[test]
    fn hnsw_build_gets_the_memory_of_the_index_but_not_all_that_is_free() {
        let kind = IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert: 64 };
        let full = IndexDefinition { kind, precision: Precision::Full };
        let needed = build_memory_kb(full, 100_000, 384, Some(100 << 20));
        assert!((200 << 10..400 << 10).contains(&needed), "{needed}");
        assert_eq!(build_memory_kb(full, 100_000, 384, Some(100 << 10)), 50 << 10);
        assert_eq!(build_memory_kb(full, 100_000, 384, None), 0, "the server's own setting is what counts");
    }

    #[test]
    fn sizes_are_near_those_that_were_measured() {
        // 50,000 vectors of 384 components: 98 MB in a graph; 20,000 of half precision: 22 MB, of full 39 MB.
        let size = |precision, rows| {
            let kind = IndexKind::Hnsw { m: 16, ef_construction: 64, ef_insert: 64 };
            IndexDefinition { kind, precision }.estimated_bytes(rows, 384) >> 20
        };
        assert!((78..=117).contains(&size(Precision::Full, 50_000)), "{}", size(Precision::Full, 50_000));
        assert!((17..=27).contains(&size(Precision::Half, 20_000)), "{}", size(Precision::Half, 20_000));
    }
}
