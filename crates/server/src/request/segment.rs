//! The variable segment of a path, such as an id.

use aide::OperationInput;
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use crate::answer::ApiError;

/// The one variable segment, percent-decoded: it may hold slashes. `crate::openapi` documents it.
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segments = RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::Path)?;
        let (name, value) = segments.iter().next().expect("the route has a variable segment");
        if value.contains('\0') {
            return Err(ApiError::invalid(
                name,
                "contains the character NUL, which no record has: remove it",
            ));
        }
        Ok(Self(value.to_owned()))
    }
}

impl OperationInput for Segment {}
