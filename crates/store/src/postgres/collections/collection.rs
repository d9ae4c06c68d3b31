//! The table `chroma_collections`.

use futures_util::TryStreamExt as _;
use records::{DistanceSpace, Service};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CollectionError, MAX_RECORDS_BYTES, deletions, failing, migrated::service_tables};
use crate::postgres::{
    Database, Table,
    bounded::bound,
    jobs::now,
    relations::has_table,
    sql::{self, collections::delete_collection},
    unnamed::on,
};

/// A collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its id.
    pub id: Uuid,
    /// Its tenant.
    pub tenant: String,
    /// The name of its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The components of its vectors; `None` before the first record.
    pub dimension: Option<u32>,
    /// The distance of its vectors.
    pub space: DistanceSpace,
    /// Its metadata, a JSON object.
    pub metadata: Option<String>,
    /// Its configuration, JSON; `None` of a migrated collection, whose schema says it.
    pub configuration: Option<String>,
    /// Its schema, JSON; `None` of a migrated collection whose source has none that can be read.
    pub schema: Option<String>,
    /// The table with its records; `None` before the first one.
    pub table: Option<Table>,
    /// What tells this state of the registry's row from others; `None` if it does not matter.
    pub version: Option<String>,
}

/// A collection to create.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCollection<'a> {
    /// Its tenant.
    pub tenant: &'a str,
    /// The name of its database.
    pub database: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The distance of its vectors.
    pub space: DistanceSpace,
    /// Its metadata, a JSON object.
    pub metadata: Option<&'a str>,
    /// Its configuration, JSON.
    pub configuration: &'a str,
    /// Its schema, JSON.
    pub schema: &'a str,
}

/// What to do if there is a collection of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Fail.
    Refuse,
    /// Return it as it is.
    Keep,
}

/// A change of a collection; `None` leaves a part as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CollectionChange<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its metadata, a JSON object.
    pub metadata: Option<&'a str>,
    /// Its configuration, JSON.
    pub configuration: Option<&'a str>,
    /// Its schema, JSON.
    pub schema: Option<&'a str>,
}

impl Collection {
    /// Whether its records are those of a service, which keeps its name and is not deleted.
    pub fn is_of_service(&self) -> bool {
        self.service().is_some()
    }

    /// The service whose records these are.
    pub fn service(&self) -> Option<Service> {
        let table = self.table.as_ref()?;
        Service::ALL.into_iter().find(|service| service.collection() == table.name)
    }
}

struct Row {
    id: Uuid,
    tenant: String,
    database: String,
    name: String,
    dimension: Option<i32>,
    space: String,
    metadata: Option<String>,
    configuration: Option<String>,
    schema: Option<String>,
    table_name: Option<String>,
    definition: Option<String>,
    version: Option<String>,
}

const READ: &str = "read a collection";

/// How much longer an answer may be than the texts of which it is made.
const JSON_COPIES: usize = 4;

/// How often a creation is repeated if the existing collection is deleted before it can be read.
const ATTEMPTS: usize = 20;

/// The table of collection `id` as the registry describes it; `None` if a newer version wrote the description.
fn stored_table(id: Uuid, name: String, definition: &str) -> Option<Table> {
    Table::of_collection(id, name, &serde_json::from_str(definition).ok()?)
}

impl Row {
    fn collection(self) -> Result<Collection, CollectionError> {
        let broken = |what: &'static str| CollectionError::Failed { operation: READ, source: what.into() };
        let space = DistanceSpace::from_chroma(&self.space).ok_or_else(|| broken("its space is unknown"))?;
        let table = match (self.table_name, self.definition) {
            (Some(name), Some(definition)) => {
                let table = stored_table(self.id, name, &definition);
                Some(table.ok_or_else(|| broken("the definition of its table cannot be read"))?)
            }
            _ => None,
        };
        Ok(Collection {
            id: self.id,
            tenant: self.tenant,
            database: self.database,
            name: self.name,
            dimension: self.dimension.and_then(|dimension| u32::try_from(dimension).ok()),
            space,
            metadata: self.metadata,
            configuration: self.configuration,
            schema: self.schema,
            table,
            version: self.version,
        })
    }
}

