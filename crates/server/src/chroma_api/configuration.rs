//! What collections are configured with: in part for clients only, since the planner decides on indexes here.

use records::DistanceSpace;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{
    collection_schema::{configuration_of, default_schema, space_of, vector_configs},
    json::decode,
    postgres::collections::Collection,
};

use super::error::{Answered, Refusal};

/// Configuration and schema of a collection, as clients read them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Configured {
    pub(super) space: DistanceSpace,
    pub(super) configuration: Value,
    pub(super) schema: Value,
}

/// `configuration` of a collection to create.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Configuration {
    hnsw: Option<Hnsw>,
    spann: Option<Spann>,
    embedding_function: Option<EmbeddingFunction>,
}

/// `new_configuration` of a collection.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ConfigurationUpdate {
    hnsw: Option<HnswUpdate>,
    spann: Option<SpannUpdate>,
    embedding_function: Option<EmbeddingFunction>,
}

/// `schema` of a collection to create.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Schema {
    defaults: Map<String, Value>,
    keys: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Space {
    L2,
    Cosine,
    Ip,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hnsw {
    space: Option<Space>,
    ef_construction: Option<usize>,
    ef_search: Option<usize>,
    max_neighbors: Option<usize>,
    num_threads: Option<usize>,
    resize_factor: Option<f64>,
    sync_threshold: Option<usize>,
    batch_size: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HnswUpdate {
    ef_search: Option<usize>,
    max_neighbors: Option<usize>,
    num_threads: Option<usize>,
    resize_factor: Option<f64>,
    sync_threshold: Option<usize>,
    batch_size: Option<usize>,
}

/// Single-node Chroma takes only the space of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the other fields are read to be checked")]
struct Spann {
    space: Option<Space>,
    search_nprobe: Option<u32>,
    write_nprobe: Option<u32>,
    ef_construction: Option<usize>,
    ef_search: Option<usize>,
    max_neighbors: Option<usize>,
    reassign_neighbor_count: Option<u32>,
    split_threshold: Option<u32>,
    merge_threshold: Option<u32>,
}

/// Without effect in single-node Chroma.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read to be checked")]
struct SpannUpdate {
    search_nprobe: Option<u32>,
    ef_search: Option<usize>,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "lowercase")]
enum EmbeddingFunction {
    Legacy,
    Known { name: String, config: Value },
    Unknown,
}

impl EmbeddingFunction {
    fn to_json(&self) -> Value {
        match self {
            Self::Legacy => json!({"type": "legacy"}),
            Self::Known { name, config } => json!({"type": "known", "name": name, "config": config}),
            Self::Unknown => json!({"type": "unknown"}),
        }
    }
}

/// The function of clients that were not told another one.
fn is_default_function(function: &Value) -> bool {
    function["type"] != "known" || function["name"] == "default"
}

const SPACES: [(&str, Space); 3] = [("l2", Space::L2), ("cosine", Space::Cosine), ("ip", Space::Ip)];

impl Configured {
    /// What a collection is configured with by configuration, metadata and schema. At most one of schema and the others
    /// may differ from the defaults.
    pub(super) fn new(
        configuration: Option<Configuration>,
        metadata: Option<&Map<String, Value>>,
        schema: Option<Schema>,
    ) -> Answered<Self> {
        // Without a configuration, metadata, schema and defaults say everything.
        let Configuration { hnsw, spann, embedding_function } = configuration.unwrap_or_default();
        if hnsw.is_some() && spann.is_some() {
            return Err(Refusal::invalid("Multiple vector index configurations provided"));
        }
        let of_metadata = metadata.map(Hnsw::from_metadata).transpose()?;
        let hnsw = match (hnsw, spann) {
            (Some(hnsw), _) => hnsw,
            (None, Some(spann)) => Hnsw { space: spann.space, ..Hnsw::default() },
            (None, None) => of_metadata.unwrap_or_default(),
        };
        let function = embedding_function.map(|function| function.to_json());
        let mut result = default_schema();
        if let Some(schema) = schema {
            let mut given = default_schema();
            merge(&mut given["defaults"], Value::Object(schema.defaults));
            let mut keys = Value::Object(schema.keys);
            fill_keys(&mut keys);
            merge(&mut given["keys"], keys);
            if has_sparse_index(&given) {
                return Err(Refusal::invalid(
                    "Failed to reconcile schema: Invalid schema input: Sparse vector indexing is not enabled in local",
                ));
            }
            if is_default_schema(&given) {
                hnsw.apply(&mut result);
            } else if hnsw.is_default() && function.as_ref().is_none_or(is_default_function) {
                return Self::of_schema(given);
            } else {
                return Err(Refusal::invalid(
                    "Failed to reconcile schema: Cannot set both collection config and schema simultaneously",
                ));
            }
        } else {
            hnsw.apply(&mut result);
        }
        if let Some(function) = function {
            set_function(&mut result, &function);
        }
        Self::of_schema(result)
    }

    /// What `collection` is configured with.
    pub(super) fn of(collection: &Collection) -> Self {
        if let Some(schema) = &collection.schema {
            let schema = decode(schema).value;
            return Self { space: collection.space, configuration: configuration_of(&schema), schema };
        }
        // Migrated without a readable schema. The space was read from its index, which counts more than its metadata.
        let metadata = collection.metadata.as_deref().map(|metadata| decode(metadata).value);
        let of_metadata = metadata.as_ref().and_then(Value::as_object).map(Hnsw::from_metadata);
        // Metadata that Chroma would not read as parameters stay metadata; they configure nothing.
        let mut hnsw = of_metadata.and_then(Result::ok).unwrap_or_default();
        hnsw.space =
            SPACES.iter().find(|(name, _)| *name == collection.space.as_str()).map(|(_, space)| *space);
        let mut schema = default_schema();
        hnsw.apply(&mut schema);
        let configuration = configuration_of(&schema);
        Self { space: collection.space, configuration, schema }
    }

    /// The same after a change.
    pub(super) fn changed(mut schema: Value, update: &ConfigurationUpdate) -> Answered<Self> {
        if update.hnsw.is_some() && update.spann.is_some() {
            return Err(Refusal::invalid("Multiple vector index configurations provided"));
        }
        if let Some(update) = &update.hnsw {
            let HnswUpdate {
                ef_search,
                max_neighbors,
                num_threads,
                resize_factor,
                sync_threshold,
                batch_size,
            } = update.clone();
            let hnsw = Hnsw {
                ef_search,
                max_neighbors,
                num_threads,
                resize_factor,
                sync_threshold,
                batch_size,
                ..Hnsw::default()
            };
            hnsw.apply(&mut schema);
        }
        if let Some(function) = &update.embedding_function {
            set_function(&mut schema, &function.to_json());
        }
        Self::of_schema(schema)
    }

    fn of_schema(schema: Value) -> Answered<Self> {
        let space = space_of(&schema);
        let space = space.ok_or_else(|| Refusal::invalid("Invalid schema input: unknown space"))?;
        Ok(Self { space, configuration: configuration_of(&schema), schema })
    }
}

impl Hnsw {
    /// The parameters that earlier versions had in the metadata.
    fn from_metadata(metadata: &Map<String, Value>) -> Answered<Self> {
        let wrong = || Refusal::invalid("Failed to parse hnsw parameters from segment metadata");
        let whole = |value: &Value| {
            let whole = value.as_u64().and_then(|whole| usize::try_from(whole).ok());
            whole.map(Some).ok_or_else(wrong)
        };
        let mut hnsw = Self::default();
        for (key, value) in metadata {
            let Some(name) = key.strip_prefix("hnsw:") else { continue };
            match name {
                "space" => {
                    let space = SPACES.iter().find(|(name, _)| value == name);
                    hnsw.space = Some(space.ok_or_else(wrong)?.1);
                }
                "construction_ef" => hnsw.ef_construction = whole(value)?,
                "search_ef" => hnsw.ef_search = whole(value)?,
                "M" => hnsw.max_neighbors = whole(value)?,
                "num_threads" => hnsw.num_threads = whole(value)?,
                "batch_size" => hnsw.batch_size = whole(value)?,
                "sync_threshold" => hnsw.sync_threshold = whole(value)?,
                "resize_factor" => hnsw.resize_factor = Some(value.as_f64().ok_or_else(wrong)?),
                _ => return Err(wrong()),
            }
        }
        Ok(hnsw)
    }

    /// Whether it says no more than the defaults.
    fn is_default(&self) -> bool {
        let mut schema = default_schema();
        self.apply(&mut schema);
        schema == default_schema()
    }

    fn apply(&self, schema: &mut Value) {
        let numbers = [
            ("ef_construction", self.ef_construction),
            ("ef_search", self.ef_search),
            ("max_neighbors", self.max_neighbors),
            ("num_threads", self.num_threads),
            ("sync_threshold", self.sync_threshold),
            ("batch_size", self.batch_size),
        ];
        for config in vector_configs(schema) {
            if let Some((name, _)) = SPACES.iter().find(|(_, space)| Some(*space) == self.space) {
                config["space"] = json!(name);
            }
            for (name, value) in numbers {
                if let Some(value) = value {
                    config["hnsw"][name] = json!(value);
                }
            }
            if let Some(factor) = self.resize_factor {
                config["hnsw"]["resize_factor"] = json!(factor);
            }
        }
    }
}

fn set_function(schema: &mut Value, function: &Value) {
    for config in vector_configs(schema) {
        config["embedding_function"] = function.clone();
    }
}

/// Whether a schema says no more than the default one.
fn is_default_schema(schema: &Value) -> bool {
    let mut plain = schema.clone();
    for config in vector_configs(&mut plain) {
        if let Value::Object(config) = config
            && config.get("embedding_function").is_some_and(is_default_function)
        {
            config.remove("embedding_function");
        }
    }
    plain == default_schema()
}

/// Replaces what `changes` have; null leaves a value as it is. Parameters of SPANN are left out, as by single-node
/// Chroma.
fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(object), Value::Object(changes)) => {
            for (key, change) in changes {
                if key == "spann" || change.is_null() {
                    continue;
                }
                match object.get_mut(&key) {
                    Some(value) if key != "embedding_function" => merge(value, change),
                    _ => drop(object.insert(key, change)),
                }
            }
        }
        (value, changes) => *value = changes,
    }
}

/// Removes what `merge` would not see below new keys.
fn fill_keys(keys: &mut Value) {
    if let Value::Object(keys) = keys {
        keys.values_mut().for_each(|types| {
            let mut clean = json!({});
            merge(&mut clean, types.take());
            *types = clean;
        });
    }
}

fn has_sparse_index(schema: &Value) -> bool {
    let is_enabled = |types: &Value| {
        types.pointer("/sparse_vector/sparse_vector_index/enabled").and_then(Value::as_bool) == Some(true)
    };
    let keys = schema["keys"].as_object();
    is_enabled(&schema["defaults"]) || keys.is_some_and(|keys| keys.values().any(is_enabled))
}
