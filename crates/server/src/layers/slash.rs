//! A slash at the end of a path. The framework of the old services answered 307 with the path without it, so that
//! scripts which have one work.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

/// The answer to a request for `uri`, if slashes are at the end of its path. Method and body are kept with 307.
pub(crate) fn without_slash(uri: &Uri) -> Option<Response> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    // What begins with two slashes would be another host's URL.
    let is_path = trimmed.starts_with('/') && !trimmed.starts_with("//") && !trimmed.starts_with("/\\");
    if trimmed == path || !is_path {
        return None;
    }
    let place = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    let place = HeaderValue::from_str(&place).ok()?;
    Some((StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, place)]).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slash_at_the_end_is_a_redirect_to_this_host() {
        let place = |uri: &str| {
            let response = without_slash(&uri.parse().expect("a URI"))?;
            assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
            Some(response.headers()[header::LOCATION].to_str().expect("ASCII").to_owned())
        };
        assert_eq!(place("/api/v1/queries/?a=%2F&b=/").as_deref(), Some("/api/v1/queries?a=%2F&b=/"));
        assert_eq!(place("/queries/theme/geo//").as_deref(), Some("/queries/theme/geo"));
        for uri in ["/", "//", "/queries", "//evil.example/", "///evil.example//"] {
            assert_eq!(place(uri), None, "{uri}");
        }
    }
}
