//! Variable segments of a path, such as ids.

use aide::OperationInput;
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use crate::answer::ApiError;

/// The variable segment of a route, percent-decoded: it may contain slashes. `crate::openapi` documents it.
pub(crate) struct Segment(pub(crate) String);

/// The variable segments of a route with two.
pub(crate) struct TwoSegments(pub(crate) String, pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let [segment] = segments(parts, state).await?;
        Ok(Self(segment))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TwoSegments {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let [first, second] = segments(parts, state).await?;
        Ok(Self(first, second))
    }
}

/// As many variable segments as the route has.
async fn segments<S: Send + Sync, const N: usize>(
    parts: &mut Parts,
    state: &S,
) -> Result<[String; N], ApiError> {
    let segments = RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::Path)?;
    if let Some((name, _)) = segments.iter().find(|(_, value)| value.contains('\0')) {
        return Err(ApiError::invalid(
            name,
            "contains the character NUL, which no stored value can contain: \
            remove it",
        ));
    }
    let segments: Vec<String> = segments.iter().map(|(_, value)| value.to_owned()).collect();
    Ok(segments.try_into().expect("the route has so many variable segments"))
}

impl OperationInput for Segment {}

impl OperationInput for TwoSegments {}
