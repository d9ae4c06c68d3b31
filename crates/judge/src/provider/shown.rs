//! URLs for logs and errors, without passwords, tokens and keys.

use reqwest::Url;

const MASK: &str = "***";

/// A path segment up to this length is not a token.
const MAX_NAME_LENGTH: usize = 24;

/// `url` without secrets: user and password, query values, and path segments that look like tokens. `None` for a URL
/// that may contain a password in another part.
pub fn shown_url(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    // A `@` in the path may be the end of a password that contains a `/`.
    if url.path().contains('@') || url.fragment().is_some() {
        return None;
    }
    let user = if url.username().is_empty() && url.password().is_none() { "" } else { "***@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let segments = url.path().split('/').map(|segment| if may_be_token(segment) { MASK } else { segment });
    let path = segments.collect::<Vec<_>>().join("/");
    let query = if url.query().is_some() { "?***" } else { "" };
    Some(format!("{}://{user}{host}{port}{path}{query}", url.scheme()))
}

/// A long segment, or one with digits, is more likely a token than a name.
fn may_be_token(segment: &str) -> bool {
    segment.len() > MAX_NAME_LENGTH
        || (segment.len() >= 16 && segment.bytes().any(|byte| byte.is_ascii_digit()))
}
