//! The query string.

use std::marker::PhantomData;

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::Operation,
    operation::{ParamLocation, add_parameters, parameters_from_schema},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use records::without_nul;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, value::MapDeserializer};

use super::{
    text::Text,
    unknown::{Ignored, InvalidField, Known, UnknownFields, read},
};
use crate::answer::ApiError;

/// Parameters `T`, and the names of the ignored ones.
pub(crate) struct Parameters<T, U> {
    pub(crate) value: T,
    pub(crate) ignored: Vec<String>,
    unknown: PhantomData<U>,
}

/// The parameters of both types.
pub(crate) struct Both<A, B>(pub(crate) A, pub(crate) B);

/// A type that can be read from a query string.
pub(crate) trait QueryString: Sized {
    /// What has the names of all parameters.
    type Fields: JsonSchema;

    fn read<U: UnknownFields>(query: &str) -> Result<Known<Self>, ApiError>;

    fn judge<U: UnknownFields>(unknown: Vec<String>) -> Result<Vec<String>, ApiError> {
        U::judge::<Self::Fields>(unknown)
    }

    fn document(context: &mut GenContext, operation: &mut Operation);
}

impl<T: DeserializeOwned + JsonSchema> QueryString for T {
    type Fields = T;

    fn read<U: UnknownFields>(query: &str) -> Result<Known<Self>, ApiError> {
        read_query::<T, U>(query)
    }

    fn document(context: &mut GenContext, operation: &mut Operation) {
        let schema = context.schema.subschema_for::<T>();
        let parameters = parameters_from_schema(context, schema, ParamLocation::Query);
        add_parameters(context, operation, parameters);
    }
}

impl<A: QueryString, B: QueryString> QueryString for Both<A, B> {
    type Fields = (A::Fields, B::Fields);

    fn read<U: UnknownFields>(query: &str) -> Result<Known<Self>, ApiError> {
        // A parameter is unknown if neither type has it.
        let (a, b) = (A::read::<Ignored>(query)?, B::read::<Ignored>(query)?);
        let mut unknown = a.unknown;
        unknown.retain(|name| b.unknown.contains(name));
        Ok(Known { value: Self(a.value, b.value), unknown })
    }

    fn document(context: &mut GenContext, operation: &mut Operation) {
        A::document(context, operation);
        B::document(context, operation);
    }
}

/// Reads a query string.
pub(crate) fn read_query<T: DeserializeOwned + JsonSchema, U: UnknownFields>(
    query: &str,
) -> Result<Known<T>, ApiError> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    if let Some((name, _)) = pairs.clone().find(|(name, value)| name.contains('\0') || value.contains('\0')) {
        let field = without_nul(&name);
        return Err(ApiError::invalid(
            field,
            "contains the character NUL, which no stored value can contain: \
            remove it",
        ));
    }
    let pairs = pairs.map(|(name, value)| (name, Text(value)));
    read(MapDeserializer::new(pairs)).map_err(InvalidField::into_error::<T, U>)
}

impl<S: Send + Sync, T: QueryString, U: UnknownFields> FromRequestParts<S> for Parameters<T, U> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // A missing query string counts as empty.
        let Known { value, unknown } = T::read::<U>(parts.uri.query().unwrap_or(""))?;
        Ok(Self { value, ignored: T::judge::<U>(unknown)?, unknown: PhantomData })
    }
}

impl<T: QueryString, U> OperationInput for Parameters<T, U> {
    fn operation_input(context: &mut GenContext, operation: &mut Operation) {
        T::document(context, operation);
    }
}
