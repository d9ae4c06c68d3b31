//! What runs have replaced of the descriptions of collections, so that it is restored when a run is undone.

use std::collections::HashMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    CollectionName,
    changes::{exchanging, take_names},
    registration::{ChangedHere, Row},
};
use crate::{
    Error,
    postgres::{Database, error::StatementContext as _, relations::has_table, unnamed::on},
};

const TABLE: &str = "chroma_replaced_collections";
const OPERATION: &str = "restore the descriptions of collections";

/// The descriptions of collections that an undone run had replaced: names, metadata and configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredDescriptions {
    /// The collections whose description is as before, by their names until then.
    pub restored: Vec<CollectionName>,
    /// Those that were left as they are, and why.
    pub kept: Vec<(CollectionName, DescriptionKept)>,
}

/// Why a description was not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptionKept {
    /// A Chroma client has changed it since.
    Edited,
    /// Another collection has its former name, or its former database was deleted.
    NameTaken,
}

impl DescriptionKept {
    /// The stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::NameTaken => "name_taken",
        }
    }
}

impl Database {
    /// Later runs that replaced descriptions which `run` had registered or replaced, the newest first: they have to be undone
    /// first.
    ///
    /// # Errors
    /// When the statement fails.
    pub async fn later_descriptions(&self, run: Uuid) -> Result<Vec<Uuid>, Error> {
        const OPERATION: &str = "look for later runs that changed descriptions of collections";
        self.if_table_exists(TABLE, OPERATION, async |connection| {
            sqlx::query_scalar!(
                r#"
                select later.run_id
                from chroma_replaced_collections later
                where later.run_id <> $1
                    and (
                        exists (
                            select from chroma_replaced_collections own
                            where own.run_id = $1 and own.id = later.id and own.place < later.place
                                and own.row ->> 'position' = later.row ->> 'position'
                        )
                        -- It has registered the collection.
                        or exists (
                            select from chroma_collections c
                            where c.migration_run = $1 and c.id = later.id
                                and c.position = (later.row ->> 'position')::bigint
                        )
                    )
                group by later.run_id
                order by max(later.place) desc
                "#,
                run
            )
            .fetch_all(on(connection))
            .await
        })
        .await
    }

    /// Restores the descriptions that `run` has replaced, of the collections `only` if they are given.
    ///
    /// # Errors
    /// When a statement fails; nothing is changed then.
    pub async fn restore_descriptions(
        &self,
        run: Uuid,
        only: Option<&[Uuid]>,
        changed: ChangedHere,
    ) -> Result<RestoredDescriptions, Error> {
        self.in_transaction(async |connection| {
            let mut outcome = RestoredDescriptions::default();
            if !has_table(connection, TABLE).await.during(OPERATION)? {
                return Ok(outcome);
            }
            // The last first: a collection may have the name that another one had before.
            let ids = sqlx::query_scalar!(
                r#"
                select id
                from chroma_replaced_collections
                where run_id = $1 and ($2::uuid[] is null or id = any($2))
                order by place desc
                "#,
                run,
                only
            );
            let mut waiting = Vec::new();
            for id in ids.fetch_all(on(connection)).await.during(OPERATION)? {
                match described(connection, run, id).await? {
                    None => forget(connection, run, id).await?,
                    Some(row) if changed == ChangedHere::Keep && !row.is_as_registered(&[]) => {
                        outcome.kept.push((row.into_name(), DescriptionKept::Edited));
                    }
                    Some(row) => waiting.push(row),
                }
            }
            loop {
                let (count, mut left) = (waiting.len(), Vec::new());
                for row in waiting {
                    if !restore(connection, run, row.id).await? {
                        left.push(row);
                        continue;
                    }
                    let restored = described(connection, run, row.id).await?;
                    forget(connection, run, row.id).await?;
                    // The run may have given it a table only.
                    if restored.is_some_and(|restored| restored.description() != row.description()) {
                        outcome.restored.push(row.into_name());
                    }
                }
                waiting = left;
                if waiting.is_empty() {
                    break;
                }
                if waiting.len() == count {
                    let ids: Vec<Uuid> = waiting.iter().map(|row| row.id).collect();
                    let exchanging = exchanging(&holders_of_former_names(connection, run, &ids).await?);
                    if exchanging.is_empty() {
                        break;
                    }
                    take_names(connection, &exchanging).await.during(OPERATION)?;
                }
            }
            let kept = waiting.into_iter().map(|row| (row.into_name(), DescriptionKept::NameTaken));
            outcome.kept.extend(kept);
            Ok(outcome)
        })
        .await
    }
}

