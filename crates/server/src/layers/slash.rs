//! Trailing slashes. The framework of the old services redirected to the path without one by 307, and scripts rely on
//! that.

use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

/// The redirect for `uri` if its path has trailing slashes. 307 keeps method and body.
pub(crate) fn without_slash(uri: &Uri) -> Option<Response> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    // A location that begins with two slashes is a URL of another host.
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
    fn trailing_slash_is_redirected_to_this_host() {
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