impl Database {
    /// Creates a collection, or returns the existing one if that is allowed.
    ///
    /// # Errors
    /// [`CollectionError::NoDatabase`], [`CollectionError::Taken`], or when the database fails.
    pub async fn create_collection(
        &self,
        new: &NewCollection<'_>,
        existing: Existing,
    ) -> Result<Collection, CollectionError> {
        if service_tables().iter().any(|table| table == new.name) {
            self.look_for_services(new.tenant, new.database).await;
        }
        for _ in 0..ATTEMPTS {
            if let Some(collection) = self.try_create(new).await? {
                return Ok(collection);
            }
            if existing == Existing::Refuse {
                return Err(CollectionError::Taken);
            }
            if let Some(found) = self.collection_named(new.tenant, new.database, new.name).await? {
                return Ok(found);
            }
            // It was deleted meanwhile.
        }
        let source = "a collection of this name is repeatedly created and deleted".into();
        Err(CollectionError::Unavailable { source })
    }

    /// Creates a collection; `None` if there is one of its name.
    async fn try_create(&self, new: &NewCollection<'_>) -> Result<Option<Collection>, CollectionError> {
        const OPERATION: &str = "create a collection";
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        // Locked, so that the database is not deleted meanwhile.
        let database = sqlx::query_scalar!(
            "select id from chroma_databases where tenant = $1 and name = $2 for key share",
            new.tenant,
            new.database
        )
        .fetch_optional(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?
        .ok_or(CollectionError::NoDatabase)?;
        let id = Uuid::new_v4();
        let created = sqlx::query!(
            r#"
            insert into chroma_collections (id, database_id, name, space, metadata, configuration, schema, created_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8)
            on conflict (database_id, name) do nothing
            "#,
            id,
            database,
            new.name,
            new.space.as_str(),
            new.metadata,
            new.configuration,
            new.schema,
            now()
        )
        .execute(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))?;
        let collection = || Collection {
            id,
            tenant: new.tenant.to_owned(),
            database: new.database.to_owned(),
            name: new.name.to_owned(),
            dimension: None,
            space: new.space,
            metadata: new.metadata.map(str::to_owned),
            configuration: Some(new.configuration.to_owned()),
            schema: Some(new.schema.to_owned()),
            table: None,
            version: None,
        };
        Ok((created.rows_affected() > 0).then(collection))
    }

