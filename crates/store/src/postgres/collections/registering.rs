//! Registers migrated collections, tenants and databases, so that Chroma clients see them as the source's server showed
//! them.

use std::collections::{HashMap, HashSet};

use chroma::EmptyDatabase;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    CollectionName, DEFAULT_TENANT,
    changes::{Changes, add_databases, add_tenants},
    deletions::{
        COLLECTIONS as DELETED_COLLECTIONS, deleted_collections, deleted_databases, forget, forget_databases,
        runs_of_deleted,
    },
    registration::{
        ChangedHere, OPERATION, Registered, Registration, Tables, adopt_services, has_digests, is_name,
        known, may_write, migrated_services, mixed, name_holders, table_conflict, tables_of,
        unregister_tables,
    },
    replacements::replacing_runs,
};
use crate::{
    Error,
    postgres::{Database, Table, error::StatementContext as _, relations::has_table, unnamed::on},
};

/// The newest table of the registry.
const NEWEST: &str = "chroma_deleted_databases";

const READ_ONLY: Registered = Registered::Refused("this role may not write to the registry of collections");
const BAD_NAME: Registered =
    Registered::Refused("its name is empty, longer than 512 characters, or contains NUL");

/// What Chroma clients saw and no longer see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unregistered {
    /// Collections without records.
    pub collections: Vec<CollectionName>,
    /// Databases without collections: the tenant and the name of each.
    pub databases: Vec<(String, String)>,
    /// Tenants without databases.
    pub tenants: Vec<String>,
}

/// What clients see of a collection of the source, compared with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Compared {
    /// The same; or nothing, for a reason that a migration has reported.
    #[default]
    Equal,
    /// These parts differ.
    Different(Vec<&'static str>),
    /// Nothing: a client has deleted it here.
    Deleted,
    /// Nothing: another collection has its name.
    NameTaken,
}

