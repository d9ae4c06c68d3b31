//! Address and credentials of a Chroma server.

use std::{fmt, time::Duration};

use reqwest::Url;

use super::{error::Error, retry};

/// A server on another continent takes well under a second; a wrong address should be detected soon.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The first read of a large collection makes Chroma load its index, which takes many seconds on a small machine.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// A Chroma server and the selected tenant and database. [`new`](Self::new) sets the defaults.
#[derive(Clone)]
pub struct ServerOptions {
    /// `http://host:8000`, `https://api.trychroma.com`, with a path if a proxy puts the server below one. May contain
    /// `user:password@` for HTTP basic authentication.
    pub url: String,
    /// The tenant; `None` for the token's own, which is `default_tenant` on servers without accounts.
    pub tenant: Option<String>,
    /// The database; `None` for every database of the tenant that the server lists.
    pub database: Option<String>,
    /// The server's access token.
    pub token: Option<Token>,
    /// The header for the token.
    pub token_header: TokenHeader,
    /// Time limit for connecting. Too short fails on slow networks; too long delays the error for a wrong address.
    pub connect_timeout: Duration,
    /// How long the server may send nothing during a response. Too short shrinks the pages of a slow server
    /// needlessly; too long waits for a hanging one.
    pub silence_timeout: Duration,
    /// Attempts per request, at least 1, with waits that double from 250 ms. Too few fail while a server restarts;
    /// too many delay the error.
    pub attempts: u32,
    /// Maximum records per request, at least 2. Pages shrink automatically if records are large or the server allows
    /// fewer.
    pub page_records: u32,
}

/// A secret. `Debug` hides it, and there is no `Display`.
#[derive(Clone)]
pub struct Token(String);

/// The header in which a server expects the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenHeader {
    /// `Authorization: Bearer <token>`, the default of Chroma servers.
    #[default]
    Authorization,
    /// `X-Chroma-Token: <token>`, for Chroma Cloud and servers configured for it.
    XChromaToken,
}

impl ServerOptions {
    /// With 100,000 records of 384 dimensions, Chroma 1.5.9 returns 7,000 to 8,800 records per second in pages of
    /// 1,000 to 10,000 records, 3,800 in pages of 300 and 2,100 in pages of 100, on a busy machine.
    pub const PAGE_RECORDS: u32 = 1000;

    /// The server at `url`: all databases of the default tenant, no token.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tenant: None,
            database: None,
            token: None,
            token_header: TokenHeader::default(),
            connect_timeout: CONNECT_TIMEOUT,
            silence_timeout: SILENCE_TIMEOUT,
            attempts: retry::ATTEMPTS,
            page_records: Self::PAGE_RECORDS,
        }
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL itself, which may contain a password.
        let address = parse_url(&self.url).map(|url| address_of(&url));
        f.debug_struct("ServerOptions")
            .field("address", &address.unwrap_or_default())
            .field("tenant", &self.tenant)
            .field("database", &self.database)
            .field("token_header", &self.token_header)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// Hides `secret`.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret, only for the header.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// Parses the URL of a server, and removes API path, query and fragment.
pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    let mut url = Url::parse(text.trim()).map_err(|source| Error::Url { source: Some(Box::new(source)) })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::Url { source: None });
    }
    url.set_query(None);
    url.set_fragment(None);
    // Users may paste the URL of the API instead of the server's.
    let path = url.path().trim_end_matches('/').to_owned();
    let path = ["/api/v1", "/api/v2"].iter().find_map(|end| path.strip_suffix(end)).unwrap_or(&path);
    url.set_path(path);
    Ok(url)
}

/// The address without credentials, for messages.
pub(crate) fn address_of(url: &Url) -> String {
    // The scheme's default port is omitted.
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    // For messages only: URLs without a host are rejected before.
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_no_credentials_and_no_api_path() {
        let check = |url: &str, expected: &str| {
            assert_eq!(address_of(&parse_url(url).expect(url)), expected, "{url}");
        };
        check("http://localhost:8000", "http://localhost:8000");
        check("https://u:secret@chroma.example/below/api/v2/?x=1#y", "https://chroma.example/below");
        check("http://[::1]:8000/api/v1", "http://[::1]:8000");
    }

    #[test]
    fn invalid_url_is_rejected_without_repeating_it() {
        for url in ["", "localhost:8000", "postgresql://u:secret@h/d", "/secret", "http://"] {
            let error = parse_url(url).expect_err(url);
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
