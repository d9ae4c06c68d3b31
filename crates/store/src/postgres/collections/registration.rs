//! Migrated collections, tenants and databases as they are registered: their rows, and how they differ from the source.

use std::collections::{HashMap, HashSet};

use records::{DistanceSpace, without_nul};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, Row as _};
use uuid::Uuid;

use super::{CollectionName, migrated::service_tables};
use crate::{
    Error,
    postgres::{
        Table,
        bounded::bound,
        error::StatementContext as _,
        relations::has_table,
        sql::{
            collections::{collection_columns, has_rows_of_others},
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
    /// The source has changed these parts, and so they were changed.
    Updated(Vec<&'static str>),
    /// These parts differ, since a client has changed it here. It was kept.
    Edited(Vec<&'static str>),
    /// A client has deleted it here. It was not created again.
    Deleted,
    /// Clients do not see it, since another collection has its name.
    NameTaken,
    /// Clients do not see it, for this reason.
    Refused(&'static str),
}

impl Registered {
    /// The stable name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Created => "created",
            Self::Updated(_) => "updated",
            Self::Edited(_) => "edited",
            Self::Deleted => "deleted",
            Self::NameTaken => "name_taken",
            Self::Refused(_) => "refused",
        }
    }

    /// The parts that clients have changed here, and that were kept.
    pub fn edited(&self) -> &[&'static str] {
        if let Self::Edited(parts) = self { parts } else { &[] }
    }

    /// The parts that were changed.
    pub fn updated(&self) -> &[&'static str] {
        if let Self::Updated(parts) = self { parts } else { &[] }
    }

    /// Whether the run has made or changed it.
    pub fn is_changed(&self) -> bool {
        matches!(self, Self::Created | Self::Updated(_))
    }

    /// Whether clients see it.
    pub fn is_served(&self) -> bool {
        matches!(self, Self::Unchanged | Self::Created | Self::Updated(_) | Self::Edited(_))
    }

    /// Whether it conflicts with what clients have done here.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Edited(_) | Self::Deleted | Self::NameTaken)
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
    pub(super) id: Uuid,
    pub(super) tenant: String,
    pub(super) database: String,
    pub(super) name: String,
    pub(super) space: String,
    pub(super) dimension: Option<i32>,
    pub(super) metadata: Option<String>,
    pub(super) configuration: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) table_name: Option<String>,
    pub(super) migration_digest: Option<Vec<u8>>,
}

impl Registration {
    /// Says that its records are in `table`.
    pub fn set_table(&mut self, table: &Table) {
        self.dimension = u32::try_from(table.dimension).ok();
        self.table = Some(table.clone());
    }

    /// The definition of its table.
    pub(super) fn definition(&self) -> Option<String> {
        self.table.as_ref().map(|table| table.collection_definition().to_string())
    }

    pub(super) fn digest(&self) -> Vec<u8> {
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
    pub(super) fn into_name(self) -> CollectionName {
        let Self { tenant, database, name, .. } = self;
        CollectionName { tenant, database, name }
    }

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

    /// What clients see, except the dimension and the records.
    pub(super) fn description(&self) -> [Option<&str>; 7] {
        let Self { tenant, database, name, space, metadata, configuration, schema, .. } = self;
        let texts = [tenant, database, name, space].map(|text| Some(text.as_str()));
        let [tenant, database, name, space] = texts;
        [tenant, database, name, space, metadata.as_deref(), configuration.as_deref(), schema.as_deref()]
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
            'chroma_tenants', 'chroma_databases', 'chroma_collections', 'chroma_deleted_collections', 'chroma_deleted_records',
            'chroma_replaced_collections', 'chroma_deleted_databases'
        ]) as name
        "#
    );
    may_write.fetch_one(on(connection)).await.during(OPERATION)
}

/// The tables of registrations.
#[derive(Default)]
pub(super) struct Tables {
    /// Those that this role may not change, and that lack the columns of collections.
    pub(super) closed: HashSet<String>,
    /// Those that lack these columns, and that this role may change.
    lacking: Vec<String>,
}

impl Tables {
    /// Adds the columns of collections.
    pub(super) async fn add_columns(&self, connection: &mut PgConnection) -> Result<(), Error> {
        for statement in self.lacking.iter().flat_map(|table| collection_columns(table)) {
            sqlx::raw_sql(statement).execute(&mut *connection).await.during(OPERATION)?;
        }
        Ok(())
    }
}

/// The existing tables of `collections`.
pub(super) async fn tables_of(
    connection: &mut PgConnection,
    collections: &[Registration],
) -> Result<Tables, Error> {
    let names: HashSet<&str> =
        collections.iter().filter_map(|one| one.table.as_ref()).map(|table| table.name.as_str()).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let mut tables = Tables::default();
    if names.is_empty() {
        return Ok(tables);
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
        &names
    );
    for table in found.fetch_all(on(connection)).await.during(OPERATION)? {
        match (table.has_columns, table.is_owned) {
            (true, _) => {}
            (false, true) => tables.lacking.push(table.name),
            (false, false) => drop(tables.closed.insert(table.name)),
        }
    }
    Ok(tables)
}

/// Those of `collections` whose table holds another collection too, which clients would see as one, since no column
/// distinguishes them; and their tables.
pub(super) async fn mixed(
    connection: &mut PgConnection,
    collections: &[Registration],
) -> Result<HashMap<Uuid, String>, Error> {
    let own = collections.iter().filter_map(|one| Some((one.id, one.table.as_ref()?)));
    // Those of a service may come from several sources.
    let services = service_tables();
    let own = own.filter(|(_, table)| table.shared.is_none() && !services.contains(&table.name));
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
    Ok(mixed.into_iter().map(|row| (row.id, row.table_name)).collect())
}

/// Removes the migrated collections of `tables` from the registry.
pub(super) async fn unregister_tables(connection: &mut PgConnection, tables: &[String]) -> Result<(), Error> {
    if tables.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "delete from chroma_collections where table_name = any($1) and migration_digest is not null",
        tables
    )
    .execute(on(connection))
    .await
    .during(OPERATION)?;
    Ok(())
}

