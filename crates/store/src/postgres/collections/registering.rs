//! Registers migrated collections, tenants and databases, so that Chroma clients see them as the source's server showed
//! them.

use std::collections::HashMap;

use serde_json::Value;
use uuid::Uuid;

use super::{
    DEFAULT_TENANT,
    registration::{
        ChangedHere, Changes, OPERATION, Registered, Registration, allowed_tables, has_digests, known, mixed,
    },
};
use crate::{
    Error,
    postgres::{Database, error::StatementContext as _, relations::has_table, unnamed::on},
};

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
            let tables = allowed_tables(connection, collections).await?;
            let Some(tables) = tables else {
                let refused = Registered::Refused("this role may not write to the registry of collections");
                return Ok(vec![refused; collections.len()]);
            };
            let mixed = mixed(connection, collections).await?;
            let known = known(connection, collections).await?;
            let mut outcomes = Vec::new();
            let (mut new, mut updated) = (Vec::new(), Vec::new());
            for (place, collection) in collections.iter().enumerate() {
                let is_allowed = collection.table.as_ref().is_none_or(|table| tables.contains(&table.name));
                outcomes.push(if !collection.has_valid_names() {
                    Registered::Refused("its name is empty, longer than 512 characters, or contains NUL")
                } else if !is_allowed {
                    Registered::Refused("this role may not change its table")
                } else if mixed.contains(&collection.id) {
                    Registered::Refused("its table holds another collection too, which is not served either")
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
    /// registered. Returns the names of the collections.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn unregister_runs(&self, runs: &[Uuid]) -> Result<Vec<String>, Error> {
        self.in_transaction(async |connection| {
            let removed = sqlx::query_scalar!(
                "delete from chroma_collections where migration_run = any($1) and table_name is null returning name",
                runs
            )
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
            sqlx::query!(
                r#"
                delete from chroma_databases d
                where migration_run = any($1) and id <> $2
                    and not exists (select from chroma_collections where database_id = d.id)
                "#,
                runs,
                Uuid::nil()
            )
            .execute(on(connection))
            .await
            .during(OPERATION)?;
            sqlx::query!(
                r#"
                delete from chroma_tenants t
                where migration_run = any($1) and name <> $2
                    and not exists (select from chroma_databases where tenant = t.name)
                "#,
                runs,
                DEFAULT_TENANT
            )
            .execute(on(connection))
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
            Ok(removed)
        })
        .await
    }

    /// The tables of registered collections that a migration could write to.
    ///
    /// # Errors
    /// When a statement fails.
    pub async fn registered_tables(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, (String, Value)>, Error> {
        let rows = self.if_table_exists("chroma_collections", OPERATION, async |connection| {
            sqlx::query!(
                r#"
                select id, table_name as "table_name!", definition as "definition!"
                from chroma_collections
                where id = any($1) and table_name is not null and definition is not null
                "#,
                ids
            )
            .fetch_all(on(connection))
            .await
        });
        let rows = rows.await?.into_iter();
        // A definition that cannot be read belongs to no migration.
        Ok(rows
            .filter_map(|row| Some((row.id, (row.table_name, serde_json::from_str(&row.definition).ok()?))))
            .collect())
    }

    /// Creates the registry or brings it up to date, if that is necessary.
    async fn prepare_registry(&self) -> Result<(), Error> {
        let is_ready = self
            .in_transaction(async |connection| {
                Ok(has_table(connection, "chroma_collections").await.during(OPERATION)?
                    && has_digests(connection).await?)
            })
            .await?;
        if is_ready { Ok(()) } else { self.prepare_bookkeeping().await }
    }
}
