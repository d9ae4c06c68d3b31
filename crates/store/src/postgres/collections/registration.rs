//! Migrated collections, tenants and databases as they are registered: their rows, and how they differ from the source.

use std::collections::{HashMap, HashSet};

use records::DistanceSpace;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{DEFAULT_DATABASE, DEFAULT_TENANT};
use crate::{
    Error,
    postgres::{
        Table,
        bounded::bound,
        error::StatementContext as _,
        jobs::now,
        relations::has_table,
        sql::{
            collections::{add_collection_columns, has_rows_of_others},
            statement::Statement,
        },
        unnamed::on,
    },
};

pub(super) const OPERATION: &str = "register collections";

/// Maximum characters of a name, so that an index can hold it.
const MAX_NAME_CHARACTERS: usize = 512;

/// A collection as its source describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Registration {
    /// Its id.
    pub id: Uuid,
    /// Its tenant.
    pub tenant: String,
    /// The name of its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The distance of its vectors.
    pub space: DistanceSpace,
    /// The components of its vectors, if it has or had any.
    pub dimension: Option<u32>,
    /// Its metadata, a JSON object.
    pub metadata: Option<String>,
    /// Its schema, JSON; `None` if the source's cannot be read.
    pub schema: Option<String>,
    /// The table with its records; `None` if there are none.
    pub table: Option<Table>,
}

/// What became of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is as before.
    Unchanged,
    /// Clients see it now.
    Created,
    /// The source has changed it, and so it was changed.
    Updated,
    /// These parts differ, since a client has changed it here. It was kept.
    Edited(Vec<&'static str>),
    /// A client has deleted it here. It was not created again.
    Deleted,
    /// Clients do not see it, for this reason.
    Refused(&'static str),
}

impl Registered {
    /// The stable name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Edited(_) => "edited",
            Self::Deleted => "deleted",
            Self::Refused(_) => "refused",
        }
    }

    /// The parts that clients have changed here, and that were kept.
    pub fn edited(&self) -> &[&'static str] {
        if let Self::Edited(parts) = self { parts } else { &[] }
    }

    /// Why clients do not see it, if so.
    pub fn reason(&self) -> Option<&'static str> {
        if let Self::Refused(reason) = self { Some(reason) } else { None }
    }
}

/// What to do with collections that clients have changed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedHere {
    /// Keep them.
    Keep,
    /// Change them to what the source says.
    Overwrite,
}

/// A row of `chroma_collections`.
pub(super) struct Row {
    id: Uuid,
    tenant: String,
    database: String,
    name: String,
    space: String,
    dimension: Option<i32>,
    metadata: Option<String>,
    configuration: Option<String>,
    schema: Option<String>,
    pub(super) table_name: Option<String>,
    migration_digest: Option<Vec<u8>>,
}

impl Registration {
    /// Says that its records are in `table`.
    pub fn set_table(&mut self, table: &Table) {
        self.dimension = u32::try_from(table.dimension).ok();
        self.table = Some(table.clone());
    }

    /// The definition of its table.
    fn definition(&self) -> Option<String> {
        self.table.as_ref().map(|table| table.collection_definition().to_string())
    }

    fn digest(&self) -> Vec<u8> {
        let Self { tenant, database, name, space, metadata, schema, .. } = self;
        digest([tenant, database, name, space.as_str()], [metadata.as_deref(), schema.as_deref()])
    }

    pub(super) fn has_valid_names(&self) -> bool {
        [&self.tenant, &self.database, &self.name].into_iter().all(|name| is_name(name))
    }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARACTERS).contains(&name.chars().count()) && !name.contains('\0')
}

