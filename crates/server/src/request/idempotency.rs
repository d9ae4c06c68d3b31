//! The header by which a retried POST finds its own record.

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, SchemaObject},
    operation::add_parameters,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use records::Service;
use schemars::json_schema;
use uuid::Uuid;

use crate::answer::ApiError;

/// The value of `Idempotency-Key`, if present.
#[derive(Clone, Debug)]
pub(crate) struct IdempotencyKey(Option<String>);

const HEADER: &str = "Idempotency-Key";
/// Ample for UUIDs, which the draft standard of the header suggests.
const MAX_BYTES: usize = 255;
/// Namespace of the ids derived from keys. Stored ids depend on it: never change it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f2a_41c9_08d3_4e7b_9d15_c3b7_52e8_a604);

impl IdempotencyKey {
    /// The id of the record at `index` of a request: derived from the key, or random without one.
    pub(crate) fn id(&self, service: Service, index: usize) -> String {
        let id = match &self.0 {
            Some(key) => Uuid::new_v5(&NAMESPACE, format!("{service}\n{index}\n{key}").as_bytes()),
            None => Uuid::new_v4(),
        };
        id.to_string()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self(None)) };
        let key = value.to_str().ok().filter(|key| (1..=MAX_BYTES).contains(&key.len()));
        let key = key.ok_or_else(|| {
            ApiError::invalid(HEADER, format!("expected 1 to {MAX_BYTES} visible ASCII characters"))
        })?;
        Ok(Self(Some(key.to_owned())))
    }
}

impl OperationInput for IdempotencyKey {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        let schema = SchemaObject {
            json_schema: json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_BYTES, "pattern": "^[ -~]+$" }),
            external_docs: None,
            example: None,
        };
        let description = "Makes retries safe: a request with the same key and content returns the record \
            stored by the first one, \
            with the header `Idempotency-Replayed: true`. With other content it is rejected with 409.";
        let parameter_data = ParameterData {
            name: HEADER.to_owned(),
            description: Some(description.to_owned()),
            required: false,
            deprecated: None,
            format: ParameterSchemaOrContent::Schema(schema),
            example: None,
            examples: Default::default(),
            explode: None,
            extensions: Default::default(),
        };
        let style = HeaderStyle::Simple;
        add_parameters(context, operation, [Parameter::Header { parameter_data, style }]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_derived_from_service_key_and_index() {
        let key = IdempotencyKey(Some("k".into()));
        let ids = [
            key.id(Service::Query, 0),
            key.id(Service::Query, 1),
            key.id(Service::Judge, 0),
            IdempotencyKey(Some("l".into())).id(Service::Query, 0),
            IdempotencyKey(None).id(Service::Query, 0),
            IdempotencyKey(None).id(Service::Query, 0),
        ];
        assert_eq!(ids[0], key.id(Service::Query, 0));
        // A literal, since stored ids depend on it.
        assert_eq!(ids[0], "d51b44da-db8a-5510-8111-14c8ccd99873");
        for (index, id) in ids.iter().enumerate() {
            assert_eq!(ids.iter().position(|other| other == id), Some(index));
        }
    }
}
