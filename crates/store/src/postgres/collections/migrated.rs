//! Collections whose table exists already: migrated ones, and those of the services.

use std::sync::atomic::{AtomicBool, Ordering};

use records::Service;
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{CollectionError, DEFAULT_DATABASE, DEFAULT_TENANT, failing};
use crate::{
    Error,
    postgres::{
        Database, Table,
        bounded::bound,
        error::StatementContext as _,
        jobs::{Job, now},
        sql::collections::{collection_columns, count_collection_records},
        unnamed::on,
    },
};

const OPERATION: &str = "register a collection";

/// How long a service waits at most until its table can be changed.
const SERVICE_WAITS: &str = "500ms";

/// Removes the collection of `job`, whose table was dropped. A collection that another run has registered stays, without a
/// table, as does another one that shared the table.
pub(crate) async fn unregister(connection: &mut PgConnection, job: &Job) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from chroma_collections where table_name = $1 and table_name = any($2)",
        job.table_name,
        &service_tables()
    )
    .execute(on(connection))
    .await?;
    unregister_own(connection, job).await?;
    sqlx::query!(
        "update chroma_collections set table_name = null, definition = null where table_name = $1",
        job.table_name
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

/// Removes the collection of `job` if it has no rows left in its table, which is shared. One that another run has registered
/// stays, without a table.
pub(crate) async fn unregister_empty(connection: &mut PgConnection, job: &Job) -> Result<(), Error> {
    const OPERATION: &str = "unregister a collection";
    let (id, table) = (job.origin.collection_id, &job.table_name);
    let definition = sqlx::query_scalar!(
        "select definition from chroma_collections where id = $1 and table_name = $2 for update",
        id,
        table
    );
    let definition = definition.fetch_optional(on(connection)).await.during(OPERATION)?.flatten();
    let definition = definition.and_then(|definition| serde_json::from_str(&definition).ok());
    let table = definition.and_then(|definition| Table::of_collection(id, table.to_owned(), &definition));
    let Some(table) = table else { return Ok(()) };
    let count = bound(count_collection_records(&table)).fetch_one(on(connection)).await;
    if count.and_then(|row| row.try_get::<i64, _>(0)).during(OPERATION)? > 0 {
        return Ok(());
    }
    unregister_own(connection, job).await.during(OPERATION)?;
    sqlx::query!(
        "update chroma_collections set table_name = null, definition = null where id = $1 and table_name = $2",
        id,
        table.name
    )
    .execute(on(connection))
    .await
    .during(OPERATION)?;
    Ok(())
}

/// Removes the collection of `job` if its run has registered it, or its group.
async fn unregister_own(connection: &mut PgConnection, job: &Job) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        delete from chroma_collections c
        where c.id = $1 and c.table_name = $2
            and (
                c.migration_run is null
                or c.migration_run = $3
                or exists (
                    select from migration_group_jobs member
                    where member.job_id = $4 and member.group_id = c.migration_run
                )
            )
        "#,
        job.origin.collection_id,
        job.table_name,
        job.run_id,
        job.id
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

/// Whether this role may add the columns of collections to `table`, if they are missing, and write to the registry.
async fn may_register(connection: &mut PgConnection, table: &str) -> sqlx::Result<bool> {
    let allowed = sqlx::query_scalar!(
        r#"
        select (
            pg_has_role(relowner, 'usage')
            or (
                select count(*) = 2
                from pg_attribute
                where attrelid = pg_class.oid and attname in ('position', 'is_escaped') and not attisdropped
            )
        ) and (
            select bool_and(has_table_privilege(name, 'select') and has_table_privilege(name, 'insert'))
            from unnest(array['chroma_tenants', 'chroma_databases', 'chroma_collections']) as name
        ) and has_sequence_privilege('chroma_positions', 'usage') as "allowed!"
        from pg_class
        where oid = to_regclass(quote_ident($1))
        "#,
        table
    );
    Ok(allowed.fetch_optional(on(connection)).await?.unwrap_or_default())
}

/// A row of the registry.
struct Entry<'a> {
    id: Uuid,
    /// Tenant, database and collection.
    names: (&'a str, &'a str, &'a str),
    metadata: Option<&'a str>,
}

impl Entry<'_> {
    /// Adds it for `table`, to which it adds the columns of collections. Whether it is there afterwards.
    async fn add(&self, connection: &mut PgConnection, table: &Table) -> sqlx::Result<bool> {
        let Self { id, names: (tenant, database, collection), metadata } = *self;
        let has_columns = sqlx::query_scalar!(
            r#"
            select count(*) = 2 as "has_columns!"
            from pg_attribute
            where attrelid = to_regclass(quote_ident($1)) and attname in ('position', 'is_escaped')
                and not attisdropped
            "#,
            table.name
        );
        if !has_columns.fetch_one(on(connection)).await? {
            for statement in collection_columns(&table.name) {
                sqlx::raw_sql(statement).execute(&mut *connection).await?;
            }
        }
        sqlx::query!(
            "insert into chroma_tenants (name, created_at) values ($1, $2) on conflict do nothing",
            tenant,
            now()
        )
        .execute(on(connection))
        .await?;
        let is_default = tenant == DEFAULT_TENANT && database == DEFAULT_DATABASE;
        sqlx::query!(
            "insert into chroma_databases (id, tenant, name, created_at) values ($1, $2, $3, $4) on conflict do nothing",
            if is_default { Uuid::nil() } else { Uuid::new_v4() },
            tenant,
            database,
            now()
        )
        .execute(on(connection))
        .await?;
        sqlx::query!(
            r#"
            insert into chroma_collections
                (id, database_id, name, dimension, space, metadata, table_name, definition, created_at)
            select $1, id, $4, $5, $6, $7, $8, $9, $10
            from chroma_databases
            where tenant = $2 and name = $3
            on conflict do nothing
            "#,
            id,
            tenant,
            database,
            collection,
            i32::try_from(table.dimension).unwrap_or(i32::MAX),
            table.space.as_str(),
            metadata,
            table.name,
            table.definition().to_string(),
            now()
        )
        .execute(on(connection))
        .await?;
        let is_there = sqlx::query_scalar!(
            r#"select exists (select from chroma_collections where id = $1 and table_name = $2) as "is_there!""#,
            id,
            table.name
        );
        is_there.fetch_one(on(connection)).await
    }
}

