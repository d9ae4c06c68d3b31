//! Masks passwords, tokens and keys in settings that are printed or logged.

use judge::provider;
use store::postgres::{DatabaseUrl, split_database_urls};
use url::Url;

pub(crate) const MASK: &str = "***";

/// `text`, the URL of a database, with its secrets masked; masked completely if it cannot be parsed.
pub(crate) fn database_url(text: &str) -> String {
    DatabaseUrl::parse(text).map_or_else(|_| MASK.to_owned(), |url| url.masked())
}

/// The same for each URL of a list.
pub(crate) fn database_urls(text: &str) -> String {
    split_database_urls(text).into_iter().map(database_url).collect::<Vec<_>>().join(",")
}

/// `text`, an HTTP URL or a path, with possible secrets masked: user and password, the values of parameters, and path
/// segments that look like tokens. Text that is neither a URL nor clearly a path is masked completely.
pub(crate) fn url_or_path(text: &str) -> String {
    let Ok(url) = Url::parse(text.trim()) else {
        // A path has no user; `user:password@host` has.
        let is_path = text.starts_with(['/', '.', '~']) || !text.contains(['@', ':', '?', '=']);
        return if is_path { text.to_owned() } else { MASK.to_owned() };
    };
    let shown = provider::shown_url(&url).unwrap_or_else(|| MASK.to_owned());
    // A URL has the path `/` where none is written.
    let has_path = url.path() != "/" || text.trim_end().ends_with('/') || url.query().is_some();
    if has_path { shown } else { shown.trim_end_matches('/').to_owned() }
}

/// Whether `text`, which is not an HTTP URL, may be a URL of another scheme or without one, and contain a password.
pub(crate) fn may_hold_password(text: &str) -> bool {
    let is_path = text.starts_with(['/', '.', '~']);
    !is_path && text.split_once('@').is_some_and(|(user, _)| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_masked_wherever_a_url_can_hold_one() {
        for (text, shown) in [
            ("postgresql://u:secret@h:5432/d", "postgresql://u:***@h:5432/d"),
            ("postgresql://u@h/d", "postgresql://u@h/d"),
            ("postgresql://u:sec?ret@h/d", "postgresql://u:***@h/d"),
            (
                "postgresql://h/d?user=u&password=secret&sslpassword=secret",
                "postgresql://h/d?user=u&password=***&sslpassword=***",
            ),
            ("postgresql://h/d?unknown=secret", "postgresql://h/d?unknown=***"),
            ("u:secret@h", "***"),
            ("postgresql://u:secret@h:port/d", "***"),
        ] {
            assert_eq!(database_url(text), shown);
        }
        assert_eq!(
            database_urls("postgresql://u:s,e@h/d, postgresql://u:s3cret@h:port,postgresql://u:secret@i/d"),
            "postgresql://u:***@h/d,***,postgresql://u:***@i/d"
        );
    }

    #[test]
    fn secrets_in_http_urls_are_masked() {
        for (text, shown) in [
            ("http://localhost:8000", "http://localhost:8000"),
            ("https://api.example.org/v1", "https://api.example.org/v1"),
            ("https://user:secret@h:8000/chroma/", "https://***@h:8000/chroma/"),
            ("https://secret@h/v1", "https://***@h/v1"),
            ("https://h/v1?key=secret", "https://h/v1?***"),
            ("https://h/v1#secret", "***"),
            ("https://user:sec/ret@h/v1", "***"),
            ("https://h/hooks/T0123456789abcdefSECRET/x", "https://h/hooks/***/x"),
            ("/data/chroma", "/data/chroma"),
            ("./me@host/chroma", "./me@host/chroma"),
            ("data/chroma", "data/chroma"),
            ("user:secret@h:8000", "***"),
            ("mailto:secret", "***"),
            ("http://u:secret@[::1", "***"),
            ("host/?token=secret", "***"),
        ] {
            assert_eq!(url_or_path(text), shown, "{text}");
        }
        for (text, expected) in
            [("u:p@h", true), ("ftp://u:p@h/x", true), ("/a:b@c", false), ("data/me@host", false)]
        {
            assert_eq!(may_hold_password(text), expected, "{text}");
        }
    }
}