    /// A collection by its name, if it exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collection_named(
        &self,
        tenant: &str,
        database: &str,
        name: &str,
    ) -> Result<Option<Collection>, CollectionError> {
        let found = self.registered(tenant, database, name).await?;
        if found.is_some() || !service_tables().iter().any(|table| table == name) {
            return Ok(found);
        }
        self.look_for_services(tenant, database).await;
        self.registered(tenant, database, name).await
    }

    async fn registered(
        &self,
        tenant: &str,
        database: &str,
        name: &str,
    ) -> Result<Option<Collection>, CollectionError> {
        let row = sqlx::query_as!(
            Row,
            r#"
            select c.id, d.tenant, d.name as database, c.name, dimension, space, metadata, configuration, schema,
                table_name, definition, c.xmin::text as version
            from chroma_collections c
            join chroma_databases d on d.id = c.database_id
            where d.tenant = $1 and d.name = $2 and c.name = $3
            "#,
            tenant,
            database,
            name
        )
        .fetch_optional(self)
        .await
        .map_err(failing(READ))?;
        row.map(Row::collection).transpose()
    }

    /// A collection by its id, if it exists in the database `database` of `tenant`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collection_with_id(
        &self,
        tenant: &str,
        database: &str,
        id: Uuid,
    ) -> Result<Option<Collection>, CollectionError> {
        let row = sqlx::query_as!(
            Row,
            r#"
            select c.id, d.tenant, d.name as database, c.name, dimension, space, metadata, configuration, schema,
                table_name, definition, c.xmin::text as version
            from chroma_collections c
            join chroma_databases d on d.id = c.database_id
            where d.tenant = $1 and d.name = $2 and c.id = $3
            "#,
            tenant,
            database,
            id
        )
        .fetch_optional(self)
        .await
        .map_err(failing(READ))?;
        row.map(Row::collection).transpose()
    }

    /// Visits the collections of a database, oldest first: `limit` of them after the first `offset`.
    ///
    /// # Errors
    /// [`CollectionError::TooLarge`], or when the database fails.
    pub async fn visit_collections(
        &self,
        (tenant, database): (&str, &str),
        (limit, offset): (Option<u32>, u32),
        mut visit: impl FnMut(&Collection),
    ) -> Result<(), CollectionError> {
        const OPERATION: &str = "list collections";
        self.look_for_services(tenant, database).await;
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        let mut rows = sqlx::query_as!(
            Row,
            r#"
            select c.id, d.tenant, d.name as database, c.name, dimension, space, metadata, configuration, schema,
                table_name, definition, c.xmin::text as version
            from chroma_collections c
            join chroma_databases d on d.id = c.database_id
            where d.tenant = $1 and d.name = $2
            order by c.position
            limit $3 offset $4
            "#,
            tenant,
            database,
            limit.map(i64::from),
            i64::from(offset)
        )
        .fetch(on(&mut transaction));
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await.map_err(failing(OPERATION))? {
            let texts = [&row.metadata, &row.configuration, &row.schema];
            bytes += texts.into_iter().flatten().map(String::len).sum::<usize>();
            if bytes > MAX_RECORDS_BYTES / JSON_COPIES {
                return Err(CollectionError::TooLarge);
            }
            visit(&row.collection()?);
        }
        drop(rows);
        transaction.commit().await.map_err(failing(OPERATION))
    }

    /// How many collections a database has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_collections(&self, tenant: &str, database: &str) -> Result<u64, CollectionError> {
        self.look_for_services(tenant, database).await;
        let count = sqlx::query_scalar!(
            r#"
            select count(*) as "count!"
            from chroma_collections c
            join chroma_databases d on d.id = c.database_id
            where d.tenant = $1 and d.name = $2
            "#,
            tenant,
            database
        )
        .fetch_one(self)
        .await
        .map_err(failing("count collections"))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Changes a collection.
    ///
    /// # Errors
    /// [`CollectionError::NotFound`], [`CollectionError::Taken`], or when the database fails.
    pub async fn change_collection(
        &self,
        id: Uuid,
        change: &CollectionChange<'_>,
    ) -> Result<(), CollectionError> {
        let changed = sqlx::query!(
            r#"
            update chroma_collections
            set name = coalesce($2, name), metadata = nullif(coalesce($3, metadata), '{}'),
                configuration = coalesce($4, configuration), schema = coalesce($5, schema)
            where id = $1
            "#,
            id,
            change.name,
            change.metadata,
            change.configuration,
            change.schema
        )
        .execute(self)
        .await
        .map_err(|error| {
            match error.as_database_error().is_some_and(|error| error.is_unique_violation()) {
                true => CollectionError::Taken,
                false => failing("change a collection")(error),
            }
        })?;
        if changed.rows_affected() == 0 { Err(CollectionError::NotFound) } else { Ok(()) }
    }

    /// Deletes a collection with its table. Those of the services stay, as if they did not exist.
    ///
    /// # Errors
    /// [`CollectionError::NotFound`], or when the database fails.
    pub async fn delete_collection(
        &self,
        tenant: &str,
        database: &str,
        name: &str,
    ) -> Result<(), CollectionError> {
        const OPERATION: &str = "delete a collection";
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        let deleted = sqlx::query_as!(
            DeletedCollection,
            r#"
            delete from chroma_collections c
            using chroma_databases d
            where d.id = c.database_id and d.tenant = $1 and d.name = $2 and c.name = $3
                and (c.table_name is null or c.table_name <> all($4))
            returning c.id, table_name, definition, c.migration_run, c.migration_digest is not null as "is_migrated!"
            "#,
            tenant,
            database,
            name,
            &service_tables()
        )
        .fetch_optional(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?
        .ok_or(CollectionError::NotFound)?;
        delete_records(&mut transaction, [deleted]).await?;
        transaction.commit().await.map_err(failing(OPERATION))
    }
}

