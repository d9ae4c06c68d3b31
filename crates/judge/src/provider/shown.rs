//! URLs for logs and errors, without passwords, tokens and keys.

use reqwest::Url;

const MASK: &str = "***";

/// A name in a path is no token up to this length.
const LONGEST_NAME: usize = 24;

/// `url` without what may be secret: user and password, the values of parameters, what looks like a token in the path.
/// Nothing of one that may hold a password elsewhere.
pub fn shown_url(url: &Url) -> Option<String> {
    let host = url.host_str().filter(|host| !host.is_empty())?;
    // A `@` in the path may be the end of a password with a `/` in it.
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

/// A long word, or one with digits in it, is rather a token than a name.
fn may_be_token(segment: &str) -> bool {
    segment.len() > LONGEST_NAME || (segment.len() >= 16 && segment.bytes().any(|byte| byte.is_ascii_digit()))
}
