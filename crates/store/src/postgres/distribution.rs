//! Distributes tables over the workers of Citus while they are in use, and collects their rows again.

use sqlx::PgConnection;

use super::{
    Database,
    relations::has_table,
    sql::{
        self,
        distribution::{distribute, remove_leftover_rows, undistribute},
    },
    unnamed::on,
};
use crate::{Error, postgres::error::StatementContext as _};

const READ: &str = "read where tables are stored";
const OPERATION: &str = "distribute a table";

/// Where the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the database itself.
    Local,
    /// Known to Citus and in one piece, as after an interrupted distribution.
    Whole,
    /// On the workers.
    Distributed {
        /// The number of shards.
        shards: u32,
        /// Whether the rows are also still stored where they were before.
        has_leftover: bool,
    },
}

impl Database {
    /// Checks that tables can be distributed from here, and returns the number of workers.
    ///
    /// # Errors
    /// [`Error::NotDistributable`] with the reason and its fix.
    pub async fn active_workers(&self) -> Result<u32, Error> {
        let refused = |reason: &str| Err(Error::NotDistributable { reason: reason.to_owned() });
        if !self.has_citus() {
            return refused(
                "the database has no Citus: install it on all servers, and run `create extension citus` in \
                    this database on each",
            );
        }
        self.in_transaction(async |connection| {
            let is_coordinator: bool = sqlx::query_scalar("select citus_is_coordinator()")
                .fetch_one(on(connection))
                .await
                .during(READ)?;
            if !is_coordinator {
                return refused("this server is a worker: use the URL of the coordinator");
            }
            let workers: i64 = sqlx::query_scalar("select count(*) from citus_get_active_worker_nodes()")
                .fetch_one(on(connection))
                .await
                .during(READ)?;
            let workers = u32::try_from(workers).unwrap_or(u32::MAX);
            if workers == 0 {
                return refused("there is no active worker: add one by `select citus_add_node('HOST', 5432)`");
            }
            let versions: Vec<(String, i32, Option<String>)> = sqlx::query_as(
                "select nodename, nodeport, case when success then result end
                from run_command_on_all_nodes('select extversion from pg_extension where extname = ''vector''')
                join pg_dist_node using (nodeid)
                order by 1, 2",
            )
            .fetch_all(on(connection))
            .await
            .during(READ)?;
            let Some(expected) = versions.iter().find_map(|(.., version)| version.as_deref()) else {
                return refused("no server has pgvector: run `create extension vector` in this database on each");
            };
            for (host, port, version) in &versions {
                let found = version.as_deref().unwrap_or("none");
                if found != expected {
                    return refused(&format!(
                        "expected pgvector {expected} on {host}:{port}, found {found}: install the same version on \
                            all servers, and run `create extension vector` or `alter extension vector update` in \
                            this database on each"
                    ));
                }
            }
            Ok(workers)
        })
        .await
    }

    /// Where the rows of the table `name` are; `None` if there is no such table.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn placement(&self, name: &str) -> Result<Option<Placement>, Error> {
        self.in_transaction(async |connection| {
            if !has_table(connection, name).await.during(READ)? {
                return Ok(None);
            }
            if !has_table(connection, "pg_dist_partition").await.during(READ)? {
                return Ok(Some(Placement::Local));
            }
            placement(connection, name).await.map(Some)
        })
        .await
    }

    /// Distributes the table `name` by its ids over `shards`, or completes that, while the table is in use.
    ///
    /// # Errors
    /// [`Error::Locked`] or [`Error::IndexesLocked`] when a migration or an index build is running; when a statement
    /// fails. Run again, it resumes.
    pub async fn distribute(&self, name: &str, shards: u32) -> Result<(), Error> {
        let statements = match self.placement(name).await? {
            None => return Err(Error::NoTable { table: name.to_owned() }),
            Some(Placement::Local | Placement::Whole) => {
                vec![distribute(name, shards), remove_leftover_rows(name), sql::analyze(name)]
            }
            Some(Placement::Distributed { has_leftover: true, .. }) => {
                vec![remove_leftover_rows(name), sql::analyze(name)]
            }
            Some(Placement::Distributed { .. }) => return Ok(()),
        };
        self.run_locked(name, statements).await
    }

    /// Stores the table `name` in the database itself again. It is locked meanwhile.
    ///
    /// # Errors
    /// As for [`distribute`](Self::distribute).
    pub async fn undistribute(&self, name: &str) -> Result<(), Error> {
        match self.placement(name).await? {
            None => Err(Error::NoTable { table: name.to_owned() }),
            Some(Placement::Local) => Ok(()),
            Some(_) => self.run_locked(name, vec![undistribute(name), sql::analyze(name)]).await,
        }
    }

    async fn run_locked(&self, name: &str, statements: Vec<sql::Sql>) -> Result<(), Error> {
        let (mut table, mut indexes) = (self.lock_table(name).await?, self.lock_indexes(name).await?);
        table.hold(indexes.hold(self.run_alone(OPERATION, statements))).await?;
        indexes.release().await?;
        table.release().await
    }
}

async fn placement(connection: &mut PgConnection, name: &str) -> Result<Placement, Error> {
    let (method, shards, bytes): (Option<String>, i64, i64) = sqlx::query_as(
        "select
            (select partmethod::text from pg_dist_partition where logicalrelid = relation),
            (select count(*) from pg_dist_shard where logicalrelid = relation),
            pg_relation_size(relation)
        from to_regclass(quote_ident($1)) as relation",
    )
    .bind(name)
    .fetch_one(on(connection))
    .await
    .during(READ)?;
    Ok(match method.as_deref() {
        None => Placement::Local,
        Some("h") => Placement::Distributed {
            shards: u32::try_from(shards).unwrap_or(u32::MAX),
            has_leftover: bytes > 0,
        },
        Some(_) => Placement::Whole,
    })
}
