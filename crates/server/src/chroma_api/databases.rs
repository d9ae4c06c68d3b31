//! Tenants and databases.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::postgres::collections::{CollectionDatabase, CollectionError};

use super::{
    Served,
    collections::is_valid_name,
    error::{Answered, Refusal},
    extract::{Body, Page, Path},
    json::Json,
};

/// The body that creates a tenant or a database.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Named {
    name: String,
}

/// The body that changes a tenant.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct TenantUpdate {
    resource_name: String,
}

#[derive(Debug, JsonSchema, Serialize)]
pub(super) struct DatabaseResponse {
    id: String,
    name: String,
    tenant: String,
}

/// Maximum characters of a tenant's name, so that an index can hold it.
const MAX_TENANT_CHARACTERS: usize = 512;

pub(super) async fn create_tenant(
    State(served): State<Served>,
    Body(Named { name }): Body<Named>,
) -> Answered<Json<Value>> {
    let characters = name.chars().count();
    if characters < 3 {
        let value = format!("[{{\"min\": Number(3), \"value\": String({name:?})}}]");
        return Err(Refusal::invalid(format!("Validation error: name: Validation error: length {value}")));
    }
    if characters > MAX_TENANT_CHARACTERS || name.contains('\0') {
        return Err(Refusal::invalid(format!(
            "Validation error: name: expected up to {MAX_TENANT_CHARACTERS} characters without NUL"
        )));
    }
    match served.api.collections.database().create_tenant(&name).await {
        Err(CollectionError::Taken) => Err(Refusal::conflict(format!("Tenant [{name}] already exists"))),
        created => Ok(created.map(|()| Json(json!({})))?),
    }
}

pub(super) async fn get_tenant(State(served): State<Served>, path: Path) -> Answered<Json<Value>> {
    let tenant = served.api.collections.database().tenant(&path.tenant).await?;
    let not_found = || Refusal::not_found(format!("Tenant [{}] not found", path.tenant));
    let resource_name = tenant.ok_or_else(not_found)?;
    Ok(Json(json!({"name": path.tenant, "resource_name": resource_name})))
}

pub(super) async fn update_tenant(
    State(served): State<Served>,
    path: Path,
    Body(TenantUpdate { resource_name }): Body<TenantUpdate>,
) -> Answered<Json<Value>> {
    if resource_name.contains('\0') {
        return Err(Refusal::invalid("Validation error: resource_name: expected no NUL"));
    }
    served.api.collections.database().set_resource_name(&path.tenant, &resource_name).await?;
    Ok(Json(json!({})))
}

pub(super) async fn create_database(
    State(served): State<Served>,
    path: Path,
    Body(Named { name }): Body<Named>,
) -> Answered<Json<Value>> {
    is_valid_name(&name).map_err(Refusal::invalid)?;
    if path.tenant.chars().count() > MAX_TENANT_CHARACTERS {
        return Err(Refusal::not_found("Tenant not found"));
    }
    match served.api.collections.database().create_collection_database(&path.tenant, &name).await {
        Err(CollectionError::Taken) => Err(Refusal::conflict(format!("Database [{name}] already exists"))),
        created => Ok(created.map(|()| Json(json!({})))?),
    }
}

pub(super) async fn list_databases(
    State(served): State<Served>,
    path: Path,
    page: Page,
) -> Answered<Json<Vec<DatabaseResponse>>> {
    let database = served.api.collections.database();
    let found =
        // Without an offset, from the first one.
        database.collection_databases(&path.tenant, page.limit, page.offset.unwrap_or_default()).await?;
    Ok(Json(found.into_iter().map(DatabaseResponse::from).collect()))
}

pub(super) async fn get_database(
    State(served): State<Served>,
    path: Path,
) -> Answered<Json<DatabaseResponse>> {
    let found = served.api.collections.database().collection_database(&path.tenant, &path.database).await?;
    let not_found =
        || Refusal::not_found(format!("Database [{}] not found. Are you sure it exists?", path.database));
    found.map(|database| Json(database.into())).ok_or_else(not_found)
}

pub(super) async fn delete_database(State(served): State<Served>, path: Path) -> Answered<Json<Value>> {
    let database = served.api.collections.database();
    match database.delete_collection_database(&path.tenant, &path.database).await {
        Err(CollectionError::NoDatabase) => {
            Err(Refusal::not_found(format!("Database [{}] not found", path.database)))
        }
        deleted => Ok(deleted.map(|()| Json(json!({})))?),
    }
}

impl From<CollectionDatabase> for DatabaseResponse {
    fn from(CollectionDatabase { id, name, tenant }: CollectionDatabase) -> Self {
        Self { id: id.to_string(), name, tenant }
    }
}
