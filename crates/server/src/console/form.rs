//! The body of an HTML form.

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts as _, Request},
    http::HeaderName,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{
    filters::to_query,
    view::{TOKEN, View},
};
use crate::{
    answer::ApiError,
    request::{Ignored, read_query},
};

/// The fields `T` of a form that a page of this console has sent, with `View`'s token.
pub(crate) struct Form<T>(pub(crate) T);

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl<S: Send + Sync, T: DeserializeOwned + JsonSchema> FromRequest<S> for Form<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let view = View::from_request_parts(&mut parts, state).await?;
        let is_foreign =
            parts.headers.get(FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none");
        if is_foreign {
            let setting = view.process.config.setting_names.cors_origins;
            return Err(ApiError::Origin { origin: "unknown".to_owned(), setting });
        }
        let limit_bytes = view.process.config.max_body_bytes;
        // Either the limit, or a body that did not arrive.
        let bytes = to_bytes(body, limit_bytes).await.map_err(|_| ApiError::TooLarge { limit_bytes })?;
        let pairs: Vec<_> = form_urlencoded::parse(&bytes).collect();
        let token = pairs.iter().find(|(name, _)| name == TOKEN).map_or("", |(_, token)| token);
        if !view.process.sessions.is_form_token(view.session(), token) {
            return Err(ApiError::Form);
        }
        let fields = pairs.iter().filter(|(name, _)| name != TOKEN);
        // A text area sends line feeds as two characters.
        let fields: Vec<(String, String)> =
            fields.map(|(name, value)| (name.to_string(), value.replace("\r\n", "\n"))).collect();
        Ok(Self(read_query::<T, Ignored>(&to_query(&fields))?.value))
    }
}
