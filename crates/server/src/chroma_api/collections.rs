//! Collections.

use std::net::Ipv4Addr;

use axum::{extract::State, http::StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{
    json::decode,
    postgres::collections::{Collection, CollectionChange, CollectionError, Existing, NewCollection},
};

use super::{
    Served,
    configuration::{Configuration, ConfigurationUpdate, Configured, Schema},
    error::{Answered, Refusal},
    extract::{Body, Page, Path},
    json::{Json, JsonList},
    metadata::{Metadata, MetadataUpdate, has_valid_keys},
};

/// The body that creates a collection.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Create {
    name: String,
    metadata: Option<Metadata>,
    #[schemars(with = "Option<Map<String, Value>>")]
    configuration: Option<Configuration>,
    #[schemars(with = "Option<Map<String, Value>>")]
    schema: Option<Schema>,
    #[serde(default)]
    get_or_create: bool,
}

/// The body that changes a collection.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Change {
    new_name: Option<String>,
    new_metadata: Option<MetadataUpdate>,
    #[schemars(with = "Option<Map<String, Value>>")]
    new_configuration: Option<ConfigurationUpdate>,
}

/// Checks the name of a collection or database.
pub(super) fn is_valid_name(name: &str) -> Result<(), String> {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let is_valid = (3..=512).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        && is_end(name.chars().next())
        && is_end(name.chars().last());
    if !is_valid {
        return Err(format!(
            "Expected a name containing 3-512 characters from [a-zA-Z0-9._-], starting and ending with a character in [a-zA-Z0-9]. Got: {name}"
        ));
    }
    if name.contains("..") {
        return Err(format!(
            "Expected a name that does not contains two consecutive periods (..). Got {name}"
        ));
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Err(format!("Expected a name that is not a valid ip address. Got {name}"));
    }
    Ok(())
}

fn check_name(field: &str, name: &str) -> Answered<()> {
    is_valid_name(name).map_err(|problem| Refusal::invalid(format!("Validation error: {field}: {problem}")))
}

/// Maximum bytes of what describes a collection: clients read those of many collections at once.
const MAX_DESCRIPTION_BYTES: usize = 1 << 20;

/// Rejects descriptions that `list` could not answer.
fn check_size(texts: [Option<&str>; 3]) -> Answered<()> {
    let bytes: usize = texts.into_iter().flatten().map(str::len).sum();
    if bytes <= MAX_DESCRIPTION_BYTES {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "Expected up to {MAX_DESCRIPTION_BYTES} bytes of metadata and configuration of a collection, found {bytes}"
    )))
}

fn check_keys(field: &str, metadata: &Map<String, Value>) -> Answered<()> {
    if metadata.is_empty() {
        return Err(Refusal::invalid(format!("Validation error: {field}: Metadata cannot be empty")));
    }
    if !has_valid_keys(metadata) {
        return Err(Refusal::invalid(format!("Validation error: {field}: Invalid metadata")));
    }
    Ok(())
}

fn to_text(metadata: Option<&Map<String, Value>>) -> Answered<Option<String>> {
    let text = metadata.map(serde_json::to_string).transpose();
    text.map_err(|_| Refusal::invalid("Validation error: metadata: it is not JSON"))
}