/// The runs that have replaced descriptions.
pub(super) async fn replacing_runs(connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    if !has_table(connection, TABLE).await? {
        return Ok(Vec::new());
    }
    let runs = sqlx::query_scalar!("select distinct run_id from chroma_replaced_collections");
    runs.fetch_all(on(connection)).await
}

/// The collection whose description `run` has replaced, if it still exists; locked until the end of the transaction.
async fn described(connection: &mut PgConnection, run: Uuid, id: Uuid) -> Result<Option<Row>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"
        select c.id, d.tenant, d.name as database, c.name, space, dimension, metadata, configuration, schema, table_name,
            c.migration_digest
        from chroma_replaced_collections replaced
        join chroma_collections c
            on c.id = replaced.id and c.position = (replaced.row ->> 'position')::bigint
        join chroma_databases d on d.id = c.database_id
        where replaced.run_id = $1 and replaced.id = $2
        for update of c
        "#,
        run,
        id
    );
    row.fetch_optional(on(connection)).await.during(OPERATION)
}

/// Restores a description; `false` if its name is taken or its database does not exist. The table stays as it is, and with it
/// the dimension.
async fn restore(connection: &mut PgConnection, run: Uuid, id: Uuid) -> Result<bool, Error> {
    let restored = sqlx::query!(
        r#"
        update chroma_collections c
        set database_id = former.database_id, name = former.name, space = former.space, metadata = former.metadata,
            configuration = former.configuration, schema = former.schema, migration_digest = former.migration_digest,
            dimension = case when c.table_name is null then former.dimension else c.dimension end
        from chroma_replaced_collections replaced
        cross join lateral jsonb_populate_record(null::chroma_collections, replaced.row) former
        where replaced.run_id = $1 and replaced.id = $2 and c.id = replaced.id
            and exists (select from chroma_databases where id = former.database_id)
            and not exists (
                select from chroma_collections other
                where other.database_id = former.database_id and other.name = former.name and other.id <> c.id
            )
        "#,
        run,
        id
    );
    Ok(restored.execute(on(connection)).await.during(OPERATION)?.rows_affected() > 0)
}

/// Those of the collections `ids` whose former name another collection has, each with that one.
async fn holders_of_former_names(
    connection: &mut PgConnection,
    run: Uuid,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, Uuid>, Error> {
    let holders = sqlx::query!(
        r#"
        select replaced.id, other.id as other
        from chroma_replaced_collections replaced
        cross join lateral jsonb_populate_record(null::chroma_collections, replaced.row) former
        join chroma_collections other
            on other.database_id = former.database_id and other.name = former.name and other.id <> replaced.id
        where replaced.run_id = $1 and replaced.id = any($2)
        "#,
        run,
        ids
    );
    let holders = holders.fetch_all(on(connection)).await.during(OPERATION)?;
    Ok(holders.into_iter().map(|row| (row.id, row.other)).collect())
}

async fn forget(connection: &mut PgConnection, run: Uuid, id: Uuid) -> Result<(), Error> {
    sqlx::query!("delete from chroma_replaced_collections where run_id = $1 and id = $2", run, id)
        .execute(on(connection))
        .await
        .during(OPERATION)?;
    Ok(())
}

/// Forgets everything that was replaced.
pub(super) async fn forget_all(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("delete from chroma_replaced_collections").execute(on(connection)).await?;
    Ok(())
}
