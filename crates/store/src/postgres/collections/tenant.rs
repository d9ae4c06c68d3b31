//! The table `chroma_tenants`.

use super::{CollectionError, DEFAULT_DATABASE, DEFAULT_TENANT, failing};
use crate::postgres::{Database, jobs::now, unnamed::on};
use uuid::Uuid;

impl Database {
    /// Creates the tenant and the database that every server has, if they do not exist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_default_tenant(&self) -> Result<(), CollectionError> {
        const OPERATION: &str = "create the default tenant";
        // That of a standby is the primary's.
        if self.rejects_writes() {
            return Ok(());
        }
        let mut transaction = self.begin_write(&[]).await.map_err(failing(OPERATION))?;
        sqlx::query!(
            "insert into chroma_tenants (name, created_at) values ($1, $2) on conflict do nothing",
            DEFAULT_TENANT,
            now()
        )
        .execute(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?;
        sqlx::query!(
            "insert into chroma_databases (id, tenant, name, created_at) values ($1, $2, $3, $4) on conflict do nothing",
            Uuid::nil(),
            DEFAULT_TENANT,
            DEFAULT_DATABASE,
            now()
        )
        .execute(on(&mut transaction))
        .await
        .map_err(failing(OPERATION))?;
        transaction.commit().await.map_err(failing(OPERATION))
    }

    /// Creates a tenant.
    ///
    /// # Errors
    /// [`CollectionError::Taken`], or when the database fails.
    pub async fn create_tenant(&self, name: &str) -> Result<(), CollectionError> {
        let created = sqlx::query!(
            "insert into chroma_tenants (name, created_at) values ($1, $2) on conflict do nothing",
            name,
            now()
        )
        .execute(self)
        .await
        .map_err(failing("create a tenant"))?;
        if created.rows_affected() == 0 { Err(CollectionError::Taken) } else { Ok(()) }
    }

    /// The resource name of a tenant, if there is the tenant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tenant(&self, name: &str) -> Result<Option<Option<String>>, CollectionError> {
        sqlx::query_scalar!("select resource_name from chroma_tenants where name = $1", name)
            .fetch_optional(self)
            .await
            .map_err(failing("read a tenant"))
    }

    /// The name of the tenant with this resource name, of the oldest if there are several.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tenant_with_resource_name(
        &self,
        resource_name: &str,
    ) -> Result<Option<String>, CollectionError> {
        sqlx::query_scalar!(
            "select name from chroma_tenants where resource_name = $1 order by created_at, name limit 1",
            resource_name
        )
        .fetch_optional(self)
        .await
        .map_err(failing("read a tenant"))
    }

    /// Sets the resource name of a tenant that has none; does nothing if there is no such tenant.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_resource_name(&self, tenant: &str, name: &str) -> Result<(), CollectionError> {
        sqlx::query!("update chroma_tenants set resource_name = $2 where name = $1", tenant, name)
            .execute(self)
            .await
            .map_err(failing("change a tenant"))?;
        Ok(())
    }
}
