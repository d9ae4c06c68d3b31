//! What a run changes in the registry of collections.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    DEFAULT_DATABASE, DEFAULT_TENANT,
    registration::{OPERATION, Registration, name_holders},
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
    /// gets another one becomes free, also where several exchange their names.
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
            let has_changed = left.len() < places.len();
            if left.is_empty() || (!has_changed && !self.free_names(connection, &left).await?) {
                return Ok(left);
            }
            places = left;
        }
    }

    /// Frees the names that some of the collections at `places` have of each other; `false` if there are none. Their rows are
    /// kept as they were before.
    async fn free_names(&self, connection: &mut PgConnection, places: &[usize]) -> Result<bool, Error> {
        let all = || places.iter().map(|place| &self.collections[*place]);
        let ids: Vec<Uuid> = all().map(|one| one.id).collect();
        // Once they are locked, no client can take a name that one of them has.
        sqlx::query!("select id from chroma_collections where id = any($1) order by id for update", &ids)
            .fetch_all(on(connection))
            .await
            .during(OPERATION)?;
        let exchanging = exchanging(&name_holders(connection, all()).await?);
        if exchanging.is_empty() {
            return Ok(false);
        }
        sqlx::query!(
            r#"
            insert into chroma_replaced_collections (run_id, id, row)
            select $1, c.id, to_jsonb(c)
            from chroma_collections c
            where c.id = any($2)
            on conflict (run_id, id) do nothing
            "#,
            self.run,
            &exchanging
        )
        .execute(on(connection))
        .await
        .during(OPERATION)?;
        take_names(connection, &exchanging).await.during(OPERATION)?;
        Ok(true)
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

/// Those of the keys of `holders` that exchange their names: each is to get the name of its value, in a circle.
pub(super) fn exchanging(holders: &HashMap<Uuid, Uuid>) -> Vec<Uuid> {
    let mut among: HashSet<Uuid> = holders.keys().copied().collect();
    loop {
        let wanted: HashSet<Uuid> = among.iter().map(|id| holders[id]).collect();
        let left: HashSet<Uuid> =
            among.iter().filter(|id| wanted.contains(id) && among.contains(&holders[id])).copied().collect();
        if left.len() == among.len() {
            return left.into_iter().collect();
        }
        among = left;
    }
}

/// Gives collections names that nothing else has, until they get those that they are to have.
pub(super) async fn take_names(connection: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    let unique = Uuid::new_v4().to_string();
    sqlx::query!(
        "update chroma_collections set name = $2::text || ' ' || id::text where id = any($1)",
        ids,
        unique
    )
    .execute(on(connection))
    .await?;
    Ok(())
}

fn dimension(one: &Registration) -> Option<i32> {
    one.dimension.and_then(|dimension| i32::try_from(dimension).ok())
}

/// How often what another transaction removes meanwhile is added again.
const ATTEMPTS: usize = 20;
const REMOVED: &str = "add tenants or databases, which other processes removed again and again";

/// Adds tenants, and returns those that did not exist. None of them is removed until the end of the transaction.
pub(super) async fn add_tenants(
    connection: &mut PgConnection,
    tenants: &[String],
    run: Uuid,
) -> Result<HashSet<String>, Error> {
    let (mut all_added, wanted) = (HashSet::new(), tenants.iter().collect::<HashSet<_>>().len());
    for _ in 0..ATTEMPTS {
        let added = sqlx::query_scalar!(
            r#"
            insert into chroma_tenants (name, created_at, migration_run)
            select distinct name, $2::timestamp, $3::uuid from unnest($1::text[]) as name order by name
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
        all_added.extend(added);
        let locked = sqlx::query_scalar!(
            "select name from chroma_tenants where name = any($1) order by name for key share",
            tenants
        );
        if locked.fetch_all(on(connection)).await.during(OPERATION)?.len() == wanted {
            return Ok(all_added);
        }
    }
    Err(sqlx::Error::RowNotFound).during(REMOVED)
}

/// Adds databases, pairs of a tenant and a name, and returns those that did not exist. None of them is removed until the end of
/// the transaction.
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
    let (mut all_added, wanted) = (HashSet::new(), databases.iter().collect::<HashSet<_>>().len());
    for _ in 0..ATTEMPTS {
        let added = sqlx::query!(
            r#"
            insert into chroma_databases (id, tenant, name, created_at, migration_run)
            select id, tenant, name, $4, $5
            from unnest($1::uuid[], $2::text[], $3::text[]) as new (id, tenant, name)
            order by tenant, name
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
        all_added.extend(added.into_iter().map(|row| (row.tenant, row.name)));
        let locked = sqlx::query_scalar!(
            r#"
            select d.id
            from chroma_databases d
            join unnest($1::text[], $2::text[]) as given (tenant, name) using (tenant, name)
            order by d.id
            for key share of d
            "#,
            &tenants,
            &names
        );
        let locked: HashSet<Uuid> =
            locked.fetch_all(on(connection)).await.during(OPERATION)?.into_iter().collect();
        if locked.len() == wanted {
            return Ok(all_added);
        }
    }
    Err(sqlx::Error::RowNotFound).during(REMOVED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exchanged_in_circles_and_nowhere_else() {
        let check = |holders: &[(u128, u128)], expected: &[u128]| {
            let holders = holders.iter().map(|(id, holder)| (Uuid::from_u128(*id), Uuid::from_u128(*holder)));
            let mut found = exchanging(&holders.collect());
            found.sort_unstable();
            let expected: Vec<Uuid> = expected.iter().copied().map(Uuid::from_u128).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[]);
        check(&[(1, 2)], &[]);
        check(&[(1, 2), (2, 3), (3, 4)], &[]);
        check(&[(1, 2), (2, 1)], &[1, 2]);
        check(&[(1, 2), (2, 3), (3, 1), (4, 5), (5, 4), (6, 9)], &[1, 2, 3, 4, 5]);
        // The first two want the same name.
        check(&[(1, 2), (3, 2), (2, 3)], &[2, 3]);
    }
}
