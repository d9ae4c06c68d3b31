//! The table `chroma_databases`.

use uuid::Uuid;

use super::{CollectionError, DEFAULT_TENANT, collection, deletions, failing, replacements};
use crate::postgres::{Database, jobs::now, unnamed::on};

/// A database of collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionDatabase {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
}

impl Database {
    /// Creates a database of collections.
    ///
    /// # Errors
    /// [`CollectionError::Taken`], or when the database fails.
    pub async fn create_collection_database(&self, tenant: &str, name: &str) -> Result<(), CollectionError> {
        const OPERATION: &str = "create a database";
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        // Locked, so that the tenant is not removed meanwhile with the run that had registered it.
        sqlx::query!("select name from chroma_tenants where name = $1 for key share", tenant)
            .fetch_optional(on(&mut transaction))
            .await
            .map_err(failing(OPERATION))?;
        let created = sqlx::query!(
            "insert into chroma_databases (id, tenant, name, created_at) values ($1, $2, $3, $4) on conflict (tenant, name) do nothing",
            Uuid::new_v4(),
            tenant,
            name,
            now()
        )
        .execute(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))?;
        if created.rows_affected() == 0 { Err(CollectionError::Taken) } else { Ok(()) }
    }

    /// A database of collections, if it exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collection_database(
        &self,
        tenant: &str,
        name: &str,
    ) -> Result<Option<CollectionDatabase>, CollectionError> {
        sqlx::query_as!(
            CollectionDatabase,
            "select id, name, tenant from chroma_databases where tenant = $1 and name = $2",
            tenant,
            name
        )
        .fetch_optional(self)
        .await
        .map_err(failing("read a database"))
    }

    /// The databases of a tenant by name: `limit` of them after the first `offset`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn collection_databases(
        &self,
        tenant: &str,
        limit: Option<u32>,
        offset: u32,
    ) -> Result<Vec<CollectionDatabase>, CollectionError> {
        sqlx::query_as!(
            CollectionDatabase,
            r#"
            select id, name, tenant
            from chroma_databases
            where tenant = $1
            order by name collate "C"
            limit $2 offset $3
            "#,
            tenant,
            limit.map(i64::from),
            i64::from(offset)
        )
        .fetch_all(self)
        .await
        .map_err(failing("list databases"))
    }

    /// Deletes a database of collections, with its collections and their tables.
    ///
    /// # Errors
    /// [`CollectionError::NoDatabase`], or when the database fails.
    pub async fn delete_collection_database(&self, tenant: &str, name: &str) -> Result<(), CollectionError> {
        const OPERATION: &str = "delete a database";
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        let id = sqlx::query_scalar!(
            "select id from chroma_databases where tenant = $1 and name = $2 for update",
            tenant,
            name
        )
        .fetch_optional(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?
        .ok_or(CollectionError::NoDatabase)?;
        collection::delete_all_of(&mut transaction, id).await?;
        deletions::note_database(&mut transaction, id).await.map_err(failing(OPERATION))?;
        // One with collections of the services stays.
        sqlx::query!(
            "delete from chroma_databases where id = $1 and not exists (select from chroma_collections where database_id = $1)",
            id
        )
        .execute(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))
    }

    /// Deletes everything that Chroma clients have created, with all tables of collections.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reset_collections(&self) -> Result<(), CollectionError> {
        const OPERATION: &str = "delete all collections";
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        // The default database stays, with the collections of the services.
        let ids = sqlx::query_scalar!("select id from chroma_databases for update")
            .fetch_all(on(&mut transaction))
            .await
            .map_err(failing(OPERATION))?;
        for id in &ids {
            collection::delete_all_of(&mut transaction, *id).await?;
        }
        // Nothing is left here, and the next migration copies everything.
        deletions::forget_all(&mut transaction).await.map_err(failing(OPERATION))?;
        replacements::forget_all(&mut transaction).await.map_err(failing(OPERATION))?;
        // Those that are created meanwhile stay, with their collections.
        sqlx::query!("delete from chroma_databases where id = any($1) and id <> $2", &ids, Uuid::nil())
            .execute(on(&mut transaction))
            .await
            .map_err(failing(OPERATION))?;
        sqlx::query!("delete from chroma_tenants where name <> $1", DEFAULT_TENANT)
            .execute(on(&mut transaction))
            .await
            .map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))?;
        self.create_default_tenant().await
    }
}
