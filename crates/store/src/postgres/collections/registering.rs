//! Registers migrated collections, tenants and databases, so that Chroma clients see them as the source's server showed
//! them.

use std::collections::{HashMap, HashSet};

use chroma::EmptyDatabase;
use uuid::Uuid;

use super::{
    DEFAULT_TENANT,
    deletions::{deleted_collections, forget},
    registration::{
        ChangedHere, Changes, OPERATION, Registered, Registration, add_databases, add_tenants,
        allowed_tables, has_digests, is_name, known, may_write, mixed, table_conflict,
    },
};
use crate::{
    Error,
    postgres::{Database, Table, error::StatementContext as _, relations::has_table, unnamed::on},
};

const READ_ONLY: Registered = Registered::Refused("this role may not write to the registry of collections");
const BAD_NAME: Registered =
    Registered::Refused("its name is empty, longer than 512 characters, or contains NUL");

/// What Chroma clients saw and no longer see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unregistered {
    /// Names of collections without records.
    pub collections: Vec<String>,
    /// Databases without collections: the tenant and the name of each.
    pub databases: Vec<(String, String)>,
    /// Tenants without databases.
    pub tenants: Vec<String>,
}

impl Database {
    /// Registers `collections`, which `run` migrates, and adds the columns of collections to their tables.
    ///
    /// # Errors
    /// When a statement fails. What cannot be registered is no error.
    pub async fn register_collections(
        &self,
        collections: &[Registration],
        run: Uuid,
        changed: ChangedHere,
    ) -> Result<Vec<Registered>, Error> {
        if collections.is_empty() {
            return Ok(Vec::new());
        }
        self.prepare_registry().await?;
        self.in_transaction(async |connection| {
            if !may_write(connection).await? {
                return Ok(vec![READ_ONLY; collections.len()]);
            }
            let tables = allowed_tables(connection, collections).await?;
            let ids: Vec<Uuid> = collections.iter().map(|collection| collection.id).collect();
            let deleted = match changed {
                ChangedHere::Keep => deleted_collections(connection, &ids).await.during(OPERATION)?,
                ChangedHere::Overwrite => {
                    forget(connection, &ids).await.during(OPERATION)?;
                    HashSet::new()
                }
            };
            let mixed = mixed(connection, collections).await?;
            let known = known(connection, collections).await?;
            let mut outcomes = Vec::new();
            let (mut new, mut updated) = (Vec::new(), Vec::new());
            for (place, collection) in collections.iter().enumerate() {
                let row = known.get(&collection.id);
                let is_same =
                    |table: &Table| row.is_some_and(|row| row.table_name.as_ref() == Some(&table.name));
                let conflict = match collection.table.as_ref().is_none_or(is_same) {
                    true => None,
                    false => table_conflict(connection, collection, row).await?,
                };
                let is_allowed = collection.table.as_ref().is_none_or(|table| tables.contains(&table.name));
                outcomes.push(if !collection.has_valid_names() {
                    BAD_NAME
                } else if deleted.contains(&collection.id) {
                    Registered::Deleted
                } else if !is_allowed {
                    Registered::Refused("this role may not change its table")
                } else if mixed.contains(&collection.id) {
                    Registered::Refused("its table holds another collection too, which is not served either")
                } else if let Some(conflict) = conflict {
                    Registered::Refused(conflict)
                } else if let Some(row) = known.get(&collection.id) {
                    let differences = row.differences(collection);
                    let table = collection.table.as_ref().map(|table| &table.name);
                    let lacks_table = table.is_some() && row.table_name.as_ref() != table;
                    let is_kept = !row.is_as_registered(&differences) && changed == ChangedHere::Keep;
                    match (differences.is_empty(), is_kept) {
                        (false, true) => Registered::Edited(differences),
                        (true, _) if !lacks_table => Registered::Unchanged,
                        _ => {
                            updated.push(place);
                            if differences.is_empty() { Registered::Unchanged } else { Registered::Updated }
                        }
                    }
                } else {
                    new.push(place);
                    Registered::Created
                });
            }
            let changes = Changes { collections, run };
            changes.add_databases(connection, new.iter().chain(&updated).copied()).await?;
            let added = changes.insert(connection, &new).await?;
            for place in new {
                if !added.contains(&collections[place].id) {
                    outcomes[place] = Registered::Refused("another collection has its name");
                }
            }
            for place in updated {
                if !changes.update(connection, place).await? {
                    outcomes[place] = Registered::Refused("another collection has its name");
                }
            }
            Ok(outcomes)
        })
        .await
    }