/// Gives the collections of services that `collections` have the ids of their source, unless a migration has done so.
pub(super) async fn adopt_services(
    connection: &mut PgConnection,
    collections: &[Registration],
) -> Result<(), Error> {
    let services = service_tables();
    let of_services = collections.iter().filter_map(|one| Some((one.id, &one.table.as_ref()?.name)));
    for (id, table) in of_services.filter(|(_, table)| services.contains(table)) {
        sqlx::query!(
            r#"
            update chroma_collections
            set id = $1
            where table_name = $2 and migration_digest is null and id <> $1
                and not exists (select from chroma_collections where id = $1)
            "#,
            id,
            table
        )
        .execute(on(connection))
        .await
        .during(OPERATION)?;
    }
    Ok(())
}

/// The collections of services that migrations have registered, by table.
pub(super) async fn migrated_services(connection: &mut PgConnection) -> Result<HashMap<String, Uuid>, Error> {
    let services = sqlx::query!(
        r#"
        select id, table_name as "table_name!"
        from chroma_collections
        where table_name = any($1) and migration_digest is not null
        "#,
        &service_tables()
    );
    let services = services.fetch_all(on(connection)).await.during(OPERATION)?;
    Ok(services.into_iter().map(|row| (row.table_name, row.id)).collect())
}

/// Those of `collections` whose name another collection has, each with that one.
pub(super) async fn name_holders<'r>(
    connection: &mut PgConnection,
    collections: impl Iterator<Item = &'r Registration> + Clone,
) -> Result<HashMap<Uuid, Uuid>, Error> {
    let texts = |text: fn(&Registration) -> &String| -> Vec<String> {
        // PostgreSQL rejects NUL, which no name has that is registered.
        collections.clone().map(|one| without_nul(text(one)).into_owned()).collect()
    };
    let ids: Vec<Uuid> = collections.clone().map(|collection| collection.id).collect();
    let holders = sqlx::query!(
        r#"
        select given.id as "id!", other.id as other
        from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) as given (id, tenant, database, name)
        join chroma_databases d on d.tenant = given.tenant and d.name = given.database
        join chroma_collections other
            on other.database_id = d.id and other.name = given.name and other.id <> given.id
                -- That of the same service may have another id.
                and (other.table_name is null or other.table_name <> all($5) or other.table_name <> given.name)
        "#,
        &ids,
        &texts(|one| &one.tenant),
        &texts(|one| &one.database),
        &texts(|one| &one.name),
        &service_tables()
    );
    let holders = holders.fetch_all(on(connection)).await.during(OPERATION)?;
    Ok(holders.into_iter().map(|row| (row.id, row.other)).collect())
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
    // That of a plan may not exist yet.
    if table.shared.is_none() || !has_table(connection, &table.name).await.during(OPERATION)? {
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
