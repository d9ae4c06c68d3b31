//! The effective distance space of a server's collection; FORMAT §8 as visible through the API.

use chroma::{Warning, WarningCode};
use records::{DistanceSpace, Metadata, MetadataValue};
use serde_json::Value;

/// Defaults of Chroma ≥ 1.0 for a collection without a configuration.
const DEFAULTS: [(&str, f64); 4] =
    [("ef_construction", 100.0), ("ef_search", 100.0), ("max_neighbors", 16.0), ("sync_threshold", 1000.0)];

/// The declarations of a collection in a listing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Declarations<'d> {
    /// `schema`, ≥ 1.3.
    pub(crate) schema: Option<&'d Value>,
    /// `configuration_json`. In 0.5.4 – 0.6, always `l2`.
    pub(crate) configuration: Option<&'d Value>,
    /// The collection's metadata, in which clients before 1.0 set `hnsw:space`.
    pub(crate) metadata: Option<&'d Metadata>,
}

/// The effective space: that of the schema, else of the configuration of a server ≥ 1.0, else of the metadata of an
/// older one.
///
/// For a collection created by Chroma 0.x, 1.x lists a default configuration, but uses the old settings, which only
/// the metadata show over HTTP. So metadata take precedence over a completely default configuration, as in Chroma
/// itself (`get_internal_hnsw_config_with_legacy_fallback`); if a 1.x client had set the space in the metadata, the
/// configuration would contain it.
pub(crate) fn resolve(declarations: Declarations<'_>, warnings: &mut Vec<Warning>) -> DistanceSpace {
    let Declarations { schema, configuration, metadata } = declarations;
    let schema =
        schema.and_then(|json| json.pointer("/keys/#embedding/float_list/vector_index/config/space"));
    let index = |name: &str| configuration.and_then(|json| json.get(name)).filter(|json| json.is_object());
    let (hnsw, spann) = (index("hnsw"), index("spann"));
    let modern = schema.or_else(|| hnsw.or(spann).and_then(|json| json.get("space")));
    let legacy = configuration.and_then(|json| json.pointer("/hnsw_configuration/space"));
    let chosen = match metadata.and_then(|metadata| metadata.get("hnsw:space")) {
        Some(MetadataValue::Text(name)) => Some(name.as_str()),
        _ => None,
    };
    let known = |name: Option<&str>| name.and_then(DistanceSpace::from_chroma);
    let configured = known(modern.and_then(Value::as_str));
    if let Some(name) = modern.and_then(Value::as_str)
        && configured.is_none()
    {
        let message = format!("expected the distance space l2, cosine or ip, found `{name}`; ignoring it");
        warnings.push(Warning::new(WarningCode::SpaceUnknown, message));
    }
    let all_default = configured == Some(DistanceSpace::L2) && hnsw.is_some_and(is_default);
    let space = if all_default { known(chosen) } else { None }
        .or(configured)
        .or_else(|| known(chosen))
        .or_else(|| known(legacy.and_then(Value::as_str)))
        .unwrap_or(DistanceSpace::L2);
    if let Some(chosen) = chosen
        && chosen != space.as_str()
    {
        let message = format!(
            "the collection's metadata declares `{chosen}`, but the index was built for `{space}`; using `{space}`"
        );
        warnings.push(Warning::new(WarningCode::SpaceConflict, message));
    }
    space
}

fn is_default(hnsw: &Value) -> bool {
    DEFAULTS.iter().all(|(name, value)| hnsw.get(name).and_then(Value::as_f64) == Some(*value))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(schema: Option<&str>, configuration: Value, chosen: Option<&str>, expected: Expect) {
        let schema = schema.map(|space| {
            json!({"keys": {"#embedding": {"float_list": {"vector_index": {"config": {"space": space}}}}}})
        });
        let metadata: Metadata = chosen
            .iter()
            .map(|name| ("hnsw:space".to_owned(), MetadataValue::Text((*name).to_owned())))
            .collect();
        let declarations = Declarations {
            schema: schema.as_ref(),
            configuration: Some(&configuration),
            metadata: Some(&metadata),
        };
        let mut warnings = Vec::new();
        let space = resolve(declarations, &mut warnings);
        let codes: String = warnings.iter().map(|warning| format!(" {}", warning.code)).collect();
        expected.assert_eq(&format!("{space}{codes}"));
    }

    fn hnsw(space: &str, sync_threshold: u32) -> Value {
        json!({"hnsw": {"space": space, "ef_construction": 100, "ef_search": 100, "max_neighbors": 16,
            "resize_factor": 1.2, "sync_threshold": sync_threshold}, "spann": null})
    }

    #[test]
    fn configuration_of_1_x_is_used_unless_it_is_the_default() {
        check(Some("cosine"), hnsw("cosine", 1000), None, expect!["cosine"]);
        check(None, hnsw("ip", 20), Some("cosine"), expect!["ip space_conflict"]);
        check(Some("l2"), hnsw("l2", 1000), Some("cosine"), expect!["cosine"]);
        check(Some("l2"), hnsw("l2", 20), Some("cosine"), expect!["l2 space_conflict"]);
        check(None, json!({"hnsw": null, "spann": {"space": "cosine"}}), None, expect!["cosine"]);
        check(Some("manhattan"), hnsw("l2", 1000), None, expect!["l2 space_unknown"]);
    }

    #[test]
    fn metadata_are_used_for_0_x() {
        let legacy =
            json!({"hnsw_configuration": {"space": "l2"}, "_type": "CollectionConfigurationInternal"});
        check(None, legacy, Some("cosine"), expect!["cosine"]);
        let migrated = json!({"hnsw_configuration": {"space": "ip"}});
        check(None, migrated, None, expect!["ip"]);
        check(None, Value::Null, None, expect!["l2"]);
        check(None, Value::Null, Some("manhattan"), expect!["l2 space_conflict"]);
    }
}
