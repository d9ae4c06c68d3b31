//! What a run changes in the registry of collections.

use std::collections::HashSet;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    DEFAULT_DATABASE, DEFAULT_TENANT,
    registration::{OPERATION, Registration},
};
use crate::{
    Error,
    postgres::{error::StatementContext as _, jobs::now, unnamed::on},
};

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

    /// Changes collections to what the source says, and returns the places of those whose name is taken. The name of one that
    /// gets another one becomes free.
    pub(super) async fn update_all(
        &self,
        connection: &mut PgConnection,
        mut places: Vec<usize>,
    ) -> Result<Vec<usize>, Error> {
        loop {
            let mut left = Vec::new();
            for place in &places {
                if !self.update(connection, *place).await? {
                    left.push(*place);
                }
            }
            if left.len() == places.len() {
                return Ok(left);
            }
            places = left;
        }
    }

    /// Changes a collection to what the source says, and keeps its row as it was before; `false` if its name is taken.
    async fn update(&self, connection: &mut PgConnection, place: usize) -> Result<bool, Error> {
        let one = &self.collections[place];
        let updated = sqlx::query_scalar!(
            r#"
            with updated as (
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
                returning c.id
            ), kept as (
                -- The row as this statement found it. That from before the run counts, if the run is resumed.
                insert into chroma_replaced_collections (run_id, id, row)
                select $12, c.id, to_jsonb(c)
                from chroma_collections c
                join updated on updated.id = c.id
                on conflict (run_id, id) do nothing
            )
            select count(*) as "count!"
            from updated
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
            one.digest(),
            self.run
        )
        .fetch_one(on(connection))
        .await
        .during(OPERATION)?;
        Ok(updated > 0)
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
