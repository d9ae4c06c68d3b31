//! The table `vector_index_builds`, and the option `ef_construction` of HNSW indexes.
//!
//! pgvector uses the option for builds and for each insert. So an index is built with a high one, which finds more with
//! the same `ef_search`; then the option is lowered, since a search among 200 candidates would make an insert three times
//! as slow. It is raised again before the index is rebuilt.
//!
//! The process may be killed between any two steps: the transaction that changes the option also records how the current
//! file was built, so a file without a record was built with the current option.

use std::{collections::HashMap, time::Duration};

use sqlx::PgConnection;
use tokio::time::sleep;

use crate::{
    Error,
    postgres::{
        Database, Table, counted::counted, error::StatementContext as _,
        sql::vector_index::set_ef_construction, unnamed::on,
    },
};

/// pgvector's default, for indexes that do not set the option.
pub(super) const DEFAULT_EF_CONSTRUCTION: u32 = 64;
/// pgvector requires an exclusive lock on the index. While a statement waits for it, searches of the table wait too.
const LOCK_TIMEOUT: &str = "200ms";
const LOCK_INTERVAL: Duration = Duration::from_secs(2);
/// After a minute, a transaction that uses the table is a long one.
const LOCK_ATTEMPTS: u32 = 30;

impl Database {
    /// Sets the option `ef_construction` of the index `name` of `table`, and records how the index was built; the caller
    /// holds the lock on the table's indexes.
    ///
    /// # Errors
    /// When a statement fails; [`Error::is_locked`] if transactions use the index for too long.
    pub async fn set_ef_construction(
        &self,
        table: &Table,
        name: &str,
        ef_construction: u32,
    ) -> Result<(), Error> {
        let mut attempts = 1;
        loop {
            let set = self
                .in_transaction(async |connection| set(connection, table, name, ef_construction).await)
                .await;
            match set {
                Err(error) if error.is_locked() && attempts < LOCK_ATTEMPTS => attempts += 1,
                set => return set,
            }
            sleep(LOCK_INTERVAL).await;
        }
    }

    /// The same; if transactions use the index for too long, it is left to the next plan, with a warning.
    pub(super) async fn lower_ef_construction(
        &self,
        table: &Table,
        name: &str,
        ef_construction: u32,
    ) -> Result<(), Error> {
        match self.set_ef_construction(table, name, ef_construction).await {
            Err(error) if error.is_locked() => {
                log::warn!(
                    "table {}: other transactions have used index {name} for a minute, so its ef_construction could not be set to {ef_construction}: inserts take longer until the next plan does it",
                    table.name
                );
                Ok(())
            }
            set => set,
        }
    }
}

async fn set(
    connection: &mut PgConnection,
    table: &Table,
    name: &str,
    ef_construction: u32,
) -> Result<(), Error> {
    const OPERATION: &str = "set the option ef_construction of an index";
    sqlx::query!("select set_config('lock_timeout', $1, true) as timeout", LOCK_TIMEOUT)
        .fetch_one(on(connection))
        .await
        .during(OPERATION)?;
    let found = sqlx::query!(
        r#"
        select
            coalesce(pg_relation_filenode(oid)::bigint, 0) as "build!",
            (
                select max(option_value::int)
                from pg_options_to_table(reloptions)
                where option_name = 'ef_construction'
            ) as ef_construction,
            -- Loads pgvector into this session, which otherwise would not know which lock the option requires.
            pg_index_has_property(oid, 'clusterable') as has_property
        from pg_class
        where oid = to_regclass(quote_ident($1))
        "#,
        name
    )
    .fetch_optional(on(connection))
    .await
    .during(OPERATION)?;
    // Before the record: while the lock is held, the index cannot be rebuilt.
    sqlx::query(set_ef_construction(name, ef_construction))
        .execute(on(connection))
        .await
        .during(OPERATION)?;
    let Some(found) = found else { return Ok(()) };
    sqlx::query!(
        r#"
        delete from vector_index_builds
        where table_name = $1
            and build not in (
                select coalesce(pg_relation_filenode(indexrelid)::bigint, 0)
                from pg_index
                where indrelid = to_regclass(quote_ident($1))
            )
        "#,
        table.name
    )
    .execute(on(connection))
    .await
    .during(OPERATION)?;
    sqlx::query!(
        r#"
        insert into vector_index_builds (table_name, build, ef_construction)
        values ($1, $2, $3)
        on conflict (table_name, build) do nothing
        "#,
        table.name,
        found.build,
        found.ef_construction.unwrap_or(DEFAULT_EF_CONSTRUCTION.cast_signed())
    )
    .execute(on(connection))
    .await
    .during(OPERATION)?;
    Ok(())
}

/// The `ef_construction` with which the indexes of `table` were built, by their files, as far as recorded.
pub(super) async fn built_with(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<HashMap<i64, u32>, Error> {
    const OPERATION: &str = "read how the indexes of a table were built";
    // Searches do not need it: a role that only searches may lack the privilege on a table that was added later.
    let is_readable = sqlx::query_scalar!(
        r#"select coalesce(has_table_privilege(to_regclass('vector_index_builds')::oid, 'select'), false) as "is_readable!""#
    )
    .fetch_one(on(connection))
    .await
    .during(OPERATION)?;
    if !is_readable {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"
        select build, ef_construction
        from vector_index_builds
        where table_name = $1 and num_nulls(build, ef_construction) = 0
        "#,
        table.name
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    // An impossible value is ignored.
    Ok(rows.into_iter().filter_map(|row| Some((row.build, counted(row.ef_construction).ok()?))).collect())
}