fn digest(texts: [&str; 4], optional: [Option<&str>; 2]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    for text in texts.into_iter().map(Some).chain(optional) {
        // Lengths keep texts apart.
        hasher.update(text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.update(text.unwrap_or_default());
    }
    hasher.finalize().to_vec()
}

impl Row {
    /// The parts in which the source differs.
    pub(super) fn differences(&self, source: &Registration) -> Vec<&'static str> {
        let json = |text: &Option<String>| {
            text.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into()))
        };
        let dimension = source.dimension.and_then(|dimension| i32::try_from(dimension).ok());
        let parts = [
            ("tenant", self.tenant != source.tenant),
            ("database", self.database != source.database),
            ("name", self.name != source.name),
            ("space", self.space != source.space.as_str()),
            // A client may have added the first record here.
            ("dimension", dimension.is_some() && self.dimension != dimension),
            ("metadata", json(&self.metadata) != json(&source.metadata)),
            ("configuration", json(&self.schema) != json(&source.schema)),
        ];
        parts.into_iter().filter(|(_, differs)| *differs).map(|(part, _)| part).collect()
    }

    /// Whether it is as a migration has registered it.
    pub(super) fn is_as_registered(&self, differences: &[&str]) -> bool {
        let Self { tenant, database, name, space, metadata, configuration, schema, migration_digest, .. } =
            self;
        match migration_digest {
            Some(registered) => {
                *registered
                    == digest([tenant, database, name, space], [metadata.as_deref(), schema.as_deref()])
            }
            // Registered before there were digests, and without configurations.
            None => {
                configuration.is_none()
                    && schema.is_none()
                    && differences.iter().all(|part| matches!(*part, "configuration" | "dimension"))
            }
        }
    }
}

/// Whether the registry is of a version that has digests.
pub(super) async fn has_digests(connection: &mut PgConnection) -> Result<bool, Error> {
    let has_digests = sqlx::query_scalar!(
        r#"
        select exists (
            select
            from pg_attribute
            where attrelid = to_regclass('chroma_collections') and attname = 'migration_digest' and not attisdropped
        ) as "has_digests!"
        "#
    );
    has_digests.fetch_one(on(connection)).await.during(OPERATION)
}

/// Whether this role may write to the registry. For a migration, less suffices.
pub(super) async fn may_write(connection: &mut PgConnection) -> Result<bool, Error> {
    let may_write = sqlx::query_scalar!(
        r#"
        select bool_and(
            has_table_privilege(name, 'select') and has_table_privilege(name, 'insert')
                and has_table_privilege(name, 'update')
        ) and has_sequence_privilege('chroma_positions', 'usage') as "may_write!"
        from unnest(array[
            'chroma_tenants', 'chroma_databases', 'chroma_collections', 'chroma_deleted_collections', 'chroma_deleted_records'
        ]) as name
        "#
    );
    may_write.fetch_one(on(connection)).await.during(OPERATION)
}

