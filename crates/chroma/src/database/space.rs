//! The distance space of a collection, which is declared in up to three places (FORMAT §8).

use records::DistanceSpace;

use crate::{
    hnsw::Normalisation,
    json::{self, Json},
    warning::{Warning, WarningCode},
};

/// The declarations, as stored.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Declarations<'a> {
    /// `segment_metadata['hnsw:space']` of the VECTOR segment, with which 0.x built the index.
    pub(crate) segment: Option<&'a str>,
    /// `collections.schema_str`, ≥ 1.3.
    pub(crate) schema: Option<&'a str>,
    /// `collections.config_json_str`. The `hnsw_configuration` of 0.5.4 – 0.6 always says `l2` and is ignored.
    pub(crate) configuration: Option<&'a str>,
    /// `collection_metadata['hnsw:space']` by the user, which has no effect.
    pub(crate) collection: Option<&'a str>,
}

/// The result of the declarations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The space for which the index was built.
    pub(crate) space: DistanceSpace,
    pub(crate) normalisation: Normalisation,
    /// Whether the collection has its own index schema, which only Chroma ≥ 1.3 creates. A configuration is no proof:
    /// `modify` of 1.x also adds one to older collections.
    pub(crate) has_schema: bool,
}

/// The effective space.
pub(crate) fn resolve(declarations: Declarations<'_>, warnings: &mut Vec<Warning>) -> Resolved {
    let schema = declarations.schema.and_then(|text| parse("schema_str", text, warnings));
    let schema = schema.as_ref().and_then(|json| {
        follow(json, &["keys", "#embedding", "float_list", "vector_index", "config", "space"])
    });
    let configuration = declarations.configuration.and_then(|text| parse("config_json_str", text, warnings));
    let configuration = configuration.as_ref().and_then(|json| {
        [
            &["vector_index", "hnsw", "space"][..],
            &["vector_index", "spann", "space"],
            &["hnsw", "space"],
            &["spann", "space"],
        ]
        .iter()
        .find_map(|path| follow(json, path))
    });
    let mut known = |place: &str, name: Option<&str>| {
        let name = name?;
        let space = DistanceSpace::from_chroma(name);
        if space.is_none() {
            warnings.push(Warning::new(
                WarningCode::SpaceUnknown,
                format!(
                    "expected `hnsw:space` in {place} to be l2, cosine or ip, found `{name}`; ignoring it"
                ),
            ));
        }
        space
    };
    let by_segment = known("segment_metadata", declarations.segment);
    let by_1_x = known("schema_str", schema).or_else(|| known("config_json_str", configuration));
    let space = by_segment.or(by_1_x).unwrap_or(DistanceSpace::L2);
    let normalisation = match by_1_x {
        Some(other) if (other == DistanceSpace::Cosine) != (space == DistanceSpace::Cosine) => {
            warnings.push(Warning::new(
                WarningCode::SpaceConflict,
                format!("the index was built for `{space}`, but Chroma >= 1.0 may have used it as `{other}`"),
            ));
            Normalisation::Mixed
        }
        _ if space == DistanceSpace::Cosine => Normalisation::All,
        _ => Normalisation::None,
    };
    if let Some(declared) = declarations.collection
        && declared != space.as_str()
    {
        warnings.push(Warning::new(
            WarningCode::SpaceConflict,
            format!("the collection's metadata declares `{declared}`, but the index was built for `{space}`; using `{space}`"),
        ));
    }
    Resolved { space, normalisation, has_schema: declarations.schema.is_some() }
}

fn parse(column: &str, text: &str, warnings: &mut Vec<Warning>) -> Option<Json> {
    json::parse(text.as_bytes())
        .map_err(|error| {
            let message = format!(
                "failed to parse `{column}`: {error}; the distance space is read from another source"
            );
            warnings.push(Warning::new(WarningCode::ConfigurationUnreadable, message));
        })
        .ok()
}

fn follow<'j>(json: &'j Json, path: &[&str]) -> Option<&'j str> {
    path.iter().try_fold(json, |json, key| json.get(key))?.as_str()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(declarations: Declarations<'_>, expected: Expect) {
        let mut warnings = Vec::new();
        let Resolved { space, normalisation, .. } = resolve(declarations, &mut warnings);
        let warnings: String = warnings.iter().map(|warning| format!("\n{warning}")).collect();
        expected.assert_eq(&format!("{space} {normalisation:?}{warnings}"));
    }

    #[test]
    fn precedence_is_segment_schema_configuration() {
        let schema = r##"{"defaults":{"float_list":{"vector_index":{"config":{"space":"l2"}}}},
            "keys":{"#embedding":{"float_list":{"vector_index":{"enabled":true,"config":{"space":"ip"}}}}}}"##;
        let configuration = r#"{"vector_index":{"hnsw":{"space":"cosine"}}}"#;
        let all = Declarations {
            segment: Some("l2"),
            schema: Some(schema),
            configuration: Some(configuration),
            collection: None,
        };
        check(all, expect!["l2 None"]);
        check(Declarations { segment: None, ..all }, expect!["ip None"]);
        check(Declarations { segment: None, schema: None, ..all }, expect!["cosine All"]);
        check(Declarations { schema: Some("{}"), segment: None, ..all }, expect!["cosine All"]);
        check(
            Declarations { configuration: Some(r#"{"spann":{"space":"ip"}}"#), ..Declarations::default() },
            expect!["ip None"],
        );
        check(Declarations::default(), expect!["l2 None"]);
        // A collection of 0.x, modified by 1.x.
        let modified = r#"{"vector_index":{"hnsw":{"space":"l2"}}}"#;
        check(
            Declarations {
                segment: Some("cosine"),
                configuration: Some(modified),
                ..Declarations::default()
            },
            expect![[r#"
                cosine Mixed
                space_conflict: the index was built for `cosine`, but Chroma >= 1.0 may have used it as `l2`"#]],
        );
    }

    #[test]
    fn legacy_configuration_and_user_metadata_have_no_effect() {
        let legacy = r#"{"hnsw_configuration":{"space":"ip"},"_type":"CollectionConfigurationInternal"}"#;
        check(
            Declarations {
                configuration: Some(legacy),
                collection: Some("cosine"),
                ..Declarations::default()
            },
            expect![[r#"
                l2 None
                space_conflict: the collection's metadata declares `cosine`, but the index was built for `l2`; using `l2`"#]],
        );
        check(
            Declarations { segment: Some("manhattan"), schema: Some("{"), ..Declarations::default() },
            expect![[r#"
                l2 None
                configuration_unreadable: failed to parse `schema_str`: expected `"` at byte 1 of the JSON text; the distance space is read from another source
                space_unknown: expected `hnsw:space` in segment_metadata to be l2, cosine or ip, found `manhattan`; ignoring it"#]],
        );
    }
}