    /// Registers databases without collections, and tenants without databases, that `run` migrates.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn register_databases(
        &self,
        empty: &[EmptyDatabase],
        run: Uuid,
    ) -> Result<Vec<Registered>, Error> {
        if empty.is_empty() {
            return Ok(Vec::new());
        }
        self.prepare_registry().await?;
        self.in_transaction(async |connection| {
            if !may_write(connection).await? {
                return Ok(vec![READ_ONLY; empty.len()]);
            }
            let is_valid =
                |one: &&EmptyDatabase| is_name(&one.tenant) && one.database.as_deref().is_none_or(is_name);
            let valid = || empty.iter().filter(is_valid);
            let tenants: Vec<String> = valid().map(|one| one.tenant.clone()).collect();
            let databases: Vec<(String, String)> =
                valid().filter_map(|one| Some((one.tenant.clone(), one.database.clone()?))).collect();
            let new_tenants = add_tenants(connection, &tenants, run).await?;
            let new_databases = add_databases(connection, &databases, run).await?;
            let outcome = |one: &EmptyDatabase| {
                let EmptyDatabase { tenant, database } = one.clone();
                let is_new = match database {
                    _ if !is_valid(&one) => return BAD_NAME,
                    Some(database) => new_databases.contains(&(tenant, database)),
                    None => new_tenants.contains(&tenant),
                };
                if is_new { Registered::Created } else { Registered::Unchanged }
            };
            Ok(empty.iter().map(outcome).collect())
        })
        .await
    }

    /// Those of `empty` that Chroma clients do not see; none if no collections are registered.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn unregistered_databases(&self, empty: &[EmptyDatabase]) -> Result<Vec<EmptyDatabase>, Error> {
        let tenants: Vec<String> = empty.iter().map(|one| one.tenant.clone()).collect();
        let names: Vec<Option<String>> = empty.iter().map(|one| one.database.clone()).collect();
        let missing = self.if_table_exists("chroma_collections", OPERATION, async |connection| {
            sqlx::query_scalar!(
                r#"
                select given.place as "place!"
                from unnest($1::text[], $2::text[]) with ordinality as given (tenant, name, place)
                where case
                    when given.name is null then
                        not exists (select from chroma_tenants t where t.name = given.tenant)
                    else not exists (
                        select from chroma_databases d where d.tenant = given.tenant and d.name = given.name
                    )
                end
                order by given.place
                "#,
                &tenants,
                &names as &[Option<String>]
            )
            .fetch_all(on(connection))
            .await
        });
        let missing = missing.await?.into_iter();
        let place = |place: i64| usize::try_from(place).ok()?.checked_sub(1);
        Ok(missing.filter_map(|number| empty.get(place(number)?).cloned()).collect())
    }

    /// The parts in which each of `collections` differs from what clients see; none for those that they do not see.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn registered_differences(
        &self,
        collections: &[Registration],
    ) -> Result<Vec<Vec<&'static str>>, Error> {
        self.in_transaction(async |connection| {
            if !has_table(connection, "chroma_collections").await.during(OPERATION)?
                || !has_digests(connection).await?
            {
                return Ok(vec![Vec::new(); collections.len()]);
            }
            let known = known(connection, collections).await?;
            let differences =
                |collection: &Registration| known.get(&collection.id).map(|row| row.differences(collection));
            Ok(collections.iter().map(|collection| differences(collection).unwrap_or_default()).collect())
        })
        .await
    }

    /// The runs whose registrations are there.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn registering_runs(&self) -> Result<Vec<Uuid>, Error> {
        self.in_transaction(async |connection| {
            if !has_table(connection, "chroma_collections").await.during(OPERATION)?
                || !has_digests(connection).await?
            {
                return Ok(Vec::new());
            }
            sqlx::query_scalar!(
                r#"
                select migration_run as "run!" from chroma_collections where migration_run is not null
                union
                select migration_run from chroma_databases where migration_run is not null
                union
                select migration_run from chroma_tenants where migration_run is not null
                "#
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)
        })
        .await
    }

    /// Removes the collections without a table, and the databases and tenants without collections, that `runs` have
    /// registered.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn unregister_runs(&self, runs: &[Uuid]) -> Result<Unregistered, Error> {
        self.in_transaction(async |connection| {
            let collections = sqlx::query_scalar!(
                "delete from chroma_collections where migration_run = any($1) and table_name is null returning name",
                runs
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            // A client that creates a collection locks its database. What it has created is seen only by a later statement.
            sqlx::query!(
                "select id from chroma_databases where migration_run = any($1) order by id for update",
                runs
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            let databases = sqlx::query!(
                r#"
                delete from chroma_databases d
                where migration_run = any($1) and id <> $2
                    and not exists (select from chroma_collections where database_id = d.id)
                returning tenant, name
                "#,
                runs,
                Uuid::nil()
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            let tenants = sqlx::query_scalar!(
                r#"
                delete from chroma_tenants t
                where migration_run = any($1) and name <> $2
                    and not exists (select from chroma_databases where tenant = t.name)
                returning name
                "#,
                runs,
                DEFAULT_TENANT
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            // What stays is in use, and no longer the run's.
            sqlx::query!(
                r#"
                with collections as (
                    update chroma_collections set migration_run = null where migration_run = any($1)
                ), databases as (
                    update chroma_databases set migration_run = null where migration_run = any($1)
                )
                update chroma_tenants set migration_run = null where migration_run = any($1)
                "#,
                runs
            )
            .execute(on(connection))
            .await
            .during(OPERATION)?;
            let mut databases: Vec<(String, String)> =
                databases.into_iter().map(|row| (row.tenant, row.name)).collect();
            databases.sort_unstable();
            Ok(Unregistered { collections, databases, tenants })
        })
        .await
    }

    /// The tables of registered collections that a migration could write to: of those with `ids`, and of all others that
    /// share a table.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn registered_tables(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Table>, Error> {
        let rows = self.if_table_exists("chroma_collections", OPERATION, async |connection| {
            sqlx::query!(
                r#"
                select id, table_name as "table_name!", definition as "definition!"
                from chroma_collections
                where table_name is not null and definition is not null
                    and (id = any($1) or definition like '%"collection_column"%')
                "#,
                ids
            )
            .fetch_all(on(connection))
            .await
        });
        let rows = rows.await?.into_iter();
        let table = |id, name, definition: &str| {
            Table::of_collection(id, name, &serde_json::from_str(definition).ok()?)
        };
        // A definition that cannot be read belongs to no migration.
        Ok(rows.filter_map(|row| Some((row.id, table(row.id, row.table_name, &row.definition)?))).collect())
    }

    /// Creates the registry or brings it up to date, if that is necessary.
    async fn prepare_registry(&self) -> Result<(), Error> {
        let is_ready = self
            .in_transaction(async |connection| {
                // The newest of its tables.
                has_table(connection, "chroma_deleted_collections").await.during(OPERATION)
            })
            .await?;
        if is_ready { Ok(()) } else { self.prepare_bookkeeping().await }
    }
}