/// Deletes the collections of the database `id` with their tables.
pub(super) async fn delete_all_of(connection: &mut PgConnection, id: Uuid) -> Result<(), CollectionError> {
    let deleted = sqlx::query_as!(
        DeletedCollection,
        r#"
        delete from chroma_collections
        where database_id = $1 and (table_name is null or table_name <> all($2))
        returning id, table_name, definition, migration_run, migration_digest is not null as "is_migrated!"
        "#,
        id,
        &service_tables()
    );
    let deleted = deleted.fetch_all(on(connection)).await.map_err(failing("delete collections"))?;
    delete_records(connection, deleted).await
}

/// What the registry said of a collection that was deleted.
struct DeletedCollection {
    id: Uuid,
    table_name: Option<String>,
    definition: Option<String>,
    migration_run: Option<Uuid>,
    is_migrated: bool,
}

/// Drops the tables of deleted collections; of those that share a table, only the rows are deleted.
async fn delete_records(
    connection: &mut PgConnection,
    deleted: impl IntoIterator<Item = DeletedCollection>,
) -> Result<(), CollectionError> {
    const OPERATION: &str = "delete the records of a collection";
    for DeletedCollection { id, table_name, definition, migration_run, is_migrated } in deleted {
        let table = match (table_name, definition) {
            (Some(name), Some(definition)) => {
                let table = stored_table(id, name, &definition);
                let source = "the definition of its table cannot be read";
                Some(table.ok_or(CollectionError::Failed { operation: OPERATION, source: source.into() })?)
            }
            _ => None,
        };
        if is_migrated {
            let noted = deletions::note_collection(connection, (id, migration_run), table.as_ref()).await;
            noted.map_err(failing(OPERATION))?;
        }
        let Some(table) = table else { continue };
        if table.shared.is_none() {
            let dropped = sqlx::query(sql::drop_table_if_exists(&table.name)).execute(on(connection)).await;
            dropped.map_err(failing(OPERATION))?;
        } else if has_table(connection, &table.name).await.map_err(failing(OPERATION))? {
            let rows = bound(delete_collection(&table)).execute(on(connection)).await;
            rows.map_err(failing(OPERATION))?;
        }
    }
    Ok(())
}

/// Locks a collection until the end of the transaction, and returns its table, if it has one.
pub(crate) async fn find_for_update(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<Table>, CollectionError> {
    let row =
        sqlx::query!("select table_name, definition from chroma_collections where id = $1 for update", id)
            .fetch_optional(on(connection))
            .await
            .map_err(failing(READ))?
            .ok_or(CollectionError::NotFound)?;
    Ok(row.table_name.zip(row.definition).and_then(|(name, definition)| stored_table(id, name, &definition)))
}

/// Records the table of a collection.
pub(crate) async fn set_table(
    connection: &mut PgConnection,
    id: Uuid,
    table: &Table,
) -> Result<(), CollectionError> {
    let dimension = i32::try_from(table.dimension).unwrap_or(i32::MAX);
    sqlx::query!(
        "update chroma_collections set table_name = $2, definition = $3, dimension = $4 where id = $1",
        id,
        table.name,
        table.definition().to_string(),
        dimension
    )
    .execute(on(connection))
    .await
    .map_err(failing("record the table of a collection"))?;
    Ok(())
}