/// What registers collections: what becomes of each, and the places of those that are inserted and changed.
struct Decisions {
    outcomes: Vec<Registered>,
    new: Vec<usize>,
    updated: Vec<usize>,
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
            let tables = tables_of(connection, collections).await?;
            tables.add_columns(connection).await?;
            let ids: Vec<Uuid> = collections.iter().map(|collection| collection.id).collect();
            if changed == ChangedHere::Overwrite {
                forget(connection, &ids).await.during(OPERATION)?;
            }
            let mixed = mixed(connection, collections).await?;
            let mixed_tables: Vec<String> = mixed.values().cloned().collect();
            unregister_tables(connection, &mixed_tables).await?;
            adopt_services(connection, collections).await?;
            let mixed = mixed.into_keys().collect();
            let decided = decide(connection, collections, changed, (&tables, &mixed)).await?;
            let Decisions { mut outcomes, new, updated } = decided;
            let changes = Changes { collections, run };
            changes.add_databases(connection, new.iter().chain(&updated).copied()).await?;
            for place in changes.update_all(connection, updated).await? {
                outcomes[place] = Registered::NameTaken;
            }
            let added = changes.insert(connection, &new).await?;
            for place in new {
                if !added.contains(&collections[place].id) {
                    outcomes[place] = Registered::NameTaken;
                }
            }
            Ok(outcomes)
        })
        .await
    }

    /// What [`Self::register_collections`] would do. Changes nothing; empty if the registry was written by an older version.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn plan_collections(
        &self,
        collections: &[Registration],
        changed: ChangedHere,
    ) -> Result<Vec<Registered>, Error> {
        self.in_transaction(async |connection| {
            if !has_table(connection, "chroma_collections").await.during(OPERATION)? {
                let outcome = |one: &Registration| match one.has_valid_names() {
                    true => Registered::Created,
                    false => BAD_NAME,
                };
                return Ok(collections.iter().map(outcome).collect());
            }
            if !has_table(connection, NEWEST).await.during(OPERATION)? {
                return Ok(Vec::new());
            }
            if !may_write(connection).await? {
                return Ok(vec![READ_ONLY; collections.len()]);
            }
            let tables = tables_of(connection, collections).await?;
            let mixed = mixed(connection, collections).await?.into_keys().collect();
            let decided = decide(connection, collections, changed, (&tables, &mixed)).await?;
            let Decisions { mut outcomes, new, updated } = decided;
            // The name of a collection that gets another one becomes free.
            let mut renamed: HashSet<Uuid> = updated
                .iter()
                .filter(|place| outcomes[**place].updated().contains(&"name"))
                .map(|place| collections[*place].id)
                .collect();
            let holders = name_holders(connection, collections.iter()).await?;
            let is_taken = |id: &Uuid, renamed: &HashSet<Uuid>| {
                holders.get(id).is_some_and(|holder| !renamed.contains(holder))
            };
            while let Some(id) = renamed.iter().find(|id| is_taken(id, &renamed)).copied() {
                renamed.remove(&id);
            }
            for place in new.into_iter().chain(updated) {
                if is_taken(&collections[place].id, &renamed) {
                    outcomes[place] = Registered::NameTaken;
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
        changed: ChangedHere,
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
            let deleted = match changed {
                ChangedHere::Keep => deleted_databases(connection, &databases).await.during(OPERATION)?,
                ChangedHere::Overwrite => {
                    forget_databases(connection, &databases).await.during(OPERATION)?;
                    HashSet::new()
                }
            };
            let databases: Vec<(String, String)> =
                databases.into_iter().filter(|database| !deleted.contains(database)).collect();
            let new_tenants = add_tenants(connection, &tenants, run).await?;
            let new_databases = add_databases(connection, &databases, run).await?;
            let outcome = |one: &EmptyDatabase| {
                let EmptyDatabase { tenant, database } = one.clone();
                let is_new = match database {
                    _ if !is_valid(&one) => return BAD_NAME,
                    Some(database) => {
                        let database = (tenant, database);
                        if deleted.contains(&database) {
                            return Registered::Deleted;
                        }
                        new_databases.contains(&database)
                    }
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

    /// Compares each of `collections` with what clients see.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn compare_collections(&self, collections: &[Registration]) -> Result<Vec<Compared>, Error> {
        self.in_transaction(async |connection| {
            if !has_table(connection, DELETED_COLLECTIONS).await.during(OPERATION)? {
                return Ok(vec![Compared::Equal; collections.len()]);
            }
            let known = known(connection, collections).await?;
            let ids: Vec<Uuid> = collections.iter().map(|collection| collection.id).collect();
            let deleted = deleted_collections(connection, &ids).await.during(OPERATION)?;
            let holders = name_holders(connection, collections.iter()).await?;
            let compare = |one: &Registration| match known.get(&one.id).map(|row| row.differences(one)) {
                Some(differences) if !differences.is_empty() => Compared::Different(differences),
                Some(_) => Compared::Equal,
                None if deleted.contains(&one.id) => Compared::Deleted,
                None if holders.contains_key(&one.id) => Compared::NameTaken,
                None => Compared::Equal,
            };
            Ok(collections.iter().map(compare).collect())
        })
        .await
    }

    /// The runs whose registrations are there or were deleted by clients, or that have replaced descriptions of collections.
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
            let mut runs = sqlx::query_scalar!(
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
            .during(OPERATION)?;
            runs.extend(replacing_runs(connection).await.during(OPERATION)?);
            runs.extend(runs_of_deleted(connection).await.during(OPERATION)?);
            Ok(runs)
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
            let collections = sqlx::query_as!(
                CollectionName,
                r#"
                delete from chroma_collections c
                using chroma_databases d
                where d.id = c.database_id and c.migration_run = any($1) and c.table_name is null
                returning d.tenant, d.name as database, c.name
                "#,
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
            // As for databases, a client that creates one locks its tenant.
            sqlx::query!(
                "select name from chroma_tenants where migration_run = any($1) order by name for update",
                runs
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
            .in_transaction(async |connection| has_table(connection, NEWEST).await.during(OPERATION))
            .await?;
        if is_ready { Ok(()) } else { self.prepare_bookkeeping().await }
    }
}

/// Decides what becomes of `collections`, given the existing tables and those collections that are mixed with others.
async fn decide(
    connection: &mut PgConnection,
    collections: &[Registration],
    changed: ChangedHere,
    (tables, mixed): (&Tables, &HashSet<Uuid>),
) -> Result<Decisions, Error> {
    let ids: Vec<Uuid> = collections.iter().map(|collection| collection.id).collect();
    let deleted = match changed {
        ChangedHere::Keep => deleted_collections(connection, &ids).await.during(OPERATION)?,
        ChangedHere::Overwrite => HashSet::new(),
    };
    let known = known(connection, collections).await?;
    let services = migrated_services(connection).await?;
    let (mut outcomes, mut new, mut updated) = (Vec::new(), Vec::new(), Vec::new());
    for (place, collection) in collections.iter().enumerate() {
        let row = known.get(&collection.id);
        let is_same = |table: &Table| row.is_some_and(|row| row.table_name.as_ref() == Some(&table.name));
        let conflict = match collection.table.as_ref().is_none_or(is_same) {
            true => None,
            false => table_conflict(connection, collection, row).await?,
        };
        let service = collection.table.as_ref().and_then(|table| services.get(&table.name));
        let is_closed = collection.table.as_ref().is_some_and(|table| tables.closed.contains(&table.name));
        outcomes.push(if !collection.has_valid_names() {
            BAD_NAME
        } else if deleted.contains(&collection.id) {
            Registered::Deleted
        } else if is_closed {
            Registered::Refused("this role may not change its table")
        } else if service.is_some_and(|id| *id != collection.id) {
            Registered::Refused("clients see the service's records as the collection that was migrated first")
        } else if mixed.contains(&collection.id) {
            Registered::Refused("its table holds another collection too, which is not served either")
        } else if let Some(conflict) = conflict {
            Registered::Refused(conflict)
        } else if let Some(row) = row {
            let differences = row.differences(collection);
            let table = collection.table.as_ref().map(|table| &table.name);
            let lacks_table = table.is_some() && row.table_name.as_ref() != table;
            let is_kept = !row.is_as_registered(&differences) && changed == ChangedHere::Keep;
            match (differences.is_empty(), is_kept) {
                (false, true) => Registered::Edited(differences),
                (true, _) if !lacks_table => Registered::Unchanged,
                (is_same, _) => {
                    updated.push(place);
                    if is_same { Registered::Unchanged } else { Registered::Updated(differences) }
                }
            }
        } else {
            new.push(place);
            Registered::Created
        });
    }
    Ok(Decisions { outcomes, new, updated })
}
