//! What Chroma collections are configured with, as a server of Chroma 1.5.9 describes them: a schema, which says
//! everything, and the configuration that follows from it.

use records::DistanceSpace;
use serde_json::{Map, Value, json};

const FLOAT_LIST: &str = "/float_list/vector_index/config";
const EMBEDDING_KEY: &str = "#embedding";
/// The parts of a schema; the last two are absent in single-node Chroma.
const PARTS: [&str; 4] = ["defaults", "keys", "cmek", "source_attached_function_id"];

/// Chroma's schema of a collection without one.
pub fn default_schema() -> Value {
    let index = |is_enabled: bool| json!({"enabled": is_enabled, "config": {}});
    let hnsw = json!({
        "ef_construction": 100, "max_neighbors": 16, "ef_search": 100, "num_threads": 2, "batch_size": 100,
        "sync_threshold": 1000, "resize_factor": 1.2,
    });
    json!({
        "defaults": {
            "string": {"fts_index": index(false), "string_inverted_index": index(true)},
            "float_list": {"vector_index": {"enabled": false, "config": {"space": "l2", "hnsw": hnsw}}},
            "sparse_vector": {"sparse_vector_index": {
                "enabled": false,
                "config": {"embedding_function": {"type": "unknown"}, "bm25": false},
            }},
            "int": {"int_inverted_index": index(true)},
            "float": {"float_inverted_index": index(true)},
            "bool": {"bool_inverted_index": index(true)},
        },
        "keys": {
            "#embedding": {"float_list": {"vector_index": {
                "enabled": true,
                "config": {"space": "l2", "source_key": "#document", "hnsw": hnsw},
            }}},
            "#document": {"string": {"fts_index": index(true), "string_inverted_index": index(false)}},
        },
    })
}

/// The schema that a server of Chroma 1.5.9 answers for a collection which it finds with this `configuration` and
/// `schema`; `None` if they are invalid, so that it fails.
///
/// Metadata have no part in it: what versions before 1.0 set there is in effect, and not described.
pub fn described(configuration: Option<&str>, schema: Option<&str>) -> Option<Value> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let configuration = configuration.map_or(Some(json!({})), parse).filter(Value::is_object)?;
    let Some(schema) = schema else { return of_configuration(&configuration) };
    let mut schema = parse(schema)?;
    remove_nulls(&mut schema);
    let Value::Object(parts) = &mut schema else { return None };
    parts.retain(|name, _| PARTS.contains(&name.as_str()));
    schema.get("keys")?.get(EMBEDDING_KEY)?.pointer(FLOAT_LIST)?.as_object()?;
    let is_valid =
        schema["defaults"].is_object() && vector_configs(&mut schema).all(|config| is_config(config));
    is_valid.then_some(schema)
}

/// The schema of a collection that has only a configuration.
fn of_configuration(configuration: &Value) -> Option<Value> {
    let mut schema = default_schema();
    let index = configuration.get("vector_index").and_then(Value::as_object);
    let function = configuration.get("embedding_function").filter(|function| !function.is_null());
    for config in vector_configs(&mut schema) {
        let hnsw = index.and_then(|index| index.get("hnsw")).and_then(Value::as_object);
        let spann = index.and_then(|index| index.get("spann")).and_then(Value::as_object);
        let settings = hnsw.or(spann).cloned().unwrap_or_default();
        for (name, value) in &settings {
            match name.as_str() {
                "space" if !is_space(value) => return None,
                "space" => config["space"] = value.clone(),
                name if hnsw.is_some() && config["hnsw"].get(name).is_some() => {
                    config["hnsw"][name] = value.clone();
                }
                _ => {}
            }
        }
        if hnsw.is_none() && spann.is_some() {
            let settings = settings.into_iter().filter(|(name, _)| name != "space").collect();
            config["spann"] = Value::Object(settings);
            if let Value::Object(config) = config {
                config.remove("hnsw");
            }
        }
        if let Some(function) = function {
            config["embedding_function"] = function.clone();
        }
    }
    Some(schema)
}

/// The configuration that follows from a schema.
pub fn configuration_of(schema: &Value) -> Value {
    const HNSW: [&str; 5] =
        ["ef_construction", "ef_search", "max_neighbors", "resize_factor", "sync_threshold"];
    let spann_defaults = json!({
        "search_nprobe": 64, "write_nprobe": 32, "ef_construction": 200, "ef_search": 200, "max_neighbors": 64,
        "reassign_neighbor_count": 64, "split_threshold": 50, "merge_threshold": 25,
    });
    let config = schema["keys"][EMBEDDING_KEY].pointer(FLOAT_LIST);
    let config = config.unwrap_or(&Value::Null);
    // What a schema does not say is Chroma's default.
    let space = config.get("space").cloned().unwrap_or_else(|| "l2".into());
    let function = config.get("embedding_function").cloned().unwrap_or_default();
    let settings = |index: &str, names: &mut dyn Iterator<Item = (String, Value)>| -> Value {
        let given = |name: &str, default: Value| config[index].get(name).cloned().unwrap_or(default);
        let mut settings: Map<String, Value> = names
            .map(|(name, default)| {
                let value = given(&name, default);
                (name, value)
            })
            .collect();
        settings.insert("space".to_owned(), space.clone());
        Value::Object(settings)
    };
    let (hnsw, spann) = if config["spann"].is_object() && !config["hnsw"].is_object() {
        let defaults = spann_defaults.as_object().cloned().unwrap_or_default();
        (Value::Null, settings("spann", &mut defaults.into_iter()))
    } else {
        let defaults = default_schema()["keys"][EMBEDDING_KEY].pointer(FLOAT_LIST).cloned();
        let defaults = defaults.unwrap_or_default();
        let named = |name: &str| (name.to_owned(), defaults["hnsw"][name].clone());
        (settings("hnsw", &mut HNSW.into_iter().map(named)), Value::Null)
    };
    json!({"hnsw": hnsw, "spann": spann, "embedding_function": function})
}

/// The distance that a schema says, if it is valid.
pub fn space_of(schema: &Value) -> Option<DistanceSpace> {
    let config = schema["keys"][EMBEDDING_KEY].pointer(FLOAT_LIST)?;
    config["space"].as_str().and_then(DistanceSpace::from_chroma)
}

/// The configurations of vector indexes: that of the embedding, and the default of other keys.
pub fn vector_configs(schema: &mut Value) -> impl Iterator<Item = &mut Value> {
    let (mut of_defaults, mut of_key) = (None, None);
    for (name, part) in schema.as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "defaults" => of_defaults = part.pointer_mut(FLOAT_LIST),
            "keys" => of_key = part.get_mut(EMBEDDING_KEY).and_then(|types| types.pointer_mut(FLOAT_LIST)),
            _ => {}
        }
    }
    of_defaults.into_iter().chain(of_key).filter(|config| config.is_object())
}

fn is_config(config: &Value) -> bool {
    ["hnsw", "spann"].into_iter().all(|index| config.get(index).is_none_or(Value::is_object))
        && config.get("space").is_none_or(is_space)
}

fn is_space(value: &Value) -> bool {
    value.as_str().and_then(DistanceSpace::from_chroma).is_some()
}

/// Chroma omits what is null, except inside the configuration of an embedding function.
fn remove_nulls(value: &mut Value) {
    if let Value::Object(object) = value {
        object.retain(|_, value| !value.is_null());
        let nested = object.iter_mut().filter(|(name, _)| *name != "embedding_function");
        nested.for_each(|(_, value)| remove_nulls(value));
    }
}