pub(super) async fn create(
    State(served): State<Served>,
    path: Path,
    Body(create): Body<Create>,
) -> Answered<Json<Value>> {
    let Create { name, metadata, configuration, schema, get_or_create } = create;
    check_name("name", &name)?;
    if let Some(metadata) = &metadata {
        check_keys("metadata", &metadata.0)?;
    }
    let metadata = metadata.map(Metadata::stored);
    let configured = Configured::new(configuration, metadata.as_ref(), schema)?;
    let metadata = to_text(metadata.as_ref())?;
    let (configuration, schema) = (configured.configuration.to_string(), configured.schema.to_string());
    check_size([metadata.as_deref(), Some(&configuration), Some(&schema)])?;
    let new = NewCollection {
        tenant: &path.tenant,
        database: &path.database,
        name: &name,
        space: configured.space,
        metadata: metadata.as_deref(),
        configuration: &configuration,
        schema: &schema,
    };
    let existing = if get_or_create { Existing::Keep } else { Existing::Refuse };
    match served.api.collections.database().create_collection(&new, existing).await {
        Ok(collection) => Ok(Json(shown(&collection))),
        Err(CollectionError::Taken) => Err(Refusal::conflict(format!("Collection [{name}] already exists"))),
        Err(CollectionError::NoDatabase) => {
            Err(Refusal::invalid(format!("Database [{}] does not exist", path.database)))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn list(State(served): State<Served>, path: Path, page: Page) -> Answered<JsonList<Value>> {
    let database = served.api.collections.database();
    let place = (path.tenant.as_str(), path.database.as_str());
    // There may be thousands: only their texts are kept, of which each is a hundredth of the values.
    let mut list = JsonList::default();
    // Without an offset, from the first one.
    let page = (page.limit, page.offset.unwrap_or_default());
    database.visit_collections(place, page, |collection| list.push(&shown(collection))).await?;
    Ok(list)
}

pub(super) async fn count(State(served): State<Served>, path: Path) -> Answered<Json<u64>> {
    Ok(Json(served.api.collections.database().count_collections(&path.tenant, &path.database).await?))
}

pub(super) async fn get(State(served): State<Served>, path: Path) -> Answered<Json<Value>> {
    let Path { tenant, database, collection: name } = &path;
    let found = served.api.collections.database().collection_named(tenant, database, name).await?;
    let not_found = || Refusal::not_found(format!("Collection [{name}] does not exist"));
    found.map(|collection| Json(shown(&collection))).ok_or_else(not_found)
}

pub(super) async fn get_by_id(State(served): State<Served>, path: Path) -> Answered<Json<Value>> {
    if path.id().is_err() {
        return Err(Refusal::invalid(
            "Validation error: collection_id: Invalid collection ID format, expected UUID",
        ));
    }
    match find(&served, &path).await {
        // On this route, Chroma's message has no full stop.
        Err(Refusal::Chroma(StatusCode::NOT_FOUND, message)) => {
            Err(Refusal::not_found(message.trim_end_matches('.')))
        }
        found => Ok(Json(shown(&found?))),
    }
}

/// A collection by its resource name: that of its tenant, its database and its name.
pub(super) async fn get_by_resource_name(State(served): State<Served>, path: Path) -> Answered<Json<Value>> {
    let resource_name = &path.collection;
    let parts: Vec<&str> = resource_name.split(':').collect();
    let &[tenant, database, name] = parts.as_slice() else { return Err(malformed_resource_name()) };
    if parts.contains(&"") {
        return Err(malformed_resource_name());
    }
    let store = served.api.collections.database();
    let found = match store.tenant_with_resource_name(tenant).await? {
        Some(tenant) => store.collection_named(&tenant, database, name).await?,
        None => None,
    };
    let not_found = || Refusal::not_found(format!("Collection [{resource_name}] does not exist"));
    found.map(|collection| Json(shown(&collection))).ok_or_else(not_found)
}

fn malformed_resource_name() -> Refusal {
    Refusal::invalid(
        "Validation error: crn: CRN must be in the format <tenant_resource_name>:<database_name>:<collection_name> with non-empty parts",
    )
}

/// The collection with the id of the path.
pub(super) async fn find(served: &Served, path: &Path) -> Answered<Collection> {
    let id = path.id()?;
    let found = served.api.collections.find(&path.tenant, &path.database, id).await?;
    found.ok_or_else(|| Refusal::not_found(format!("Collection [{id}] does not exist.")))
}

pub(super) async fn update(
    State(served): State<Served>,
    path: Path,
    Body(change): Body<Change>,
) -> Answered<Json<Value>> {
    let Change { new_name, new_metadata, new_configuration } = change;
    path.id()?;
    if let Some(name) = &new_name {
        check_name("new_name", name)?;
    }
    if let Some(metadata) = &new_metadata {
        check_keys("new_metadata", &metadata.0)?;
    }
    let metadata = to_text(new_metadata.map(MetadataUpdate::replacing).as_ref())?;
    let collection = find(&served, &path).await?;
    if collection.is_of_service() && new_name.as_ref().is_some_and(|name| *name != collection.name) {
        return Err(Refusal::invalid(format!(
            "Collection [{}] is that of a service: it keeps its name",
            collection.name
        )));
    }
    let configured = new_configuration
        .map(|update| Configured::changed(Configured::of(&collection).schema, &update))
        .transpose()?;
    let (configuration, schema) = match &configured {
        Some(configured) => (Some(configured.configuration.to_string()), Some(configured.schema.to_string())),
        None => (None, None),
    };
    check_size([metadata.as_deref(), configuration.as_deref(), schema.as_deref()])?;
    let change = CollectionChange {
        name: new_name.as_deref(),
        metadata: metadata.as_deref(),
        configuration: configuration.as_deref(),
        schema: schema.as_deref(),
    };
    match served.api.collections.database().change_collection(collection.id, &change).await {
        Err(CollectionError::Taken) => {
            Err(Refusal::conflict(format!("Collection [{}] already exists", new_name.unwrap_or_default())))
        }
        changed => Ok(changed.map(|()| Json(json!({})))?),
    }
}

pub(super) async fn delete(State(served): State<Served>, path: Path) -> Answered<Json<Value>> {
    let Path { tenant, database, collection: name } = &path;
    let store = served.api.collections.database();
    match store.delete_collection(tenant, database, name).await {
        Err(CollectionError::NotFound) => {
            let found = store.collection_named(tenant, database, name).await?;
            if found.is_some_and(|collection| collection.is_of_service()) {
                return Err(Refusal::invalid(format!(
                    "Collection [{name}] is that of a service and stays: delete its records instead"
                )));
            }
            Err(Refusal::not_found(format!("Collection [{name}] does not exist")))
        }
        deleted => Ok(deleted.map(|()| Json(json!({})))?),
    }
}

/// What single-node Chroma does not do either.
pub(super) async fn fork() -> Refusal {
    Refusal::not_implemented("Collection forking is unsupported for local chroma")
}

pub(super) async fn count_forks(path: Path) -> Answered<()> {
    path.id()?;
    Err(Refusal::not_implemented("Count forks is unsupported for local chroma"))
}

pub(super) async fn functions() -> Refusal {
    Refusal::not_implemented("Attached Function operations are unsupported for local chroma")
}

pub(super) async fn indexing_status(path: Path) -> Answered<()> {
    path.id()?;
    let message = "Method scout_logs is not implemented".to_owned();
    Err(Refusal::Chroma(StatusCode::INTERNAL_SERVER_ERROR, message))
}

/// A collection as clients read it.
fn shown(collection: &Collection) -> Value {
    let configured = Configured::of(collection);
    json!({
        "id": collection.id.to_string(),
        "name": collection.name,
        "configuration_json": configured.configuration,
        "schema": configured.schema,
        "metadata": collection.metadata.as_deref().map(|metadata| decode(metadata).value),
        "dimension": collection.dimension,
        "tenant": collection.tenant,
        "database": collection.database,
        "log_position": 0,
        "version": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_chroma_takes() {
        for name in ["abc", "a.b", "A-1_2", &"x".repeat(512)] {
            assert_eq!(is_valid_name(name), Ok(()), "{name}");
        }
        for name in ["", "ab", "a b", "-abc", "abc_", "a..b", "1.2.3.4", "äbc", "a\0b", &"x".repeat(513)] {
            assert!(is_valid_name(name).is_err(), "{name}");
        }
    }
}