/// The tables of `collections` that have or get the columns of collections.
pub(super) async fn allowed_tables(
    connection: &mut PgConnection,
    collections: &[Registration],
) -> Result<HashSet<String>, Error> {
    let tables: HashSet<&str> =
        collections.iter().filter_map(|one| one.table.as_ref()).map(|table| table.name.as_str()).collect();
    let tables: Vec<String> = tables.into_iter().map(str::to_owned).collect();
    if tables.is_empty() {
        return Ok(HashSet::new());
    }
    let found = sqlx::query!(
        r#"
        select name as "name!",
            pg_has_role(relowner, 'usage') as "is_owned!",
            (
                select count(*) = 2
                from pg_attribute
                where attrelid = pg_class.oid and attname in ('position', 'is_escaped') and not attisdropped
            ) as "has_columns!"
        from unnest($1::text[]) as name
        join pg_class on pg_class.oid = to_regclass(quote_ident(name))
        "#,
        &tables
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    let (mut allowed, mut lacking) = (HashSet::new(), Vec::new());
    for table in found {
        if !table.has_columns && table.is_owned {
            lacking.push(table.name.clone());
        }
        if table.has_columns || table.is_owned {
            allowed.insert(table.name);
        }
    }
    if !lacking.is_empty() {
        let statements = add_collection_columns(&lacking);
        sqlx::raw_sql(statements).execute(&mut *connection).await.during(OPERATION)?;
    }
    Ok(allowed)
}

/// Those of `collections` whose table holds another collection too, which clients would see as one, since no column
/// distinguishes them. Migrated collections of these tables are no longer registered.
pub(super) async fn mixed(
    connection: &mut PgConnection,
    collections: &[Registration],
) -> Result<HashSet<Uuid>, Error> {
    let own = collections.iter().filter_map(|one| Some((one.id, one.table.as_ref()?)));
    let own = own.filter(|(_, table)| table.shared.is_none());
    let (ids, tables): (Vec<Uuid>, Vec<String>) = own.map(|(id, table)| (id, table.name.clone())).unzip();
    let mixed = sqlx::query!(
        r#"
        -- A join, so that both tables are read once and not once for each collection.
        select distinct given.id as "id!", given.table_name as "table_name!"
        from unnest($1::uuid[], $2::text[]) as given (id, table_name)
        join (
            select table_name, collection_id as id
            from migration_jobs
            where status <> 'undone'
            union all
            select table_name, id
            from chroma_collections
        ) other on other.table_name = given.table_name and other.id <> given.id
        "#,
        &ids,
        &tables
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    if mixed.is_empty() {
        return Ok(HashSet::new());
    }
    let tables: Vec<String> = mixed.iter().map(|row| row.table_name.clone()).collect();
    sqlx::query!(
        "delete from chroma_collections where table_name = any($1) and migration_digest is not null",
        &tables
    )
    .execute(on(connection))
    .await
    .during(OPERATION)?;
    Ok(mixed.into_iter().map(|row| row.id).collect())
}

/// Why clients cannot see the rows of `collection` in its table, if so; `row` is what the registry has, with another table
/// or none. What clients have added, changed or deleted is only in the table that they see.
pub(super) async fn table_conflict(
    connection: &mut PgConnection,
    collection: &Registration,
    row: Option<&Row>,
) -> Result<Option<&'static str>, Error> {
    let Some(table) = &collection.table else { return Ok(None) };
    if let Some(current) = row.and_then(|row| row.table_name.as_deref())
        && has_table(connection, current).await.during(OPERATION)?
    {
        return Ok(Some("clients see it in another table: undo the run that filled that one first"));
    }
    if table.shared.is_none() {
        return Ok(None);
    }
    let own = sqlx::query_scalar!(
        "select run_id from migration_jobs where collection_id = $1 and table_name = $2 and status is distinct from 'undone'",
        collection.id,
        table.name
    );
    let own = own.fetch_all(on(connection)).await.during(OPERATION)?;
    let has_others = exists(connection, has_rows_of_others(table, own)).await?;
    Ok(has_others.then_some("rows of another collection have the same name in the column of the collection"))
}

async fn exists(connection: &mut PgConnection, statement: Statement) -> Result<bool, Error> {
    let row = bound(statement).fetch_one(on(connection)).await;
    row.and_then(|row| row.try_get("exists")).during(OPERATION)
}

/// The rows of `collections` that exist.
pub(super) async fn known(
    connection: &mut PgConnection,
    collections: &[Registration],
) -> Result<HashMap<Uuid, Row>, Error> {
    let ids: Vec<Uuid> = collections.iter().map(|collection| collection.id).collect();
    let rows = sqlx::query_as!(
        Row,
        r#"
        select c.id, d.tenant, d.name as database, c.name, space, dimension, metadata, configuration, schema, table_name,
            c.migration_digest
        from chroma_collections c
        join chroma_databases d on d.id = c.database_id
        where c.id = any($1)
        "#,
        &ids
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// What a run changes in the registry.
pub(super) struct Changes<'a> {
    pub(super) collections: &'a [Registration],
    pub(super) run: Uuid,
}

impl Changes<'_> {
    pub(super) async fn add_databases(
        &self,
        connection: &mut PgConnection,
        places: impl Iterator<Item = usize>,
    ) -> Result<(), Error> {
        let wanted: HashSet<(&str, &str)> = places
            .map(|place| &self.collections[place])
            .map(|one| (one.tenant.as_str(), one.database.as_str()))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let tenants: Vec<String> = wanted.iter().map(|(tenant, _)| (*tenant).to_owned()).collect();
        let databases: Vec<(String, String)> =
            wanted.into_iter().map(|(tenant, database)| (tenant.to_owned(), database.to_owned())).collect();
        add_tenants(connection, &tenants, self.run).await?;
        add_databases(connection, &databases, self.run).await?;
        Ok(())
    }

    /// Inserts collections, and returns the ids of those whose name was free.
    pub(super) async fn insert(
        &self,
        connection: &mut PgConnection,
        places: &[usize],
    ) -> Result<HashSet<Uuid>, Error> {
        if places.is_empty() {
            return Ok(HashSet::new());
        }
        let all = || places.iter().map(|place| &self.collections[*place]);
        let texts = |text: &dyn Fn(&Registration) -> String| all().map(text).collect::<Vec<_>>();
        let optional =
            |text: &dyn Fn(&Registration) -> Option<String>| all().map(text).collect::<Vec<Option<String>>>();
        let ids: Vec<Uuid> = all().map(|one| one.id).collect();
        let digests: Vec<Vec<u8>> = all().map(Registration::digest).collect();
        let dimensions: Vec<Option<i32>> = all().map(dimension).collect();
        let added = sqlx::query_scalar!(
            r#"
            insert into chroma_collections (
                id, database_id, name, dimension, space, metadata, schema, table_name, definition, created_at,
                migration_run, migration_digest
            )
            select new.id, d.id, new.name, new.dimension, new.space, new.metadata, new.schema, new.table_name,
                new.definition, $11, $12, new.digest
            from unnest(
                $1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[],
                $9::text[], $10::text[], $13::bytea[]
            ) with ordinality as new (
                id, tenant, database, name, dimension, space, metadata, schema, table_name, definition, digest, place
            )
            join chroma_databases d on d.tenant = new.tenant and d.name = new.database
            order by new.place
            on conflict do nothing
            returning id
            "#,
            &ids,
            &texts(&|one| one.tenant.clone()),
            &texts(&|one| one.database.clone()),
            &texts(&|one| one.name.clone()),
            &dimensions as &[Option<i32>],
            &texts(&|one| one.space.as_str().to_owned()),
            &optional(&|one| one.metadata.clone()) as &[Option<String>],
            &optional(&|one| one.schema.clone()) as &[Option<String>],
            &optional(&|one| one.table.as_ref().map(|table| table.name.clone())) as &[Option<String>],
            &optional(&Registration::definition) as &[Option<String>],
            now(),
            self.run,
            &digests
        )
        .fetch_all(on(connection))
        .await
        .during(OPERATION)?;
        Ok(added.into_iter().collect())
    }

    /// Changes a collection to what the source says; `false` if its name is taken.
    pub(super) async fn update(&self, connection: &mut PgConnection, place: usize) -> Result<bool, Error> {
        let one = &self.collections[place];
        let updated = sqlx::query!(
            r#"
            update chroma_collections c
            set database_id = d.id, name = $4, space = $5, metadata = $6, schema = $7, configuration = null,
                dimension = coalesce($8, c.dimension), table_name = coalesce($9, c.table_name),
                definition = coalesce($10, c.definition), migration_digest = $11
            from chroma_databases d
            where c.id = $1 and d.tenant = $2 and d.name = $3
                and not exists (
                    select from chroma_collections other
                    where other.database_id = d.id and other.name = $4 and other.id <> $1
                )
            "#,
            one.id,
            one.tenant,
            one.database,
            one.name,
            one.space.as_str(),
            one.metadata,
            one.schema,
            dimension(one),
            one.table.as_ref().map(|table| &table.name),
            one.definition(),
            one.digest()
        )
        .execute(on(connection))
        .await
        .during(OPERATION)?;
        Ok(updated.rows_affected() > 0)
    }
}

fn dimension(one: &Registration) -> Option<i32> {
    one.dimension.and_then(|dimension| i32::try_from(dimension).ok())
}

/// Adds tenants, and returns those that did not exist.
pub(super) async fn add_tenants(
    connection: &mut PgConnection,
    tenants: &[String],
    run: Uuid,
) -> Result<HashSet<String>, Error> {
    let added = sqlx::query_scalar!(
        r#"
        insert into chroma_tenants (name, created_at, migration_run)
        select distinct name, $2::timestamp, $3::uuid from unnest($1::text[]) as name
        on conflict do nothing
        returning name
        "#,
        tenants,
        now(),
        run
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    Ok(added.into_iter().collect())
}

/// Adds databases, pairs of a tenant and a name, and returns those that did not exist.
pub(super) async fn add_databases(
    connection: &mut PgConnection,
    databases: &[(String, String)],
    run: Uuid,
) -> Result<HashSet<(String, String)>, Error> {
    let is_default = |tenant: &str, name: &str| tenant == DEFAULT_TENANT && name == DEFAULT_DATABASE;
    let id = |(tenant, name): &(String, String)| {
        if is_default(tenant, name) { Uuid::nil() } else { Uuid::new_v4() }
    };
    let ids: Vec<Uuid> = databases.iter().map(id).collect();
    let (tenants, names): (Vec<String>, Vec<String>) = databases.iter().cloned().unzip();
    let added = sqlx::query!(
        r#"
        insert into chroma_databases (id, tenant, name, created_at, migration_run)
        select id, tenant, name, $4, $5 from unnest($1::uuid[], $2::text[], $3::text[]) as new (id, tenant, name)
        on conflict do nothing
        returning tenant, name
        "#,
        &ids,
        &tenants,
        &names,
        now(),
        run
    )
    .fetch_all(on(connection))
    .await
    .during(OPERATION)?;
    Ok(added.into_iter().map(|row| (row.tenant, row.name)).collect())
}