impl Database {
    /// Registers the collections of the services whose tables exist, so that Chroma clients see the same records: a service
    /// may make its table at any time. Does nothing where they are registered, or their names are taken.
    ///
    /// # Errors
    /// When the database fails, or a table is in use for too long.
    pub async fn register_services(&self) -> Result<(), CollectionError> {
        static TOLD: [AtomicBool; Service::ALL.len()] =
            [const { AtomicBool::new(false) }; Service::ALL.len()];
        let unregistered = sqlx::query!(
            r#"
            select given.name as "name!", exists (
                select from chroma_collections taken
                where taken.database_id = $2 and taken.name = given.name
            ) as "is_taken!"
            from unnest($1::text[]) given (name)
            where to_regclass(quote_ident(given.name)) is not null
                and not exists (select from chroma_collections where table_name = given.name)
            "#,
            &service_tables(),
            Uuid::nil()
        )
        .fetch_all(self)
        .await
        .map_err(failing(OPERATION))?;
        for (table, is_told) in Service::ALL.map(Table::of).into_iter().zip(&TOLD) {
            match unregistered.iter().find(|row| row.name == table.name) {
                // On a standby, it is missing until the primary has registered it.
                Some(row) if !row.is_taken && !self.rejects_writes() => self.register_service(&table).await?,
                // Once, since this happens before many requests.
                Some(row) if row.is_taken && !is_told.swap(true, Ordering::Relaxed) => {
                    log::warn!("{}", hidden_service(&table));
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn register_service(&self, table: &Table) -> Result<(), CollectionError> {
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        if !may_register(&mut transaction, &table.name).await.map_err(failing(OPERATION))? {
            log::warn!("table `{}` is not served to Chroma clients: this role may not change it", table.name);
            return Ok(());
        }
        // While the columns are added, the service waits.
        sqlx::query!("select set_config('lock_timeout', $1, true) as timeout", SERVICE_WAITS)
            .fetch_one(on(&mut transaction))
            .await
            .map_err(failing(OPERATION))?;
        let entry = Entry {
            id: Uuid::new_v5(&Uuid::nil(), table.name.as_bytes()),
            names: (DEFAULT_TENANT, DEFAULT_DATABASE, &table.name),
            metadata: Some(r#"{"hnsw:space": "cosine"}"#),
        };
        if !entry.add(&mut transaction, table).await.map_err(failing(OPERATION))? {
            log::warn!("{}", hidden_service(table));
        }
        transaction.commit().await.map_err(failing(OPERATION))
    }

    /// [`Self::register_services`] before the collections of a database are read. Without it, they are still right but for
    /// those of the services.
    pub(super) async fn look_for_services(&self, tenant: &str, database: &str) {
        if (tenant, database) == (DEFAULT_TENANT, DEFAULT_DATABASE)
            && let Err(error) = self.register_services().await
        {
            log::warn!(
                "the collections of the services cannot be registered: {}",
                records::error_chain(&error)
            );
        }
    }
}

impl Database {
    /// The tables of collections, the largest first, at most `most` of them.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn largest_collections(&self, most: u32) -> Result<Vec<Table>, Error> {
        const OPERATION: &str = "list the tables of collections";
        let found = self.if_table_exists("chroma_collections", OPERATION, async |connection| {
            sqlx::query!(
                r#"
                select table_name as "table_name!", min(definition) as "definition!"
                from chroma_collections
                join pg_class on pg_class.oid = to_regclass(quote_ident(table_name))
                where definition is not null
                group by pg_class.oid, table_name
                order by pg_table_size(pg_class.oid) desc, table_name
                limit $1
                "#,
                i64::from(most)
            )
            .fetch_all(on(connection))
            .await
        });
        let table = |name: String, definition: &str| {
            Table::from_definition(name, &serde_json::from_str(definition).ok()?)
        };
        Ok(found.await?.into_iter().filter_map(|row| table(row.table_name, &row.definition)).collect())
    }

    /// The table of a collection, if one has a table `name`.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn collection_table(&self, name: &str) -> Result<Option<Table>, Error> {
        const OPERATION: &str = "look for the table of a collection";
        let found = self.if_table_exists("chroma_collections", OPERATION, async |connection| {
            sqlx::query_scalar!(
                r#"select definition as "definition!" from chroma_collections where table_name = $1 and definition is not null"#,
                name
            )
            .fetch_all(on(connection))
            .await
        });
        let table = |definition: &String| {
            Table::from_definition(name.to_owned(), &serde_json::from_str(definition).ok()?)
        };
        Ok(found.await?.first().and_then(table))
    }

    /// The collections that Chroma clients see whose records are in one of `tables`: the table, the id and the name of each.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn collections_in(&self, tables: &[String]) -> Result<Vec<(String, Uuid, String)>, Error> {
        const OPERATION: &str = "look for collections in tables";
        let found = self.if_table_exists("chroma_collections", OPERATION, async |connection| {
            sqlx::query!(
                r#"
                select table_name as "table_name!", id, name
                from chroma_collections
                where table_name = any($1)
                order by position
                "#,
                tables
            )
            .fetch_all(on(connection))
            .await
        });
        Ok(found.await?.into_iter().map(|row| (row.table_name, row.id, row.name)).collect())
    }

    /// Those of `tables` that exist, the largest first, at most `most` of them.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn largest_tables(&self, tables: &[String], most: u32) -> Result<Vec<String>, Error> {
        sqlx::query_scalar!(
            r#"
            select given.name as "name!"
            from unnest($1::text[]) given (name)
            join pg_class on pg_class.oid = to_regclass(quote_ident(given.name))
            order by pg_table_size(pg_class.oid) desc, given.name
            limit $2
            "#,
            tables,
            i64::from(most)
        )
        .fetch_all(self)
        .await
        .during("list the largest tables")
    }
}

/// Why Chroma clients do not see the records of a service.
fn hidden_service(table: &Table) -> String {
    format!(
        "Chroma clients do not see the service's table `{name}`, since another collection has the name `{name}`: rename or delete that one",
        name = table.name
    )
}

/// The tables of the services, which are not dropped with a collection.
pub(super) fn service_tables() -> Vec<String> {
    Service::ALL.map(|service| service.collection().to_owned()).into()
}
